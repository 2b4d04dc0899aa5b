"""A declaration that cannot work fails where it is written, naming the field and the fix."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from batch_scoring import (
    BeatsBaseline,
    Csv,
    Dataset,
    Decision,
    Entity,
    HoldOut,
    Key,
    Label,
    LandedFile,
    Lines,
    Model,
    Number,
    PredictionTable,
    RawFile,
    Retention,
    RowCount,
    Schedule,
    ScoreShift,
    TableName,
)
from batch_scoring.errors import DeclarationError

DATASET = Dataset(name="orders", sql="sql/orders.sql", keys=("customer_id",))
RAW = RawFile(name="orders", location=LandedFile(path="orders.csv"), format=Csv(), checks="Orders")
TABLE = PredictionTable(
    name=TableName("orders"),
    description="Will a customer order again.",
    entity=Entity(name="customer", keys=(Key(name="customer_id", type="integer"),)),
    feature_service="orders",
    population="sql/population.sql",
    label=Label(sql="sql/label.sql", horizon=timedelta(days=7), delay=timedelta(0)),
    schedule=Schedule(every="day", at="06:00"),
    sources=(RAW,),
    datasets=(DATASET,),
)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Orders"}, "PredictionTable.name"),
        ({"name": "../x"}, "PredictionTable.name"),
        ({"description": " "}, "PredictionTable.description"),
        ({"population": "population.txt"}, "PredictionTable.population"),
        ({"population": "../population.sql"}, "PredictionTable.population"),
        ({"population": "/etc/x.sql"}, "PredictionTable.population"),
        ({"windows": ()}, "PredictionTable.windows"),
        ({"windows": (0,)}, "PredictionTable.windows"),
        ({"windows": (True,)}, "PredictionTable.windows"),
        ({"windows": (30, 30)}, "PredictionTable.windows"),
        ({"windows": ("everything",)}, "PredictionTable.windows"),
        ({"datasets": ()}, "PredictionTable.datasets"),
        ({"datasets": (DATASET, DATASET)}, "PredictionTable.datasets"),
        ({"sources": (RAW, RAW)}, "PredictionTable.sources"),
        ({"gates": (RowCount(), RowCount())}, "PredictionTable.gates"),
        ({"task": "regression"}, "PredictionTable.task"),
        ({"task": Number(), "decision": Decision(threshold=0.2)}, "PredictionTable.decision"),
        ({"feature_service": "Orders v1"}, "PredictionTable.feature_service"),
    ],
)
def test_a_table_that_cannot_work_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(DeclarationError) as error:
        replace(TABLE, **changes)
    assert error.value.subject == field
    assert error.value.expected
    assert error.value.fix.endswith(".")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Entity(name="x", keys=()), "Entity.keys"),
        (lambda: Entity(name="x", keys=(Key(name="a", type="string"),) * 2), "Entity.keys"),
        (lambda: Key(name="a", type="float"), "Key.type"),  # type: ignore[arg-type]
        (lambda: Key(name="a b", type="string"), "Key.name"),
        (lambda: Schedule(every="day", at="4:00"), "Schedule.at"),
        (lambda: Schedule(every="day", at="24:00"), "Schedule.at"),
        (lambda: Schedule(every="hour", at="04:00"), "Schedule.every"),  # type: ignore[arg-type]
        (lambda: Schedule(every="day", at="04:00", timezone="Mars/Base"), "Schedule.timezone"),
        (lambda: Schedule(every="day", at="04:00", timezone="../x"), "Schedule.timezone"),
        (lambda: Schedule(every="week", at="04:00", weekday="Monday"), "Schedule.weekday"),  # type: ignore[arg-type]
        (lambda: Schedule(every="day", at="04:00", since=date(2024, 1, 2), until=date(2024, 1, 1)), "Schedule.until"),
        (lambda: Label(sql="l.sql", horizon=timedelta(0), delay=timedelta(0)), "Label.horizon"),
        (lambda: Label(sql="l.sql", horizon=timedelta(1), delay=timedelta(-1)), "Label.delay"),
        (lambda: HoldOut(days=0), "HoldOut.days"),
        (lambda: HoldOut(folds=0), "HoldOut.folds"),
        (lambda: Model(rounds=0), "Model.rounds"),
        (lambda: Model(learning_rate=0), "Model.learning_rate"),
        (lambda: Decision(threshold=1.5), "Decision.threshold"),
        (lambda: Decision(yes="no", no="no"), "Decision.yes"),
        (lambda: Retention(versions=6), "Retention.versions"),
        (lambda: BeatsBaseline(margin=float("nan")), "BeatsBaseline.margin"),
        (lambda: ScoreShift(max_psi=-1), "ScoreShift.max_psi"),
        (lambda: LandedFile(path="/etc/passwd"), "LandedFile.path"),
        (lambda: LandedFile(path="a/../../b"), "LandedFile.path"),
        (lambda: Lines(pattern="no groups"), "Lines.pattern"),
        (lambda: Csv(separator=";;"), "Csv.separator"),
        (lambda: Dataset(name="x", sql="x.sql", keys=()), "Dataset.keys"),
        (lambda: RawFile(name="x", location=LandedFile(path="x"), format=Csv(), checks="a b"), "RawFile.checks"),
    ],
)
def test_every_part_of_a_declaration_checks_itself(make: Any, field: str) -> None:
    with pytest.raises(DeclarationError) as error:
        make()
    assert error.value.subject == field


def test_a_declaration_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        TABLE.windows = ()  # type: ignore[misc]


def test_the_as_of_keeps_its_local_time_through_a_clock_change() -> None:
    schedule = Schedule(every="day", at="04:00", timezone="America/New_York")
    assert schedule.as_of(date(2013, 3, 9)) == datetime(2013, 3, 9, 9, tzinfo=UTC)
    assert schedule.as_of(date(2013, 3, 11)) == datetime(2013, 3, 11, 8, tzinfo=UTC)


def test_a_weekly_schedule_speaks_on_its_weekday_only() -> None:
    schedule = Schedule(every="week", at="00:30", weekday="sunday")
    assert schedule.days(date(2024, 1, 1), date(2024, 1, 21)) == (date(2024, 1, 7), date(2024, 1, 14), date(2024, 1, 21))
    assert schedule.cron == "30 0 * * 0"
    assert replace(schedule, weekday="monday").cron == "30 0 * * 1"


def test_a_span_that_ends_before_it_begins_holds_no_days() -> None:
    assert TABLE.schedule.days(date(2024, 1, 2), date(2024, 1, 1)) == ()


def test_importing_the_declarations_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = {"feast", "dagster", "xgboost", "shap", "polars", "pandas", "duckdb", "pyarrow", "numpy", "pydantic"}
    code = f"import sys, batch_scoring; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
