"""Metrics are what the books define, weighted or not, and their intervals cover what they should."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    mean_pinball_loss,
    roc_auc_score,
)
from sklearn.metrics import log_loss as reference_log_loss

from batch_scoring import Binary, Classes, Number
from pipelines.training.intervals import cluster_rows, paired, paired_within, resample
from pipelines.training.measures import measure
from pipelines.training.metrics import (
    auc,
    calibration_errors,
    calibration_sums,
    log_odds,
    logistic,
    loss,
    row_losses,
    wasserstein,
)
from pipelines.training.ranks import Ranked

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 19), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60)


def columns(rows: list[tuple[int, int, int, int]]) -> tuple[Any, Any, Any, Any]:
    labels, scores, days, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return labels, scores / 20, days, weights


def measured(task: Any, labels: Any, forecasts: Any, **more: Any) -> dict[str, Any]:
    found = measure(task, labels, forecasts, resample(np.arange(len(labels)), seed=1, draws=20), **more)
    return {metric.name: metric.value for metric in found}


@given(ROWS)
def test_binary_metrics_are_scikit_learns(rows: list[tuple[int, int, int, int]]) -> None:
    labels, scores, *_ = columns(rows)
    found = measured(Binary(), labels, scores)
    assert found["log-loss"] == pytest.approx(reference_log_loss(labels, scores, labels=[0, 1]))
    assert found["log-loss"] == pytest.approx(loss(Binary(), labels, scores))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores, labels=[0, 1]))
    if labels.max() > 0:
        assert found["pr_auc"] == pytest.approx(average_precision_score(labels, scores))
    if labels.min() < labels.max():
        assert found["auc"] == auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert found["auc"] is None
        assert found["calibration_slope"] is None


@given(ROWS)
def test_a_weighted_ranking_is_that_of_repeated_rows(rows: list[tuple[int, int, int, int]]) -> None:
    labels, scores, _, weights = columns(rows)
    again = np.repeat(np.arange(len(rows)), weights.astype(int))
    if len(again) == 0:
        return
    ranked = Ranked.of(labels, scores)
    np.testing.assert_allclose(ranked.auc(weights), Ranked.of(labels[again], scores[again]).auc(np.ones(len(again))))
    np.testing.assert_allclose(
        ranked.average_precision(weights), Ranked.of(labels[again], scores[again]).average_precision(np.ones(len(again)))
    )


@given(ROWS)
def test_the_auc_within_days_counts_the_pairs_of_each_day_alone(rows: list[tuple[int, int, int, int]]) -> None:
    labels, scores, days, _ = columns(rows)
    right = pairs = 0.0
    for day in np.unique(days):
        ones, zeros = scores[(days == day) & (labels == 1)], scores[(days == day) & (labels == 0)]
        right += sum((one > zero) + 0.5 * (one == zero) for one in ones for zero in zeros)
        pairs += len(ones) * len(zeros)
    found = measured(Binary(), labels, scores, days=days)["auc_within_day"]
    assert found == (pytest.approx(right / pairs) if pairs else None)


@given(ROWS)
def test_calibration_error_is_its_definition(rows: list[tuple[int, int, int, int]]) -> None:
    labels, scores, *_ = columns(rows)
    edges = sorted(set(np.quantile(scores, np.linspace(0, 1, 11)[1:-1])))
    groups: dict[int, list[float]] = {}
    for label, score in zip(labels, scores, strict=True):
        groups.setdefault(sum(score >= edge for edge in edges), []).append(label - score)
    expected = sum(abs(sum(group)) for group in groups.values()) / len(rows)
    error = calibration_errors(calibration_sums(labels, scores).sum(axis=0)[None, :])[0]
    assert error == pytest.approx(expected, abs=1e-12)


def test_the_calibration_slope_is_that_of_a_logistic_regression() -> None:
    chance = np.random.default_rng(3)
    odds = chance.normal(size=4_000)
    labels = (chance.random(4_000) < 1 / (1 + np.exp(-0.6 * odds))).astype(float)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], labels)
    _, slope = logistic(labels, log_odds(1 / (1 + np.exp(-odds)))) or (0.0, 0.0)
    assert slope == pytest.approx(float(fitted.coef_[0, 0]), rel=1e-5)
    assert slope == pytest.approx(0.6, abs=0.15)


def test_scores_that_part_the_labels_have_no_calibration_slope() -> None:
    assert logistic(np.array([0.0, 0.0, 1.0, 1.0]), log_odds(np.array([0.1, 0.2, 0.8, 0.9]))) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40))
def test_class_metrics_are_scikit_learns(rows: list[tuple[int, int, int, int]]) -> None:
    table = np.array(rows, dtype=float)
    labels, forecasts = table[:, 0], table[:, 1:] / table[:, 1:].sum(axis=1, keepdims=True)
    found = measured(Classes(names=("a", "b", "c")), labels, forecasts)
    chosen = forecasts.argmax(axis=1)
    assert found["log-loss"] == pytest.approx(reference_log_loss(labels, forecasts, labels=[0, 1, 2]))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, chosen))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, chosen, average="macro", zero_division=0))


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=40), st.sampled_from([None, 0.1, 0.9])
)
def test_number_metrics_are_their_definitions(rows: list[tuple[float, float]], quantile: float | None) -> None:
    labels, forecasts = (np.array(column) for column in zip(*rows, strict=True))
    found = measured(Number(quantile=quantile), labels, forecasts)
    alpha = 0.5 if quantile is None else quantile
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((labels - forecasts) ** 2)))
    assert found["mae"] == pytest.approx(np.mean(np.abs(labels - forecasts)))
    assert found[f"pinball_{alpha:g}"] == pytest.approx(mean_pinball_loss(labels, forecasts, alpha=alpha))
    record = found["rmse"] if quantile is None else found[f"pinball_{quantile:g}"]
    assert loss(Number(quantile=quantile), labels, forecasts) == pytest.approx(record)


def test_a_business_metric_is_the_mean_of_its_rows() -> None:
    labels, scores = np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.6, 0.4])
    assert measured(Binary(), labels, scores, business={"cost": np.array([1.0, 2.0, 6.0])})["cost"] == 3.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_wassersteins_distance_is_scipys(reference: list[float], current: list[float]) -> None:
    found = wasserstein(np.array(reference), np.array(current))
    assert found == pytest.approx(wasserstein_distance(reference, current), abs=1e-9)


def days_of(days: int, per_day: int, chance: np.random.Generator) -> tuple[Any, Any]:
    """Values whose days move together: day noise of variance 1 and row noise of variance 1 around a mean of 0."""
    place = np.repeat(np.arange(days), per_day)
    return place, chance.normal(size=days)[place] + chance.normal(size=days * per_day)


def test_intervals_of_few_days_that_move_together_cover_the_truth() -> None:
    chance = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        place, values = days_of(7, 60, chance)
        metric = measure(Number(), values, values, resample(place, seed=trial, draws=200), business={"mean": values})[-1]
        assert metric.low is not None
        assert metric.high is not None
        covered += metric.low <= 0 <= metric.high
    assert 0.90 <= covered / 300 <= 0.99  # rows drawn alone would cover half as often


def test_a_paired_error_is_that_of_day_means() -> None:
    chance = np.random.default_rng(5)
    place, values = days_of(40, 50, chance)
    difference = paired(values, np.zeros(len(values)), resample(place, seed=2, draws=2_000))
    means = np.array([values[place == day].mean() for day in range(40)])
    assert difference.mean == pytest.approx(values.mean())
    assert difference.error == pytest.approx(means.std(ddof=1) / np.sqrt(40), rel=0.1)
    assert difference.clusters == 40


def test_forecasts_that_are_the_same_differ_by_nothing() -> None:
    labels, scores = np.array([0.0, 1.0] * 50), np.linspace(0.1, 0.9, 100)
    ours = row_losses(Binary(), labels, scores)
    same = paired(ours, ours.copy(), resample(np.arange(100) // 10, seed=1))
    assert (same.mean, same.error) == (0.0, 0.0)


def test_a_segment_is_compared_on_its_own_rows_and_clusters() -> None:
    place = np.repeat(np.arange(10), 10)
    ours, theirs = np.zeros(100), np.zeros(100)
    ours[place < 5] = 1.0
    found = paired_within(ours, theirs, place < 5, resample(place, seed=1))
    assert (found.mean, found.clusters) == (1.0, 5)


def test_draws_are_the_same_for_the_same_seed_and_whole_clusters() -> None:
    one, two, other = (resample(np.array([7, 7, 3, 9]), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.counts, two.counts)
    assert not np.array_equal(one.counts, other.counts)
    assert (one.counts.sum(axis=1) == 3).all()
    assert one.weights(0)[0] == one.weights(0)[1]


def test_more_clusters_than_can_be_held_are_merged_and_stay_as_sure() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    found = paired(values, np.zeros(20_000), resample(np.arange(20_000), seed=1))
    assert found.error == pytest.approx(1 / np.sqrt(20_000), rel=0.15)
    assert found.clusters == 1_000


def test_rows_are_clustered_by_moment_or_with_few_moments_by_entity() -> None:
    moments = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n // 4) for n in range(24)]
    rows = pl.DataFrame({"event_timestamp": moments, "id": [n % 4 for n in range(23)] + [None]})
    assert len(np.unique(cluster_rows(rows, ("id",)))) == 6
    assert len(np.unique(cluster_rows(rows.head(12), ("id",)))) == 4
    assert len(np.unique(cluster_rows(rows.tail(4), ("id",)))) == 4  # null is an entity too


def test_all_metrics_of_a_week_take_a_fraction_of_a_second() -> None:
    chance = np.random.default_rng(1)
    labels, scores = (chance.random(7_000) < 0.3).astype(float), chance.random(7_000)
    draws = resample(np.arange(7_000) // 1_000, seed=1)
    start = time.process_time()
    measure(Binary(), labels, scores, draws, days=np.arange(7_000) // 1_000)
    assert time.process_time() - start < 3
