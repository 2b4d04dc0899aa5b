"""Which customers of a record shop will buy again? Asked every Monday; the answer takes ninety days."""

from datetime import date, timedelta

from batch_scoring import (
    Baseline,
    Dataset,
    Decision,
    Entity,
    HoldOut,
    Key,
    Label,
    Lines,
    PackageFile,
    PredictionTable,
    RawFile,
    Schedule,
)

customers = PredictionTable(
    name="customers",
    description="The chance that a customer who has bought before buys again within 90 days.",
    entity=Entity(
        name="customer",
        description="Somebody who bought at least once.",
        keys=(Key(name="customer_id", type="integer", description="number of the customer"),),
    ),
    schedule=Schedule(
        every="week", weekday="monday", at="04:00", timezone="America/New_York", since=date(1997, 12, 1), until=date(1998, 6, 30)
    ),
    population="sql/population.sql",
    feature_service="customers",
    label=Label(
        sql="sql/label.sql",
        description="Bought at least once in the 90 days that begin on this Monday.",
        horizon=timedelta(days=90),
        delay=timedelta(0),
    ),
    sources=(
        RawFile(
            name="purchases",
            description="Every purchase of the customers who came to CDNOW in the first quarter of 1997, until June 1998.",
            location=PackageFile(package="lifetimes", path="datasets/CDNOW_master.txt"),
            format=Lines(
                skip=1,
                pattern=r"^\s*(?P<customer_id>\d+)\s+(?P<date>\d{8})\s+(?P<number_of_cds>\d+)\s+(?P<dollar_value>\d+\.\d+)\s*$",
            ),
            checks="Purchases",
        ),
    ),
    datasets=(
        Dataset(name="purchases", sql="sql/purchases.sql", keys=("customer_id",), description="What a customer bought on a day."),
        Dataset(name="activity", sql="sql/activity.sql", keys=("customer_id",), description="A customer so far, every Monday."),
    ),
    windows=(60, 120, "all"),
    holdout=HoldOut(days=14, folds=2),
    baseline=Baseline(groups=(("purchases_total",),), days=60, min_rows=30),
    decision=Decision(threshold=0.3, yes="will return", no="will stay away"),
)
