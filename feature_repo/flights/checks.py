"""What a delivered file must look like before anything is read from it."""

import pandera.polars as pa
from pandera.engines.polars_engine import DateTime

UTC_MICROSECONDS = {"time_unit": "us", "time_zone": "UTC"}
NEW_YORK = ["EWR", "JFK", "LGA"]


class Flights(pa.DataFrameModel):
    """One row per scheduled departure. A flight number flies a route at most once a day."""

    year: int = pa.Field(ge=2000, le=2100)
    month: int = pa.Field(ge=1, le=12)
    day: int = pa.Field(ge=1, le=31)
    dep_time: int = pa.Field(ge=0, le=2400, nullable=True)
    sched_dep_time: int = pa.Field(ge=0, le=2359)
    dep_delay: int = pa.Field(ge=-120, le=2880, nullable=True)
    arr_time: int = pa.Field(ge=0, le=2400, nullable=True)
    sched_arr_time: int = pa.Field(ge=0, le=2400)
    arr_delay: int = pa.Field(ge=-180, le=2880, nullable=True)
    carrier: str = pa.Field(str_matches=r"^[A-Z0-9]{2}$")
    flight: int = pa.Field(ge=1, le=9999)
    tailnum: str = pa.Field(nullable=True)
    origin: str = pa.Field(isin=NEW_YORK)
    dest: str = pa.Field(str_matches=r"^[A-Z]{3}$")
    air_time: int = pa.Field(ge=1, le=1440, nullable=True)
    distance: int = pa.Field(ge=1, le=10_000)
    hour: int = pa.Field(ge=0, le=23)
    minute: int = pa.Field(ge=0, le=59)
    time_hour: DateTime = pa.Field(dtype_kwargs=UTC_MICROSECONDS)

    class Config:
        strict = True
        unique = ["year", "month", "day", "carrier", "flight", "origin", "dest"]


class Weather(pa.DataFrameModel):
    """One row per airport and hour; a few hours are missing. Fahrenheit, miles an hour, inches, millibars, miles."""

    origin: str = pa.Field(isin=NEW_YORK)
    year: int = pa.Field(ge=2000, le=2100)
    month: int = pa.Field(ge=1, le=12)
    day: int = pa.Field(ge=1, le=31)
    hour: int = pa.Field(ge=0, le=23)
    temp: float = pa.Field(ge=-60, le=140, nullable=True)
    dewp: float = pa.Field(ge=-80, le=100, nullable=True)
    humid: float = pa.Field(ge=0, le=100, nullable=True)
    wind_dir: int = pa.Field(ge=0, le=360, nullable=True)
    wind_speed: float = pa.Field(ge=0, le=2000, nullable=True)  # one hour holds 1,048; weather.sql passes it over
    wind_gust: float = pa.Field(ge=0, le=300, nullable=True)
    precip: float = pa.Field(ge=0, le=20)
    pressure: float = pa.Field(ge=850, le=1100, nullable=True)
    visib: float = pa.Field(ge=0, le=100)
    time_hour: DateTime = pa.Field(dtype_kwargs=UTC_MICROSECONDS)

    class Config:
        strict = True
        unique = ["origin", "time_hour"]


class Planes(pa.DataFrameModel):
    """One row per aircraft."""

    tailnum: str = pa.Field(unique=True)
    year: int = pa.Field(ge=1903, le=2100, nullable=True)
    type: str
    manufacturer: str
    model: str
    engines: int = pa.Field(ge=1, le=8)
    seats: int = pa.Field(ge=1, le=900)
    speed: int = pa.Field(ge=1, le=1000, nullable=True)
    engine: str

    class Config:
        strict = True


class Airports(pa.DataFrameModel):
    """One row per airport of the United States. ``tz`` is hours from UTC in winter; ``tzone`` knows about summer."""

    faa: str = pa.Field(unique=True)
    name: str
    lat: float = pa.Field(ge=-90, le=90)
    lon: float = pa.Field(ge=-180, le=180)
    alt: int = pa.Field(ge=-500, le=15_000)
    tz: int = pa.Field(ge=-12, le=14)
    dst: str = pa.Field(isin=["A", "N", "U"])
    tzone: str = pa.Field(nullable=True)

    class Config:
        strict = True
