"""What will become of a flight leaving Newark today: on time, late, or not at all."""

from datetime import date, timedelta

from batch_scoring import (
    Baseline,
    BeatsBaseline,
    Classes,
    Csv,
    Dataset,
    Entity,
    HoldOut,
    Key,
    Label,
    LandedFile,
    Model,
    NotWorseThanLive,
    PredictionTable,
    RawFile,
    Schedule,
    ScoreShift,
)

LEG = ("carrier", "flight", "dest")

causes = PredictionTable(
    name="causes",
    description="What will become of a flight leaving Newark today: on time, late, or not at all.",
    entity=Entity(
        name="leg",
        keys=(
            Key(name="carrier", type="string", description="airline"),
            Key(name="flight", type="integer", description="flight number"),
            Key(name="dest", type="string", description="airport of arrival"),
        ),
    ),
    schedule=Schedule(every="day", at="04:00", timezone="America/New_York", since=date(2013, 1, 8), until=date(2013, 3, 15)),
    population="sql/population.sql",
    feature_service="causes",
    label=Label(
        sql="sql/label.sql",
        description="On time, late because of its departure, late in the air, or cancelled or diverted.",
        horizon=timedelta(days=1),
        delay=timedelta(0),
    ),
    sources=(RawFile(name="flights", location=LandedFile(path="flights.csv"), format=Csv(), checks="Flights"),),
    datasets=(
        Dataset(name="outcomes", sql="sql/outcomes.sql", keys=LEG),
        Dataset(name="plan", sql="sql/plan.sql", keys=LEG),
        Dataset(name="history", sql="sql/history.sql", keys=LEG),
    ),
    task=Classes(names=("on time", "late departure", "late in the air", "cancelled/diverted")),
    windows=(14, "all"),
    holdout=HoldOut(days=5, folds=2),
    baseline=Baseline(groups=(("carrier",),), days=30, min_rows=20),
    model=Model(rounds=40, depth=3, min_child_weight=20),
    gates=(BeatsBaseline(), NotWorseThanLive(margin=0.05), ScoreShift(max_psi=5.0)),
)
