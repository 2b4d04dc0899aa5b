"""What a task decides: links, stored columns, explanations that add up, labels in SQL."""

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from batch_scoring import Binary, Classes, Number, tasks
from batch_scoring.codec import from_json, to_json
from batch_scoring.declare import Task
from batch_scoring.domain import Column
from batch_scoring.errors import DeclarationError
from batch_scoring.scoring import Scorer
from explain.batches import ExplainBatch
from explain.contributions import Explainer

THREE = Classes(names=("on time", "it's late", 'so "called"'))
TASKS = (Binary(), THREE, Number(unit="minutes"), Number(quantile=0.9))
FEATURES = tuple(Column(name=name, type="DOUBLE", role="feature") for name in ("a", "b", "c"))


def margins(width: int) -> st.SearchStrategy[npt.NDArray[np.float64]]:
    return arrays(np.float64, st.tuples(st.integers(0, 20), st.just(width)), elements=st.floats(-700, 700))


def fitted(task: Task, rows: int = 400) -> tuple[bytes, pa.RecordBatch]:
    """A model of the task on made numbers, and the rows it was fitted on."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(rows, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    signal = np.nan_to_num(values[:, 0]) * 2 + np.nan_to_num(values[:, 1]) + rng.normal(size=rows)
    match task:
        case Binary():
            labels = signal > 0
        case Classes(names=names):
            labels = np.clip(np.digitize(signal, [-1.0, 1.5]), 0, len(names) - 1)
        case Number():
            labels = 40 + 15 * signal
    data = xgb.DMatrix(values, label=labels.astype(np.float32), feature_names=["a", "b", "c"])
    booster = xgb.train({**tasks.objective(task), "max_depth": 3, "nthread": 1, "verbosity": 0}, data, num_boost_round=12)
    return bytes(booster.save_raw("ubj")), pa.record_batch({name: pa.array(values[:, n]) for n, name in enumerate("abc")})


@given(margins(1))
def test_a_binary_forecast_is_scipys_logistic(found: npt.NDArray[np.float64]) -> None:
    np.testing.assert_allclose(tasks.forecast(Binary(), found[:, 0]), expit(found[:, 0]), rtol=1e-12, atol=1e-15)


@given(margins(3))
def test_a_forecast_of_classes_is_scipys_softmax(found: npt.NDArray[np.float64]) -> None:
    forecasts = tasks.forecast(THREE, found)
    np.testing.assert_allclose(forecasts, softmax(found, axis=1) if len(found) else found, rtol=1e-12, atol=1e-15)


@given(margins(3), st.floats(-100, 100))
def test_what_all_classes_share_changes_nothing_that_is_stored(found: npt.NDArray[np.float64], shared: float) -> None:
    plain, moved = tasks.score(THREE, found), tasks.score(THREE, found + shared)
    for name in ("margin", "score"):
        np.testing.assert_allclose(plain.column(name), moved.column(name), rtol=1e-9, atol=1e-9)


@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-15, 15)))
def test_the_margin_of_a_class_is_the_centred_log_of_its_probability(found: npt.NDArray[np.float64]) -> None:
    stored = tasks.score(THREE, found)
    probabilities = np.array([list(row.values()) for row in stored.column("probabilities").to_pylist()])
    logs = np.log(probabilities)
    expected = logs.max(axis=1) - logs.mean(axis=1)
    np.testing.assert_allclose(stored.column("margin"), expected, atol=1e-9)
    assert stored.column("decision").to_pylist() == [THREE.names[place] for place in probabilities.argmax(axis=1)]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_contributions_and_base_value_add_up_to_the_stored_margin(task: Task) -> None:
    model, rows = fitted(task)
    stored = Scorer(model=model, features=FEATURES, task=task)(rows)
    explained = Explainer(model=model, features=FEATURES, task=task)(rows)
    total = sum(np.asarray(explained.column(name), dtype=np.float64) for name in explained.schema.names)
    np.testing.assert_allclose(total, stored.column("margin"), rtol=1e-5, atol=1e-4)


def test_a_class_is_explained_as_xgboost_explains_it_less_the_mean_over_classes() -> None:
    model, rows = fitted(THREE)
    matrix = np.column_stack([rows.column(name) for name in ("a", "b", "c")])
    booster = xgb.Booster()
    booster.load_model(bytearray(model))
    known = booster.predict(xgb.DMatrix(matrix, feature_names=["a", "b", "c"]), pred_contribs=True).astype(np.float64)
    chosen = booster.inplace_predict(matrix, missing=np.nan).argmax(axis=1)
    expected = known[np.arange(len(matrix)), chosen] - known.mean(axis=1)
    found = Explainer(model=model, features=FEATURES, task=THREE)(rows)
    for place, name in enumerate(("a", "b", "c", "base_value")):
        np.testing.assert_allclose(found.column(name), expected[:, place], atol=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_no_rows_are_scored_and_explained_as_no_rows(task: Task) -> None:
    model, rows = fitted(task)
    scored, some = (Scorer(model=model, features=FEATURES, task=task)(part) for part in (rows.slice(0, 0), rows))
    assert scored.num_rows == 0
    assert scored.schema == some.schema
    explain = ExplainBatch(model=model, keys=(), features=FEATURES, top=2, task=task)
    assert explain(rows.slice(0, 0)).schema == explain(rows).schema


def test_a_quantile_is_above_so_many_of_the_labels() -> None:
    model, rows = fitted(Number(quantile=0.9), rows=2000)
    median, _ = fitted(Number(quantile=0.5), rows=2000)
    high, middle = (
        np.asarray(Scorer(model=each, features=FEATURES, task=Number())(rows).column("score")) for each in (model, median)
    )
    assert (high > middle).mean() > 0.9


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_task_reads_back_as_it_was_stored(task: Task) -> None:
    assert from_json(to_json(task), Task) == task  # type: ignore[arg-type]  # a union is a type to msgspec


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_what_is_scored_fits_the_columns_that_are_documented(task: Task) -> None:
    model, rows = fitted(task)
    scored = pa.Table.from_batches([Scorer(model=model, features=FEATURES, task=task)(rows)])
    with duckdb.connect() as con:
        con.register("scored", scored)
        types = {name: kind for name, kind, *_ in con.sql("DESCRIBE scored").fetchall()}
    documented = {column.name: column.type for column in tasks.prediction_columns(task)}
    assert types.items() <= documented.items()
    assert set(documented) - set(types) == {"rank", "reasons"} | ({"decision", "threshold"} if task == Binary() else set())


@pytest.mark.parametrize(
    ("task", "labels", "numbers"),
    [
        (Binary(), "(0), (1)", [0, 1]),
        (THREE, "('it''s late'), ('so \"called\"'), ('on time')", [1, 2, 0]),
        (Number(), "(-3), (2.5)", [-3.0, 2.5]),
    ],
    ids=repr,
)
def test_a_label_becomes_a_number_in_sql(task: Task, labels: str, numbers: list[Any]) -> None:
    expression, misfit, _ = tasks.label_sql(task, '"label"')
    with duckdb.connect() as con:
        rows = con.sql(f"SELECT {expression}, {misfit} FROM (VALUES {labels}) answer(label)").fetchall()
    assert rows == [(number, False) for number in numbers]


@pytest.mark.parametrize(("task", "label"), [(Binary(), "2"), (THREE, "'late'"), (Number(), "'nan'::DOUBLE"), (THREE, "NULL")])
def test_a_label_that_does_not_fit_its_task_is_found(task: Task, label: str) -> None:
    _, misfit, right = tasks.label_sql(task, '"label"')
    with duckdb.connect() as con:
        assert con.sql(f"SELECT {misfit} FROM (SELECT {label} AS label)").fetchall() == [(True,)]
    assert right.startswith("labels ")


@pytest.mark.parametrize(
    "names", [("yes", "no"), ("a", "b", "A"), ("a", "b", ""), ("a", "b", " c"), ("a", "b", "c\n"), tuple(map(str, range(101)))]
)
def test_classes_that_cannot_work_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match=r"Classes\.names"):
        Classes(names=names)


@pytest.mark.parametrize("quantile", [0.0, 1.0, 1.5])
def test_a_quantile_that_cannot_work_is_refused(quantile: float) -> None:
    with pytest.raises(DeclarationError, match=r"Number\.quantile"):
        Number(quantile=quantile)
