"""What a model's age costs, what a feature is worth, and whether a refit is the model that was judged: on planted truths."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.isotonic import isotonic_regression
from support.made import DAILY, LABEL, MODEL, made, table

from batch_scoring import HoldOut
from batch_scoring.declare import Binary
from batch_scoring.domain import Column
from batch_scoring.errors import NoData
from batch_scoring.gates import Evidence, RefitAgrees, judge
from batch_scoring.measured import Agreement
from pipelines.training.cells import Evaluator
from pipelines.training.decay import DayLosses, decay_curve, describe_decay, measure_decay, never_falling, plot_decay
from pipelines.training.fit import TrainingData, encode_training, fit, parameters
from pipelines.training.folds import plan_blocks
from pipelines.training.importance import weigh_features
from pipelines.training.recipe import Recipe
from pipelines.training.refit import agreement, compare_models

RECIPE = Recipe(window=14, model=replace(MODEL, rounds=10))


def planted(per_period: float, ages: int = 10, days: int = 12, noise: float = 0.002) -> tuple[DayLosses, ...]:
    """A fresh model gains 0.1 over a baseline of 0.6, and every period of age loses ``per_period`` of it again."""
    rng = np.random.default_rng(0)
    return tuple(
        DayLosses(
            day=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n),
            rows=100 + n,
            baseline=0.6 + level,
            by_age=tuple(0.5 + level + per_period * age + float(rng.normal(0, noise)) for age in range(ages + 1)),
        )
        for n, level in enumerate(rng.normal(0, 0.1, days).tolist())
    )


def test_a_planted_decay_is_found_at_its_age() -> None:
    curve = decay_curve(planted(0.005), share=0.2)
    assert curve.retrain_after in (4, 5)  # 0.2 × 0.1 is lost after 4 periods
    assert curve.ages[10].excess == pytest.approx(0.05, abs=0.003)
    assert curve.ages[10].excess > 5 * curve.ages[10].error
    assert describe_decay(curve, "day").startswith(f"Train anew after {curve.retrain_after} days")


def test_a_model_that_does_not_age_need_not_be_trained_anew() -> None:
    curve = decay_curve(planted(0.0), share=0.2)
    assert curve.retrain_after is None
    assert "keeps more than 80%" in describe_decay(curve, "day")


def test_without_a_gain_there_is_none_to_lose() -> None:
    curve = decay_curve([replace(day, baseline=0.4) for day in planted(0.01)], share=0.2)
    assert curve.retrain_after is None
    assert all(each.lost is None for each in curve.ages)
    assert "no gain to lose" in describe_decay(curve, "day")


def test_hard_days_do_not_look_like_age() -> None:
    calm, stormy = planted(0.005, noise=0.0), [replace(day, baseline=day.baseline + 3) for day in planted(0.005, noise=0.0)]
    shifted = [replace(day, by_age=tuple(loss + 3 for loss in day.by_age)) for day in stormy]
    assert [each.excess for each in decay_curve(calm, 0.2).ages] == pytest.approx(
        [each.excess for each in decay_curve(shifted, 0.2).ages]
    )


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_smoothing_is_isotonic_regression(values: list[float]) -> None:
    assert never_falling(np.array(values)) == pytest.approx(isotonic_regression(values), abs=1e-9)


def test_models_age_when_the_world_moves_and_every_age_is_asked_about_the_same_days() -> None:
    data = made(days=60, flip_at=45)
    evaluator = Evaluator(data=data, label=LABEL, threads=2)
    days = measure_decay(evaluator, table(), RECIPE, ages=10, days=8)
    assert [len(day.by_age) for day in days] == [11] * 8
    assert evaluator.fits == 18
    curve = decay_curve(days, share=0.2)
    assert curve.ages[10].excess > curve.ages[1].excess
    assert plot_decay(curve, "day").startswith(b"\x89PNG")


def test_a_model_of_any_age_saw_only_what_was_known_when_it_was_made() -> None:
    data = made(days=40)
    last = data.events >= np.unique(data.events)[-2]
    changed = replace(data, labels=np.where(last, 1 - data.labels, data.labels))
    one, other = (measure_decay(Evaluator(data=each, label=LABEL), table(), RECIPE, ages=3, days=4) for each in (data, changed))
    assert one[:2] == other[:2]
    assert one[3] != other[3]


def test_a_history_that_is_too_short_for_the_oldest_model_is_refused() -> None:
    with pytest.raises(NoData, match="31 as-of moments"):
        measure_decay(Evaluator(data=made(days=20), label=LABEL), table(), RECIPE, ages=10, days=20)


def worlds() -> TrainingData:
    """``x`` decides, ``copy`` says the same, ``noise`` says nothing."""
    data = made(days=40)
    rng = np.random.default_rng(3)
    frame = data.frame.with_columns(
        copy=pl.col("x") + pl.Series(rng.normal(0, 1e-6, len(data.frame))), noise=pl.Series(rng.normal(size=len(data.frame)))
    )
    columns = tuple(Column(name=name, type="DOUBLE", role="feature") for name in ("x", "copy", "noise"))
    return replace(encode_training(frame, columns), keys=("id",))


def test_a_feature_whose_work_another_does_can_go_but_not_both_of_them() -> None:
    data = worlds()
    block = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2), LABEL)[0]
    report = weigh_features(data, table(), block, Recipe(window="all", model=replace(MODEL, colsample=1.0)), repeats=3)
    worth = {each.feature: each for each in report.features}
    assert worth["x"].permuted + worth["copy"].permuted > 0.1
    assert abs(worth["noise"].permuted) < 0.05
    assert max(worth["x"].dropped, worth["copy"].dropped) < 0.02
    assert "noise" in report.can_go
    assert not {"x", "copy"} <= set(report.can_go)
    assert report.excess <= report.error or not report.can_go
    assert report.rows == 5 * 60


def test_the_only_feature_that_matters_cannot_go() -> None:
    data = worlds()
    alone = replace(data, matrix=np.ascontiguousarray(data.matrix[:, [0, 2]]), features=(data.features[0], data.features[2]))
    block = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2), LABEL)[0]
    report = weigh_features(alone, table(), block, Recipe(window="all", model=MODEL), repeats=2, threads=2)
    assert report.features[0].feature == "x"
    assert report.features[0].dropped > 5 * report.features[0].dropped_error
    assert "x" not in report.can_go
    again = weigh_features(alone, table(), block, Recipe(window="all", model=MODEL), repeats=2, threads=1)
    assert again == report


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=40))
def test_agreement_is_spearmans_correlation_and_a_shift_in_deviations(pairs: list[tuple[float, float]]) -> None:
    judged, released = (np.array(column) for column in zip(*pairs, strict=True))
    found = agreement(judged, released)
    if np.ptp(judged) == 0 or np.ptp(released) == 0:
        assert found.correlation == (1.0 if np.ptp(judged) == np.ptp(released) == 0 else 0.0)
    else:
        assert found.correlation == pytest.approx(spearmanr(judged, released).statistic)
    assert found.shift >= 0


def test_a_refit_on_more_of_the_same_agrees_and_one_on_inverted_labels_does_not(tmp_path: Path) -> None:
    data = made(days=40)
    served = tmp_path / "features.parquet"
    data.frame.select("x", "kind").head(500).write_parquet(served)
    half, whole = data.events < np.unique(data.events)[30], np.ones(len(data.events), dtype=bool)
    judged, released = (fit(data, rows, parameters(MODEL), 20) for rows in (half, whole))
    inverted = fit(replace(data, labels=1 - data.labels), whole, parameters(MODEL), 20)
    good = compare_models(judged, released, served, data.features, Binary())
    bad = compare_models(judged, inverted, served, data.features, Binary())
    assert good.rows == 500
    assert good.correlation > 0.95
    assert good.shift < 0.2
    assert bad.correlation < 0


@pytest.mark.parametrize(
    ("correlation", "shift", "passed", "observed"),
    [(0.95, 0.1, True, 0.95), (0.5, 0.1, False, 0.5), (0.95, 2.5, False, 2.5), (0.95, float("inf"), False, None)],
)
def test_a_refit_that_ranks_or_weighs_otherwise_than_the_judged_model_is_not_released(
    correlation: float, shift: float, passed: bool, observed: float | None
) -> None:
    evidence = Evidence(
        population=100,
        rows=100,
        matched=100,
        duplicates=0,
        invalid_scores=0,
        contributions_error=0.0,
        loss=0.5,
        baseline_loss=0.6,
        live_loss=None,
        score_psi=None,
        refit=Agreement(rows=100, correlation=correlation, shift=shift),
    )
    result = next(result for result in judge(evidence, (RefitAgrees(),)) if result.gate == "refit_agrees")
    assert (result.passed, result.observed) == (passed, observed)
    assert judge(replace(evidence, refit=None), (RefitAgrees(),))[0].passed
