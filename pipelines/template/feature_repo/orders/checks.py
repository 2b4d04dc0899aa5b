"""What a delivered file must look like before anything is read from it."""

import pandera.polars as pa
from pandera.engines.polars_engine import DateTime


class Orders(pa.DataFrameModel):
    """One row per order."""

    order_id: int = pa.Field(ge=1, unique=True)
    customer: str = pa.Field(str_matches=r"^C\d{4}$")
    ordered_at: DateTime = pa.Field(dtype_kwargs={"time_unit": "us", "time_zone": "UTC"})
    amount: float = pa.Field(gt=0, le=10_000)
    channel: str = pa.Field(isin=["web", "store"])

    class Config:
        strict = True
