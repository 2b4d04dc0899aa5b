"""What is known about a customer on a Monday morning, as a Feast feature view. The descriptions become the words of reasons."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

from batch_scoring.settings import dataset_path

customer = Entity(name="customer_id", value_type=ValueType.INT64, description="number of the customer")

activity = FeatureView(
    name="customer_activity",
    description="A customer so far, as known on a Monday at four.",
    entities=[customer],
    ttl=timedelta(days=3),  # a row speaks for the Monday it was made for, and for no other
    source=FileSource(
        name="customers_activity",
        path=dataset_path("customers", "activity"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    ),
    schema=[
        Field(name="customer_id", dtype=Int64),
        Field(name="days_since_last", dtype=Int64, description="days since the last purchase"),
        Field(name="days_since_first", dtype=Int64, description="days since the first purchase"),
        Field(name="purchases_total", dtype=Int64, description="days with a purchase, ever"),
        Field(name="purchases_28d", dtype=Int64, description="days with a purchase, last 28 days"),
        Field(name="purchases_91d", dtype=Int64, description="days with a purchase, last 91 days"),
        Field(name="purchases_182d", dtype=Int64, description="days with a purchase, last 182 days"),
        Field(name="cds_total", dtype=Int64, description="CDs bought, ever"),
        Field(name="cds_91d", dtype=Int64, description="CDs bought, last 91 days"),
        Field(name="spent_total", dtype=Float64, description="dollars spent, ever"),
        Field(name="spent_91d", dtype=Float64, description="dollars spent, last 91 days"),
        Field(name="spent_per_purchase", dtype=Float64, description="mean dollars per purchase"),
        Field(name="spent_most", dtype=Float64, description="dollars of the largest purchase"),
        Field(name="spent_first", dtype=Float64, description="dollars of the first purchase"),
        Field(name="spent_last", dtype=Float64, description="dollars of the last purchase"),
        Field(name="days_between", dtype=Float64, description="mean days between two purchases"),
        Field(name="overdue", dtype=Float64, description="days since the last purchase, relative to the usual gap"),
    ],
)

customers = FeatureService(
    name="customers",
    description="Everything known about a customer on a Monday morning.",
    features=[activity],
)
