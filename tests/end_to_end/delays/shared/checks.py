"""What the delivered slice of flights must look like."""

import pandera.polars as pa


class Flights(pa.DataFrameModel):
    """One row per scheduled departure."""

    day: str = pa.Field(str_matches=r"^\d{4}-\d{2}-\d{2}$")
    hour: int = pa.Field(ge=0, le=23)
    carrier: str
    flight: int = pa.Field(ge=1)
    dest: str
    distance: int = pa.Field(ge=1)
    dep_delay: int = pa.Field(nullable=True)
    arr_delay: int = pa.Field(nullable=True)

    class Config:
        strict = True
        unique = ["day", "carrier", "flight", "dest"]
