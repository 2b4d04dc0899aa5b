"""What is known about a customer in the morning, as a Feast feature view. The descriptions become the words of reasons."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

from batch_scoring.settings import dataset_path

customer = Entity(name="customer", value_type=ValueType.STRING, description="number of the customer")

activity = FeatureView(
    name="customer_activity",
    description="A customer so far, as known at six in the morning.",
    entities=[customer],
    ttl=timedelta(hours=12),  # a row speaks for the morning it was made for, and for no other
    source=FileSource(
        name="orders_activity",
        path=dataset_path("orders", "activity"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    ),
    schema=[
        Field(name="customer", dtype=String),
        Field(name="days_since_last", dtype=Int64, description="days since the last order"),
        Field(name="days_since_first", dtype=Int64, description="days since the first order"),
        Field(name="orders_7d", dtype=Int64, description="orders, last 7 days"),
        Field(name="orders_28d", dtype=Int64, description="orders, last 28 days"),
        Field(name="orders_total", dtype=Int64, description="orders, ever"),
        Field(name="web_share", dtype=Float64, description="share of orders from the web"),
        Field(name="mean_amount", dtype=Float64, description="mean amount of an order"),
    ],
)

orders = FeatureService(name="orders", description="Everything known about a customer in the morning.", features=[activity])
