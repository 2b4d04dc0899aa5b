"""Which customers will order again within a week? Asked every morning at six."""

from datetime import date, timedelta

from batch_scoring import (
    Baseline,
    Csv,
    Dataset,
    Decision,
    Entity,
    HoldOut,
    Key,
    Label,
    LandedFile,
    Model,
    PredictionTable,
    RawFile,
    Schedule,
)

orders = PredictionTable(
    name="orders",
    description="The chance that a customer orders again within seven days.",
    entity=Entity(name="customer", keys=(Key(name="customer", type="string", description="number of the customer, e.g. C0042"),)),
    schedule=Schedule(every="day", at="06:00", timezone="UTC", since=date(2024, 3, 1), until=date(2024, 4, 22)),
    population="sql/population.sql",
    feature_service="orders",
    label=Label(
        sql="sql/label.sql",
        description="Ordered at least once in the seven days that begin today.",
        horizon=timedelta(days=7),
        delay=timedelta(0),
    ),
    sources=(RawFile(name="orders", location=LandedFile(path="orders.csv"), format=Csv(), checks="Orders"),),
    datasets=(
        Dataset(
            name="orders", sql="sql/orders.sql", keys=("order_id",), description="The orders, and when they were known here."
        ),
        Dataset(name="activity", sql="sql/activity.sql", keys=("customer",), description="A customer so far, every morning."),
    ),
    windows=(14, 30, "all"),
    holdout=HoldOut(days=7, folds=2),
    baseline=Baseline(groups=(("customer",),), days=30, min_rows=7),
    model=Model(rounds=40, depth=3),
    decision=Decision(threshold=0.5, yes="will order", no="will wait"),
)
