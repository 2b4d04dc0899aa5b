"""Exact contributions: against all subsets by brute force, and against XGBoost on every kind of model."""

import itertools
import json
import math
import warnings

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.domain import Column
from batch_scoring.errors import StoreCorrupt
from explain.contributions import Explainer
from explain.forest import Unsupported, forest
from explain.ubjson import read_ubjson


def made(rows: int, features: int, seed: int, categories: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, features)).astype(np.float32)
    target = matrix[:, 0] * matrix[:, 1] + np.sin(2 * matrix[:, 2]) + 0.3 * rng.normal(size=rows)
    if categories:
        matrix[:, -1] = rng.integers(0, categories, rows)
        target = target + (matrix[:, -1] % 3 == 0)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix, np.nan_to_num(target), ["q"] * (features - 1) + ["c" if categories else "q"]


def trained(matrix: np.ndarray, target: np.ndarray, types: list[str], rounds: int = 10, **params: object) -> xgb.Booster:
    data = xgb.DMatrix(matrix, target, feature_types=types, enable_categorical=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # parameters that a booster does not use
        return xgb.train({"nthread": 1, **params}, data, rounds)


def agree(booster: xgb.Booster, matrix: np.ndarray, types: list[str], iterations: tuple[int, int] | None = None) -> None:
    ours = forest(bytes(booster.save_raw("ubj")), iterations).contributions(matrix)
    data = xgb.DMatrix(matrix, feature_types=types, enable_categorical=True)
    known = booster.predict(data, pred_contribs=True, iteration_range=iterations or (0, 0))
    known = known.reshape(len(matrix), -1, matrix.shape[1] + 1)[:, :, :-1]
    np.testing.assert_allclose(ours, known, atol=1e-5 * max(1e-3, np.abs(known).max()), rtol=0)


def brute_force(tree: dict, row: np.ndarray) -> np.ndarray:
    """Shapley values over all subsets of features of the path-dependent conditional expectation of one tree."""
    left, right, cover = tree["left_children"], tree["right_children"], tree["sum_hessian"].astype(float)

    def expected(node: int, known: frozenset[int]) -> float:
        if left[node] < 0:
            return float(tree["split_conditions"][node])
        feature = int(tree["split_indices"][node])
        if feature in known:
            value = row[feature]
            goes_left = tree["default_left"][node] if np.isnan(value) else value < np.float32(tree["split_conditions"][node])
            return expected(left[node] if goes_left else right[node], known)
        return sum(cover[child] / cover[node] * expected(child, known) for child in (left[node], right[node]))

    count = len(row)
    result = np.zeros(count)
    for feature in range(count):
        others = [each for each in range(count) if each != feature]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for subset in map(frozenset, itertools.combinations(others, size)):
                result[feature] += weight * (expected(0, subset | {feature}) - expected(0, subset))
    return result


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(3, 4))
def test_contributions_are_shapley_values_over_all_subsets(seed: int, depth: int, features: int) -> None:
    matrix, target, types = made(120, features, seed)
    booster = trained(matrix, target, types, rounds=2, max_depth=depth, min_child_weight=0.5)
    raw = bytes(booster.save_raw("ubj"))
    trees = read_ubjson(raw)["learner"]["gradient_booster"]["model"]["trees"]
    rows = np.concatenate([matrix[:2], np.full((1, features), np.nan, np.float32)])
    expected = [sum(brute_force(tree, row) for tree in trees) for row in rows]
    np.testing.assert_allclose(forest(raw).contributions(rows)[:, 0], expected, atol=2e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 7, 10])
def test_every_depth_agrees_with_xgboost(depth: int) -> None:
    matrix, target, types = made(1500, 12, depth)
    agree(trained(matrix, target, types, max_depth=depth), matrix[:200], types)


def test_paths_of_more_features_than_float32_can_bear_agree() -> None:
    matrix, target, types = made(3000, 30, 3)
    booster = trained(matrix, target, types, rounds=2, max_depth=0, max_leaves=400, grow_policy="lossguide", min_child_weight=0)
    agree(booster, matrix[:40], types)


@pytest.mark.parametrize("onehot", [1, 100])
def test_categories_known_unknown_and_missing_go_where_xgboost_sends_them(onehot: int) -> None:
    matrix, target, types = made(1500, 5, 1, categories=40)
    booster = trained(matrix, target, types, max_depth=5, max_cat_to_onehot=onehot)
    rows = matrix[:90].copy()
    rows[:45, -1] = np.concatenate([np.arange(40), [55, 400, 70_000, np.nan, 39]])
    agree(booster, rows, types)


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "binary:logistic"},
        {"objective": "multi:softprob", "num_class": 5},
        {"objective": "reg:squarederror", "base_score": 7.5},
        {"objective": "count:poisson", "max_delta_step": 0.7},
        {"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.6},
    ],
)
def test_every_task_agrees_and_sums_to_the_margin(params: dict) -> None:
    matrix, target, types = made(800, 6, 2)
    classes = params.get("num_class", 2)
    labels = target if params["objective"].startswith("reg") else np.digitize(target, np.linspace(-1, 1, classes - 1))
    booster = trained(matrix, labels, types, max_depth=4, **params)
    agree(booster, matrix[:300], types)
    columns = tuple(Column(name=f"f{number}", type="DOUBLE", role="feature") for number in range(6))
    booster.feature_names = [column.name for column in columns]
    values, base = Explainer(model=bytes(booster.save_raw("ubj")), features=columns).contributions(matrix[:300])
    margin = booster.inplace_predict(matrix[:300], predict_type="margin")
    np.testing.assert_allclose(values.sum(axis=-1, dtype=float) + base, margin, atol=2e-5)


def test_a_range_of_rounds_is_explained_alone() -> None:
    matrix, target, types = made(500, 5, 4)
    agree(trained(matrix, target, types, max_depth=4), matrix[:100], types, iterations=(0, 4))


def test_trees_of_one_leaf_and_rows_without_values_agree() -> None:
    matrix, target, types = made(400, 5, 5)
    stump = trained(matrix, target, types, rounds=3, gamma=1e9)
    assert not forest(bytes(stump.save_raw("ubj"))).contributions(matrix).any()
    matrix[:, 3] = 1.0
    booster = trained(matrix, target, types, max_depth=4)
    agree(booster, np.full((3, 5), np.nan, np.float32), types)
    assert not forest(bytes(booster.save_raw("ubj"))).contributions(matrix)[:, 0, 3].any()


def test_a_value_on_the_threshold_goes_right_as_in_xgboost() -> None:
    matrix, target, types = made(500, 4, 6)
    booster = trained(np.round(matrix, 1), target, types, max_depth=5, tree_method="exact")
    frame = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"][0]
    points = np.array(frame["split_conditions"], np.float32)
    rows = np.column_stack([points, np.nextafter(points, -9), np.nextafter(points, 9), points]).astype(np.float32)
    agree(booster, rows, types)


def test_batches_and_threads_change_no_bit() -> None:
    matrix, target, types = made(9000, 6, 7)
    booster = trained(matrix[:900], target[:900], types, max_depth=5)
    columns = tuple(Column(name=f"f{number}", type="DOUBLE", role="feature") for number in range(6))
    booster.feature_names = [column.name for column in columns]
    model = bytes(booster.save_raw("ubj"))
    whole, _ = Explainer(model=model, features=columns).contributions(matrix)
    threaded, _ = Explainer(model=model, features=columns, threads=3).contributions(matrix)
    trees = forest(model)
    parts = np.concatenate([trees.contributions(matrix[start : start + 777])[:, 0] for start in range(0, 9000, 777)])
    assert whole.tobytes() == threaded.tobytes() == parts.tobytes()


@pytest.mark.parametrize("kind", ["dart", "gblinear"])
def test_other_boosters_are_explained_by_xgboost_and_that_is_said(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    matrix, target, types = made(300, 4, 8)
    booster = trained(np.nan_to_num(matrix), target, types, booster=kind)
    columns = tuple(Column(name=f"f{number}", type="DOUBLE", role="feature") for number in range(4))
    booster.feature_names = [column.name for column in columns]
    model = bytes(booster.save_raw("ubj"))
    with pytest.raises(Unsupported, match=kind):
        forest(model)
    values, base = Explainer(model=model, features=columns).contributions(np.nan_to_num(matrix))
    assert f"booster {kind}" in caplog.text
    margin = booster.predict(
        xgb.DMatrix(np.nan_to_num(matrix), feature_names=booster.feature_names, feature_types=types), output_margin=True
    )
    np.testing.assert_allclose(values.sum(axis=1) + base, margin, atol=1e-4)


def test_a_matrix_of_another_width_and_a_cut_model_are_refused() -> None:
    matrix, target, types = made(200, 4, 9)
    model = bytes(trained(matrix, target, types).save_raw("ubj"))
    with pytest.raises(StoreCorrupt, match="4 features"):
        forest(model).contributions(matrix[:, :3])
    with pytest.raises(StoreCorrupt, match="UBJSON"):
        forest(model[:1000])
