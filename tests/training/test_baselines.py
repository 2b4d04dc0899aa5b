"""Naive forecasts are what their words say, and know only what was known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import Baseline, Binary, Classes, Dataset, Entity, Key, Label, Number, PredictionTable, Schedule
from pipelines.training.baseline import NAIVE, best_naive, forecast, naive_forecasts

LABEL = Label(sql="label.sql", horizon=timedelta(days=1), delay=timedelta(0))
CUTOFF = datetime(2024, 2, 1, 6, tzinfo=UTC)
CLASSES = Classes(names=("a", "b", "c"))
TABLE = PredictionTable(
    name="made",
    description="A made table.",
    entity=Entity(name="thing", keys=(Key(name="a", type="integer"),)),
    feature_service="made",
    population="population.sql",
    label=LABEL,
    schedule=Schedule(every="day", at="06:00"),
    sources=(),
    datasets=(Dataset(name="rows", sql="rows.sql", keys=("a",)),),
    baseline=Baseline(groups=(("a", "b"), ("b",)), days=20, min_rows=4),
)
EXAMPLES = st.lists(
    st.tuples(st.integers(0, 3) | st.none(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 24)), min_size=1, max_size=50
)


def history_of(examples: list[tuple[Any, ...]], task: Any) -> pl.DataFrame:
    highest = 1 if isinstance(task, Binary) else 2
    return pl.DataFrame(
        [(a, b, min(y, highest), CUTOFF - timedelta(days=1 + ago)) for a, b, y, ago in examples],
        schema={"a": pl.Int64, "b": pl.Int64, "label": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")},
        orient="row",
    )


def rows_at(moment: datetime = CUTOFF) -> pl.DataFrame:
    return pl.DataFrame(
        [(a, b, moment) for a in (0, 1, 2, 3, 9, None) for b in range(4)],
        schema={"a": pl.Int64, "b": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")},
        orient="row",
    )


def outcome(y: int, task: Any) -> np.ndarray[Any, Any]:
    return np.eye(3)[y] if isinstance(task, Classes) else np.array([float(y)])


def drawn(matching: list[int], towards: Any, task: Any, weight: int) -> Any:
    return (sum((outcome(y, task) for y in matching), np.zeros_like(towards)) + weight * towards) / (len(matching) + weight)


def overall(recent: list[int], task: Any) -> Any:
    match task:
        case Binary():
            return np.array([(sum(recent) + 0.5) / (len(recent) + 1)])
        case Classes():
            return (sum((outcome(y, task) for y in recent), np.zeros(3)) + 0.5) / (len(recent) + 1.5)
        case _:
            return np.array([float(np.mean(recent)) if recent else 0.0])


@pytest.mark.parametrize("task", [Binary(), CLASSES, Number()], ids=["binary", "classes", "number"])
@given(examples=EXAMPLES, weight=st.integers(1, 9), days=st.integers(1, 25))
def test_the_trailing_mean_is_drawn_from_group_to_wider_group(task: Any, examples: Any, weight: int, days: int) -> None:
    history, rows = history_of(examples, task), rows_at()
    found = forecast(history, rows, Baseline(groups=(("a", "b"), ("b",)), days=days, min_rows=weight), LABEL, CUTOFF, task)
    recent = [
        (a, b, y) for (a, b, y), ago in zip(history.select("a", "b", "label").rows(), examples, strict=True) if ago[3] < days
    ]
    for (a, b, _), value in zip(rows.rows(), found, strict=True):
        everything = overall([y for *_, y in recent], task)
        wide = drawn([y for _, d, y in recent if d == b], everything, task, weight)
        expected = drawn([y for c, d, y in recent if (c, d) == (a, b)], wide, task, weight)
        np.testing.assert_allclose(np.atleast_1d(value), expected)


@given(examples=EXAMPLES)
def test_the_same_weekday_is_drawn_to_the_trailing_mean(examples: Any) -> None:
    history = history_of(examples, Binary())
    rows = rows_at(CUTOFF + timedelta(days=2))
    found = naive_forecasts(history, rows, TABLE, CUTOFF)
    day = (CUTOFF + timedelta(days=2)).weekday()
    recent = [row for row, ago in zip(history.rows(), examples, strict=True) if ago[3] < 20]
    for (a, b, _), trailing, value in zip(rows.rows(), found["trailing mean"], found["same weekday"], strict=True):
        same = [y for c, d, y, moment in recent if (c, d) == (a, b) and moment.weekday() == day]
        assert value == pytest.approx((sum(same) + 4 * trailing) / (len(same) + 4))


@given(
    examples=st.lists(
        st.tuples(st.integers(0, 2), st.just(0), st.integers(0, 2), st.integers(0, 19)),
        min_size=1,
        unique_by=lambda e: (e[0], e[3]),
    )
)
def test_the_last_value_of_a_number_is_the_newest_that_is_known(examples: Any) -> None:
    from dataclasses import replace

    history, rows = history_of(examples, Number()), rows_at()
    found = naive_forecasts(history, rows, replace(TABLE, task=Number()), CUTOFF)
    for (a, b, _), trailing, value in zip(rows.rows(), found["trailing mean"], found["last value"], strict=True):
        own = sorted((ago, y) for c, d, y, ago in examples if (c, d) == (a, b))
        assert value == pytest.approx(own[0][1] if own else trailing)


def test_the_last_value_of_a_yes_or_no_is_what_followed_it_before() -> None:
    examples = [(0, 0, 1, 5), (0, 0, 1, 4), (0, 0, 1, 3), (0, 0, 0, 2), (0, 0, 0, 1), (1, 0, 1, 3), (2, 0, 0, 3)]
    history, rows = history_of(examples, Binary()), rows_at()
    found = naive_forecasts(history, rows, TABLE, CUTOFF)["last value"]
    by_key = {(a, b): value for (a, b, _), value in zip(rows.rows(), found, strict=True)}
    mean = 4.5 / 8
    assert by_key[1, 0] == pytest.approx((2 + 4 * mean) / (3 + 4))  # after a yes: yes, yes, no
    assert by_key[0, 0] == by_key[2, 0] == pytest.approx((0 + 4 * mean) / (1 + 4))  # after a no: no


@pytest.mark.parametrize("task", [Binary(), CLASSES, Number(), Number(quantile=0.9)])
@given(examples=EXAMPLES)
def test_every_naive_forecast_is_shaped_as_its_task_asks(task: Any, examples: Any) -> None:
    from dataclasses import replace

    rows = rows_at()
    for values in naive_forecasts(history_of(examples, task), rows, replace(TABLE, task=task), CUTOFF).values():
        assert values.shape == ((len(rows), 3) if isinstance(task, Classes) else (len(rows),))
        assert np.isfinite(values).all()
        if isinstance(task, Binary | Classes):
            assert ((values > 0) & (values < 1)).all()
        if isinstance(task, Classes):
            np.testing.assert_allclose(values.sum(axis=1), 1)


def test_a_quantile_forecast_lies_above_as_many_labels_as_it_should() -> None:
    from dataclasses import replace

    chance = np.random.default_rng(1)
    moments = [CUTOFF - timedelta(days=int(n)) for n in chance.integers(1, 19, 4_000)]
    history = pl.DataFrame(
        {"a": [1] * 4_000, "b": [1] * 4_000, "label": chance.exponential(10, 4_000), "event_timestamp": moments}
    )
    history = history.with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    found = naive_forecasts(history, rows_at().filter(a=1, b=1), replace(TABLE, task=Number(quantile=0.9)), CUTOFF)
    for name in ("trailing mean", "same weekday", "constant"):
        assert (history["label"].to_numpy() <= found[name][0]).mean() == pytest.approx(0.9, abs=0.02)


def test_without_declared_groups_the_entity_is_the_group() -> None:
    from dataclasses import replace

    history = history_of([(0, 0, 1, day) for day in range(15)] + [(1, 0, 0, day) for day in range(15)], Binary())
    found = naive_forecasts(history, rows_at(), replace(TABLE, baseline=Baseline(days=20, min_rows=4)), CUTOFF)
    assert found["trailing mean"][0] > 0.8
    assert found["trailing mean"][4] < 0.2


def test_the_best_has_the_least_loss_and_the_first_of_equals_wins() -> None:
    assert best_naive({"constant": 0.4, "trailing mean": 0.5, "same weekday": 0.5, "last value": 0.6}) == "constant"
    assert best_naive(dict.fromkeys(NAIVE, 0.5)) == "trailing mean"
