"""Thresholds serve the goal they are named after; calibration changes scores only where it helps, and never their order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring.calibration import NO_CALIBRATION, Calibration, calibrated
from batch_scoring.errors import DeclarationError
from batch_scoring.goals import MinimumCost, MinimumPrecision, MinimumRecall, TopPerDay
from pipelines.training.calibration import fit_isotonic, fit_platt, learn_calibration, margins_of
from pipelines.training.thresholds import decided, learn_threshold, operating, top_per_day, version_threshold

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 2)), min_size=1, max_size=40)
SHARES = st.sampled_from([0.2, 0.5, 0.8, 0.95, 1.0])


def columns(rows: list[tuple[int, int, int]]) -> tuple[Any, Any, Any]:
    labels, scores, days = (np.array(column) for column in zip(*rows, strict=True))
    return labels, scores / 10, days


def candidates(scores: Any) -> list[float]:
    return [*sorted(set(scores.tolist()), reverse=True)]


def counts(labels: Any, scores: Any, at: float) -> tuple[int, int]:
    yes = scores >= at
    return int(yes.sum()), int((labels[yes] == 1).sum())


@given(ROWS, SHARES)
def test_recall_takes_the_highest_threshold_that_finds_enough(rows: Any, share: float) -> None:
    labels, scores, days = columns(rows)
    learned = learn_threshold(MinimumRecall(at_least=share), labels, scores, days)
    positive = int(labels.sum())
    assert learned.met == (positive > 0)
    if positive:
        assert learned.value == next(at for at in candidates(scores) if counts(labels, scores, at)[1] >= share * positive - 1e-9)
        assert learned.validation.recall is not None
        assert learned.validation.recall >= share - 1e-9


@given(ROWS, SHARES)
def test_precision_takes_the_lowest_threshold_that_is_right_often_enough(rows: Any, share: float) -> None:
    labels, scores, days = columns(rows)
    learned = learn_threshold(MinimumPrecision(at_least=share), labels, scores, days)
    precise = {at: hits / yes for at in candidates(scores) for yes, hits in [counts(labels, scores, at)]}
    fine = [at for at, precision in precise.items() if precision >= share - 1e-9]
    assert learned.met == bool(fine)
    if fine:
        assert learned.value == min(fine)
    elif max(precise.values()) > 0:
        assert precise[learned.value] == max(precise.values())


@given(ROWS, st.integers(1, 9), st.integers(1, 9))
def test_cost_is_the_least_there_is(rows: Any, missed: int, alarm: int) -> None:
    labels, scores, days = columns(rows)
    learned = learn_threshold(MinimumCost(missed=missed, false_alarm=alarm), labels, scores, days)

    def cost(at: float) -> float:
        yes, hits = counts(labels, scores, at)
        return (missed * (labels.sum() - hits) + alarm * (yes - hits)) / len(labels)

    assert learned.validation.cost == pytest.approx(min(cost(at) for at in [2.0, *candidates(scores)]))
    assert learned.validation.cost == pytest.approx(cost(learned.value))


@given(ROWS, st.integers(1, 6))
def test_the_top_of_every_day_is_decided_and_what_ties_with_it(rows: Any, count: int) -> None:
    _, scores, days = columns(rows)
    chosen = top_per_day(scores, days, count)
    for day in np.unique(days):
        of_day = sorted(scores[days == day].tolist(), reverse=True)
        least = of_day[min(count, len(of_day)) - 1]
        assert chosen[days == day].tolist() == [value >= least for value in scores[days == day]]


def test_each_version_has_the_threshold_that_its_own_top_needs() -> None:
    scores = np.linspace(0, 1, 100)
    learned = learn_threshold(TopPerDay(count=10), (scores > 0.5).astype(int), scores, np.zeros(100))
    tomorrow = scores / 2
    at = version_threshold(learned, tomorrow)
    assert (tomorrow >= at).sum() == 10
    assert decided(learned, tomorrow, np.zeros(100)).sum() == 10
    assert version_threshold(0.4, tomorrow) == 0.4


def test_a_hold_out_is_reported_at_the_threshold_that_was_learned_before() -> None:
    goal = MinimumRecall(at_least=0.5)
    learned = learn_threshold(goal, np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]), np.zeros(4))
    found = operating(goal, np.array([1, 1, 0]), decided(learned, np.array([0.95, 0.2, 0.91]), np.zeros(3)))
    assert (found.recall, found.precision, found.yes, found.positive, found.rows) == (0.5, 0.5, 2, 2, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MinimumRecall(at_least=0),
        lambda: MinimumPrecision(at_least=1.1),
        lambda: MinimumCost(missed=0, false_alarm=1),
        lambda: TopPerDay(count=0),
    ],
)
def test_a_goal_that_cannot_be_meant_is_refused(make: Any) -> None:
    with pytest.raises(DeclarationError):
        make()


def drawn(slope: float, shift: float, seed: int, rows: int = 6_000) -> tuple[Any, Any, Any]:
    """Labels whose true log-odds are ``shift + slope × margin``; three folds."""
    chance = np.random.default_rng(seed)
    margins = chance.normal(size=rows) * 1.5
    labels = (chance.random(rows) < 1 / (1 + np.exp(-(shift + slope * margins)))).astype(float)
    return labels, margins, np.arange(rows) % 3


def learned(labels: Any, margins: Any, folds: Any) -> Calibration:
    return learn_calibration(labels, margins, folds)


@pytest.mark.parametrize("seed", range(5))
def test_scores_that_mean_what_they_say_are_left_alone(seed: int) -> None:
    assert learned(*drawn(1.0, 0.0, seed)) == NO_CALIBRATION


def test_scores_that_are_too_extreme_are_drawn_in() -> None:
    found = learned(*drawn(0.5, 0.3, 1))
    assert found.kind != "none"
    assert found.gain > 0.01
    labels, margins, _ = drawn(0.5, 0.3, 2)
    assert calibrated(found, margins).mean() == pytest.approx(labels.mean(), abs=0.02)


def test_a_spell_of_weather_is_no_reason_to_calibrate() -> None:
    parts = [drawn(1.0, shift, seed, rows=2_000) for seed, shift in enumerate((0.9, -0.8, 0.7))]
    labels, margins = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:2])
    assert learned(labels, margins, np.repeat([1, 2, 3], 2_000)) == NO_CALIBRATION


def test_platt_finds_the_truth_it_can_express() -> None:
    labels, margins, _ = drawn(0.5, 0.3, 1, rows=50_000)
    found = fit_platt(labels, margins)
    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.3, abs=0.03))


def test_a_calibration_that_would_turn_scores_around_is_not_made() -> None:
    labels, margins, folds = drawn(-1.0, 0.0, 1)
    assert fit_platt(labels, margins) is None
    assert learned(labels, margins, folds).kind != "platt"


def test_two_blocks_or_few_outcomes_prove_nothing() -> None:
    labels, margins, folds = drawn(0.3, 0.0, 1)
    assert learned(labels, margins, folds % 2) == NO_CALIBRATION
    assert learned(labels[:300], margins[:300], folds[:300]) == NO_CALIBRATION


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-20, 20)), min_size=2, max_size=80), st.lists(st.floats(-30, 30), min_size=1)
)
def test_calibration_keeps_the_order_and_stays_within_zero_and_one(pairs: Any, margins: list[float]) -> None:
    labels, known = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    ordered = np.array(sorted(margins))
    for found in (NO_CALIBRATION, fit_platt(labels, known), fit_isotonic(labels, known)):
        if found is None:
            continue
        scores = calibrated(found, ordered)
        assert (np.diff(scores) >= -1e-12).all()
        assert ((scores >= 0) & (scores <= 1)).all()


@given(st.lists(st.floats(-20, 20), min_size=1))
def test_margins_come_back_from_the_probabilities_they_gave(margins: list[float]) -> None:
    values = np.array(margins)
    np.testing.assert_allclose(margins_of(calibrated(NO_CALIBRATION, values)), values, rtol=1e-6, atol=1e-6)
