"""Fitting, baseline and contender on small made data whose right answers are known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss
from support.made import DAILY, LABEL, MODEL, made, table

from batch_scoring import Binary, HoldOut, PredictionTable
from batch_scoring.domain import Column
from pipelines.training.cells import Evaluator
from pipelines.training.contender import judge_on_holdout, refit
from pipelines.training.continuing import Champion
from pipelines.training.fit import TrainingData, fit, parameters
from pipelines.training.folds import plan_blocks
from pipelines.training.metrics import auc, loss, population_stability
from pipelines.training.recipe import Recipe, Search

RECIPE = Recipe(window="all", model=MODEL)


def test_a_model_fitted_twice_is_the_same_to_the_byte() -> None:
    data = made(days=20)
    rows = np.ones(len(data.labels), dtype=bool)
    assert fit(data, rows, parameters(MODEL), 20) == fit(data, rows, parameters(MODEL), 20)


def searched(recipe: Recipe) -> Search:
    return Search(recipe=recipe, windows=(), verdict="", verdicts=(), trials=())


def served(data: TrainingData, declared: PredictionTable, cutoff: datetime, **changes: object) -> Champion:
    """A live model of the declared recipe, refitted at a moment."""
    evaluator = Evaluator(data=data, label=declared.label)
    model, trained = refit(evaluator, declared, cutoff, searched(RECIPE), (), "set")
    return replace(Champion(model=model, features=trained.features, training=trained.training), **changes)  # type: ignore[arg-type]


def test_the_contender_beats_the_baseline_when_there_is_something_to_learn() -> None:
    data = made(days=40)
    block = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2), LABEL)[0]
    contender, baseline = judge_on_holdout(Evaluator(data=data, label=LABEL), table(), block, RECIPE, None).scores
    assert contender.loss < baseline.loss - 0.1
    assert contender.rows == baseline.rows == 5 * 60


def test_a_live_model_that_has_seen_the_hold_out_is_compared_by_its_recipe() -> None:
    data, declared = made(days=40), table()
    block = plan_blocks(data.events, DAILY, declared.holdout, LABEL)[0]
    champion = served(data, declared, datetime(2024, 2, 9, tzinfo=UTC))
    contender, _, live = judge_on_holdout(Evaluator(data=data, label=LABEL), declared, block, RECIPE, champion).scores
    assert live.note.startswith("same recipe")
    assert live.loss == contender.loss


def test_an_older_live_model_is_compared_as_it_is_served() -> None:
    data, declared = made(days=40), table()
    block = plan_blocks(data.events, DAILY, declared.holdout, LABEL)[0]
    champion = served(data, declared, block.cutoff - timedelta(days=3))
    *_, live = judge_on_holdout(Evaluator(data=data, label=LABEL), declared, block, RECIPE, champion).scores
    assert live.note == "as served"


def test_a_live_model_whose_feature_is_gone_is_compared_by_its_recipe_without_it() -> None:
    data, declared = made(days=40), table()
    block = plan_blocks(data.events, DAILY, declared.holdout, LABEL)[0]
    gone = (*data.features, Column(name="gone", type="DOUBLE", role="feature"))
    champion = served(data, declared, block.cutoff, features=gone)
    *_, live = judge_on_holdout(Evaluator(data=data, label=LABEL), declared, block, RECIPE, champion).scores
    assert live.note == "same recipe, fitted at the cut-off, without gone"


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0.001, 0.999)), min_size=2, max_size=50))
def test_log_loss_is_scikit_learns(pairs: list[tuple[int, float]]) -> None:
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    assert loss(Binary(), labels, scores) == pytest.approx(reference_log_loss(labels, scores, labels=[0, 1]))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, int]]) -> None:
    labels, scores = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    ones, zeros = scores[labels == 1], scores[labels == 0]
    if not len(ones) or not len(zeros):
        assert auc(labels, scores) is None
        return
    wins = sum((one > zero) + 0.5 * (one == zero) for one in ones for zero in zeros)
    assert auc(labels, scores) == pytest.approx(wins / (len(ones) * len(zeros)))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_population_stability_is_finite_and_zero_only_for_equal_shares(reference: list[float], current: list[float]) -> None:
    before, after = np.array(reference), np.array(current)
    assert population_stability(before, before) == 0
    assert 0 <= population_stability(before, after) < float("inf")
