"""Scores and explanations: the same bits everywhere, and parts that add up."""

import pickle
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import shap
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring.declare import Binary
from batch_scoring.domain import Column
from batch_scoring.engines.local import map_batches
from batch_scoring.errors import StoreCorrupt
from batch_scoring.scoring import Scorer, encode, feature_types, load_booster
from batch_scoring.tasks import forecast
from explain.batches import ExplainBatch
from explain.contributions import Explainer
from explain.reasons import show_value, top_reasons

FEATURES = (
    Column(name="x", type="DOUBLE", role="feature", description="how much"),
    Column(name="n", type="BIGINT", role="feature"),
    Column(name="kind", type="VARCHAR", role="feature", categories=("a", "b", "ü")),
)


def made(rows: int = 500, seed: int = 0) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    return pa.record_batch(
        {
            "id": pa.array(np.arange(rows)),
            "x": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1),
            "n": pa.array(rng.integers(0, 9, rows), mask=rng.random(rows) < 0.1),
            "kind": pa.array(rng.choice(["a", "b", "ü", "never seen"], rows), mask=rng.random(rows) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def model() -> bytes:
    batch = made(2000, seed=1)
    matrix = encode(batch, FEATURES)
    labels = (np.nan_to_num(matrix[:, 0]) + (matrix[:, 2] == 2) > 0.3).astype(float)
    names = [feature.name for feature in FEATURES]
    data = xgb.QuantileDMatrix(
        matrix, labels, feature_names=names, feature_types=feature_types(FEATURES), enable_categorical=True
    )
    return bytes(xgb.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, data, 30).save_raw("ubj"))


def test_an_encoded_column_keeps_missing_values_and_unseen_categories_missing() -> None:
    batch = pa.record_batch({"x": [1.5, None], "n": [None, 2], "kind": ["never seen", "ü"]})
    np.testing.assert_array_equal(encode(batch, FEATURES), np.array([[1.5, np.nan, np.nan], [np.nan, 2, 2]], dtype=np.float32))


def test_a_missing_feature_is_named() -> None:
    with pytest.raises(StoreCorrupt, match="no column n, kind"):
        encode(pa.record_batch({"x": [1.0]}), FEATURES)


def test_scores_are_what_xgboost_says(model: bytes) -> None:
    batch = made()
    scored = Scorer(model=model, features=FEATURES)(batch)
    names = [feature.name for feature in FEATURES]
    data = xgb.DMatrix(
        encode(batch, FEATURES), feature_names=names, feature_types=feature_types(FEATURES), enable_categorical=True
    )
    np.testing.assert_allclose(scored["score"].to_numpy(), load_booster(model).predict(data), atol=1e-7)


def test_a_scorer_that_travelled_gives_the_same_bits(model: bytes) -> None:
    scorer = Scorer(model=model, features=FEATURES)
    assert pickle.loads(pickle.dumps(scorer))(made()).equals(scorer(made()))


def test_batches_and_threads_change_no_bit_and_no_order(model: bytes) -> None:
    batch = made(1000)
    scorer = Scorer(model=model, features=FEATURES)
    parts = [batch.slice(start, 37) for start in range(0, 1000, 37)]
    joined = pa.Table.from_batches(list(map_batches(scorer, parts, threads=3)))
    assert joined.combine_chunks().equals(pa.Table.from_batches([scorer(batch)]))


def test_an_engine_holds_few_batches_at_a_time() -> None:
    taken: list[int] = []

    def produce() -> Iterator[pa.RecordBatch]:
        for number in range(50):
            taken.append(number)
            yield pa.record_batch({"n": [number]})

    for done, _ in enumerate(map_batches(lambda batch: batch, produce(), threads=2)):
        assert len(taken) - done <= 4


def test_the_first_failure_of_a_batch_is_raised(model: bytes) -> None:
    def fail(batch: pa.RecordBatch) -> pa.RecordBatch:
        raise ValueError(str(batch.num_rows))

    with pytest.raises(ValueError, match="500"):
        list(map_batches(fail, [made()], threads=2))


def test_an_empty_batch_gives_an_empty_answer(model: bytes) -> None:
    empty = made().slice(0, 0)
    assert Scorer(model=model, features=FEATURES)(empty).num_rows == 0
    assert Explainer(model=model, features=FEATURES)(empty).num_rows == 0


def test_contributions_and_base_value_sum_to_the_margin(model: bytes) -> None:
    batch = made()
    explained = Explainer(model=model, features=FEATURES)(batch)
    total = sum(explained[name].to_numpy().astype(np.float64) for name in explained.schema.names)
    np.testing.assert_allclose(total, Scorer(model=model, features=FEATURES)(batch)["margin"].to_numpy(), atol=1e-5)


def test_contributions_are_what_shap_says() -> None:
    batch = made(2000, seed=2)
    numbers = FEATURES[:2]  # shap reads no categorical splits
    matrix = encode(batch, numbers)
    labels = (np.nan_to_num(matrix[:, 0]) > 0.3).astype(float)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, xgb.DMatrix(matrix, labels), 10)
    ours, _ = Explainer(model=bytes(booster.save_raw("ubj")), features=numbers).contributions(matrix[:100])
    np.testing.assert_allclose(ours, shap.TreeExplainer(booster).shap_values(matrix[:100]), atol=1e-5)


def test_an_explained_batch_keeps_its_keys_and_gives_reasons_in_words(model: bytes) -> None:
    batch = made()
    explained = ExplainBatch(model=model, keys=("id",), features=FEATURES, top=2)(batch)
    assert explained["id"].equals(batch["id"])
    contributions = Explainer(model=model, features=FEATURES)(batch)
    for row, reasons in enumerate(explained["reasons"].to_pylist()):
        parts = {feature.name: abs(contributions[feature.name][row].as_py()) for feature in FEATURES}
        assert [reason["feature"] for reason in reasons] == sorted(parts, key=lambda name: -parts[name])[:2]


def test_a_reason_reads_as_a_sentence() -> None:
    reasons = top_reasons(FEATURES, [0.4123, None, "ü"], [0.5, -0.75, 0.0], top=3)
    assert [reason.text for reason in reasons] == ["n: unknown, lowers the score", "how much: 0.412, raises the score"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None), (float("nan"), None), (0.0, "0"), (3.0, "3"), (1234.5, "1,234.50"), (0.04567, "0.0457"),
        (12345, "12,345"), ("EWR", "EWR"), (True, "yes"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_a_person_would_write_it(value: object, shown: str | None) -> None:
    assert show_value(value) == shown


@given(st.lists(st.floats(-800, 800), min_size=1))
def test_a_probability_never_leaves_its_range(margins: list[float]) -> None:
    scores = forecast(Binary(), np.array(margins))
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-min(max(margin, -700), 700))) for margin in margins], atol=1e-12)
