"""What a delivered file must look like before anything is read from it."""

import pandera.polars as pa
import polars as pl


class Purchases(pa.DataFrameModel):
    """One row per purchase; a customer may buy twice a day."""

    customer_id: int = pa.Field(ge=1)
    date: pl.Date
    number_of_cds: int = pa.Field(ge=1, le=1000)
    dollar_value: float = pa.Field(ge=0, le=100_000)

    class Config:
        strict = True
