"""Search, baseline and contender on small made data whose right answers are known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss

from batch_scoring import Baseline, HoldOut, Label, Model, Schedule
from batch_scoring.domain import Column, WindowScore
from pipelines.training.baseline import forecast
from pipelines.training.contender import Champion, judge_on_holdout, refit
from pipelines.training.fit import TrainingData, encode_training, fit, parameters
from pipelines.training.folds import in_window, known, plan_blocks
from pipelines.training.metrics import auc, log_loss, population_stability
from pipelines.training.search import choose_window, mean_losses, search_windows

LABEL = Label(sql="label.sql", horizon=timedelta(days=1), delay=timedelta(0))
DAILY = Schedule(every="day", at="00:00")
MODEL = Model(rounds=20, depth=3, min_child_weight=1.0)
FEATURES = (Column(name="x", type="DOUBLE", role="feature"), Column(name="kind", type="VARCHAR", role="feature"))


def made(days: int = 60, per_day: int = 60, flip_at: int | None = None, seed: int = 0) -> TrainingData:
    """Examples in which x > 0 makes the label likely; from day ``flip_at`` on it makes it unlikely instead."""
    rng = np.random.default_rng(seed)
    rows = []
    for day in range(days):
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
        x = rng.normal(size=per_day)
        sign = -1 if flip_at is not None and day >= flip_at else 1
        label = rng.random(per_day) < 1 / (1 + np.exp(-3 * sign * x))
        rows.append(
            pl.DataFrame(
                {
                    "id": np.arange(per_day),
                    "event_timestamp": [moment] * per_day,
                    "label_known_at": [moment + timedelta(days=1)] * per_day,
                    "label": label.astype(np.int64),
                    "x": x,
                    "kind": rng.choice(["a", "b"], per_day),
                }
            )
        )
    return encode_training(pl.concat(rows), FEATURES)


def table(**changes: object):  # built by the shared declaration below
    from batch_scoring import Dataset, Entity, Key, PredictionTable

    declared = {
        "name": "made",
        "description": "A made table.",
        "entity": Entity(name="thing", keys=(Key(name="id", type="integer"),)),
        "feature_service": "made",
        "population": "population.sql",
        "label": LABEL,
        "schedule": DAILY,
        "sources": (),
        "datasets": (Dataset(name="rows", sql="rows.sql", keys=("id",)),),
        "windows": (7, 30, "all"),
        "holdout": HoldOut(days=5, folds=2),
        "baseline": Baseline(groups=(("id",),), days=30, min_rows=5),
        "model": MODEL,
    }
    return PredictionTable(**(declared | changes))  # type: ignore[arg-type]


def test_the_search_prefers_a_short_window_when_the_world_has_changed() -> None:
    data = made(days=60, flip_at=40)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))
    scores = search_windows(data, LABEL, blocks[1:], (7, 30, "all"), MODEL)
    assert choose_window(scores) == 7


def test_the_search_prefers_all_history_when_nothing_has_changed() -> None:
    data = made(days=60)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))
    scores = search_windows(data, LABEL, blocks[1:], (2, 30, "all"), MODEL)
    assert choose_window(scores) != 2


def test_windows_longer_than_the_history_tie_and_the_longest_wins() -> None:
    data = made(days=30)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=1))
    scores = search_windows(data, LABEL, blocks[1:], (100, 200, "all"), MODEL)
    assert len(set(mean_losses(scores).values())) == 1
    assert choose_window(scores) == "all"


def test_every_window_is_scored_on_the_same_blocks_from_rows_known_before_them() -> None:
    data = made(days=40)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))
    scores = search_windows(data, LABEL, blocks[1:], (7, "all"), MODEL)
    assert [(score.window, score.fold) for score in scores] == [(7, 1), (7, 2), ("all", 1), ("all", 2)]
    for score in scores:
        allowed = known(data.events, data.known_at, LABEL, score.cutoff) & in_window(
            data.events, LABEL, score.cutoff, score.window
        )
        assert score.train_rows == allowed.sum()


def test_the_search_does_not_change_when_the_hold_out_does() -> None:
    data = made(days=40)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))
    labels = data.labels.copy()
    labels[data.events >= np.datetime64(blocks[0].first.replace(tzinfo=None))] = 1
    other = TrainingData(
        frame=data.frame,
        matrix=data.matrix,
        labels=labels,
        events=data.events,
        known_at=data.known_at,
        features=data.features,
    )
    assert search_windows(data, LABEL, blocks[1:], (7, "all"), MODEL) == search_windows(
        other, LABEL, blocks[1:], (7, "all"), MODEL
    )


def test_the_search_gives_the_same_bits_from_any_number_of_threads() -> None:
    data = made(days=40)
    blocks = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))
    one, three = (search_windows(data, LABEL, blocks[1:], (7, 14, "all"), MODEL, threads=threads) for threads in (1, 3))
    assert one == three


def test_a_model_fitted_twice_is_the_same_to_the_byte() -> None:
    data = made(days=20)
    rows = np.ones(len(data.labels), dtype=bool)
    assert fit(data, rows, parameters(MODEL), 20) == fit(data, rows, parameters(MODEL), 20)


def test_the_contender_beats_the_baseline_when_there_is_something_to_learn() -> None:
    data = made(days=40)
    block = plan_blocks(data.events, DAILY, HoldOut(days=5, folds=2))[0]
    contender, baseline = judge_on_holdout(data, table(), block, "all", parameters(MODEL), None)
    assert contender.loss < baseline.loss - 0.1
    assert contender.rows == baseline.rows == 5 * 60


def test_a_live_model_that_has_seen_the_hold_out_is_compared_by_its_recipe() -> None:
    data = made(days=40)
    declared = table()
    block = plan_blocks(data.events, DAILY, declared.holdout)[0]
    params = parameters(MODEL)
    model, training = refit(data, declared, datetime(2024, 2, 9, tzinfo=UTC), "all", params, (), (), "set")
    champion = Champion(model=model, features=data.features, training=training)
    contender, _, live = judge_on_holdout(data, declared, block, "all", params, champion)
    assert live.note.startswith("same recipe")
    assert live.loss == contender.loss


def test_an_older_live_model_is_compared_as_it_is_served() -> None:
    data = made(days=40)
    declared = table()
    block = plan_blocks(data.events, DAILY, declared.holdout)[0]
    params = parameters(MODEL)
    model, training = refit(data, declared, block.cutoff - timedelta(days=3), "all", params, (), (), "set")
    *_, live = judge_on_holdout(
        data, declared, block, "all", params, Champion(model=model, features=data.features, training=training)
    )
    assert live.note == "as served"


def test_a_live_model_whose_feature_is_gone_is_compared_by_its_recipe_without_it() -> None:
    data = made(days=40)
    declared = table()
    block = plan_blocks(data.events, DAILY, declared.holdout)[0]
    params = parameters(MODEL)
    model, training = refit(data, declared, block.cutoff, "all", params, (), (), "set")
    gone = (*data.features, Column(name="gone", type="DOUBLE", role="feature"))
    champion = Champion(model=model, features=gone, training=training)
    *_, live = judge_on_holdout(data, declared, block, "all", params, champion)
    assert live.note == "same recipe, fitted at the cut-off, without gone"


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 15),
)
def test_the_baseline_is_the_trailing_mean_of_the_narrowest_group_with_enough_rows(
    examples: list[tuple[int, int, int, int]], min_rows: int, days: int
) -> None:
    cutoff = datetime(2024, 2, 1, tzinfo=UTC)
    history = pl.DataFrame(
        [(a, b, y, cutoff - timedelta(days=1 + ago)) for a, b, y, ago in examples],
        schema={"a": pl.Int64, "b": pl.Int64, "label": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")},
        orient="row",
    )
    rows = pl.DataFrame([(a, b) for a in range(5) for b in range(3)], schema=["a", "b"], orient="row")
    baseline = Baseline(groups=(("a", "b"), ("b",)), days=days, min_rows=min_rows)
    found = forecast(history, rows, baseline, LABEL, cutoff)
    recent = [(a, b, y) for a, b, y, ago in examples if ago < days]
    for (a, b), value in zip(rows.iter_rows(), found, strict=True):
        group = [y for c, d, y in recent if (c, d) == (a, b)]
        if len(group) < min_rows:
            group = [y for _, d, y in recent if d == b]
        if len(group) < min_rows:
            group = [y for *_, y in recent]
        assert value == pytest.approx((sum(group) + 0.5) / (len(group) + 1))


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0.001, 0.999)), min_size=2, max_size=50))
def test_log_loss_is_scikit_learns(pairs: list[tuple[int, float]]) -> None:
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    assert log_loss(labels, scores) == pytest.approx(reference_log_loss(labels, scores, labels=[0, 1]))


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


def cells(losses: dict[int, tuple[float, ...]]) -> tuple[WindowScore, ...]:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return tuple(
        WindowScore(window=window, fold=fold, cutoff=moment, until=moment, train_rows=1, test_rows=1, loss=loss, auc=None)
        for window, row in losses.items()
        for fold, loss in enumerate(row, start=1)
    )


def test_a_window_is_chosen_by_its_mean_over_the_folds() -> None:
    assert choose_window(cells({7: (0.40, 0.41, 0.40), 30: (0.50, 0.51, 0.52)})) == 7


def test_a_short_window_that_is_better_by_luck_alone_is_not_taken() -> None:
    assert choose_window(cells({30: (0.5893, 0.5274, 0.5501), 365: (0.6040, 0.5210, 0.5474)})) == 365


def test_a_short_window_that_is_better_on_every_fold_is_taken() -> None:
    assert choose_window(cells({30: (0.50, 0.52, 0.51), 365: (0.53, 0.54, 0.54)})) == 30


def test_with_one_fold_only_equal_losses_tie() -> None:
    assert choose_window(cells({30: (0.5,), 365: (0.5000001,)})) == 30
    assert choose_window(cells({30: (0.5,), 365: (0.5,)})) == 365
