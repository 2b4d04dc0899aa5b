"""What is known about a leg at four in the morning of its day; the same for every product made of this file."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

from batch_scoring.settings import dataset_path

TABLE = Path(__file__).parent.name
CARRIER = Entity(name="carrier", value_type=ValueType.STRING)
FLIGHT = Entity(name="flight", value_type=ValueType.INT64)
DEST = Entity(name="dest", value_type=ValueType.STRING)
KEYS = [Field(name="carrier", dtype=String), Field(name="flight", dtype=Int64), Field(name="dest", dtype=String)]


def dataset(name: str) -> FileSource:
    return FileSource(
        name=f"{TABLE}_{name}",
        path=dataset_path(TABLE, name),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


plan = FeatureView(
    name=f"{TABLE}_plan",
    entities=[CARRIER, FLIGHT, DEST],
    ttl=timedelta(hours=12),
    source=dataset("plan"),
    schema=[
        *KEYS,
        Field(name="hour", dtype=Int64, description="planned hour of departure"),
        Field(name="weekday", dtype=Int64, description="day of the week, Monday = 1"),
        Field(name="distance", dtype=Int64, description="distance, in miles"),
        Field(name="airline", dtype=String, description="airline"),
    ],
)
history = FeatureView(
    name=f"{TABLE}_history",
    entities=[CARRIER, FLIGHT, DEST],
    ttl=timedelta(hours=12),
    source=dataset("history"),
    schema=[
        *KEYS,
        Field(name="late_share_7d", dtype=Float64, description="share of late flights at this hour, last 7 days"),
        Field(name="delay_1d", dtype=Float64, description="mean delay at this hour, yesterday"),
        Field(name="leg_delay_28d", dtype=Float64, description="mean delay of this flight, last 28 days"),
    ],
)
service = FeatureService(name=TABLE, features=[plan, history])
