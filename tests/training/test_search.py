"""The search on made worlds whose best window, depth and mode are known, and its promises: same twice, resumed, never peeking."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made import DAILY, LABEL, MODEL, made, table

from batch_scoring import Decision, HoldOut, Model, PredictionTable, SearchPlan, Space
from batch_scoring.declare import Window
from batch_scoring.errors import DeclarationError, NoData
from batch_scoring.goals import MinimumRecall
from batch_scoring.search_plan import Mode
from pipelines.training.cells import Cell, Evaluator
from pipelines.training.choice import BlockScore, choose, excess, judge_windows, mean_loss, tolerance
from pipelines.training.contender import judge_on_holdout, refit
from pipelines.training.continuing import Champion, continuation
from pipelines.training.fit import TrainingData, fit, fit_matrix, parameters, training_matrix
from pipelines.training.folds import Block, in_window, known, plan_blocks
from pipelines.training.recipe import Recipe, Search, simplicity
from pipelines.training.search import search, validation
from pipelines.training.trials import survivors
from pipelines.training.tuning import tune

HOLDOUT = HoldOut(days=5, folds=2)
SPACE = Space(depth=(1, 3), rounds=(5, 20), min_child_weight=(1.0, 20.0))


def still() -> float:
    return 0.0


def blocks_of(data: TrainingData) -> tuple[Block, ...]:
    return plan_blocks(data.events, DAILY, HOLDOUT, LABEL)


def searched(
    data: TrainingData,
    windows: tuple[Window, ...] = (7, 30, "all"),
    plan: SearchPlan | None = None,
    *,
    evaluator: Evaluator | None = None,
    clock: Callable[[], float] = still,
) -> Search:
    declared = table(windows=windows, search=plan or SearchPlan())
    return search(evaluator or Evaluator(data=data, label=LABEL), declared, blocks_of(data)[1:], clock)


def test_the_search_prefers_a_short_window_when_the_world_has_changed() -> None:
    found = searched(made(days=60, flip_at=40))
    assert found.window == 7
    assert "less loss than all data, beyond noise" in found.verdict


def test_the_search_says_all_data_when_nothing_beats_it() -> None:
    found = searched(made(days=60), (2, "all"))
    assert found.window == "all"
    assert found.verdict == "All data: no shorter window has less loss."


def test_windows_longer_than_the_history_are_fitted_once_and_the_longest_wins() -> None:
    data = made(days=30)
    evaluator = Evaluator(data=data, label=LABEL)
    found = searched(data, (100, 200, "all"), evaluator=evaluator)
    assert len({verdict.mean for verdict in found.verdicts}) == 1
    assert (found.window, evaluator.fits) == ("all", 2)


def test_every_window_is_scored_on_the_same_blocks_from_rows_known_before_them() -> None:
    data = made(days=40)
    found = searched(data, (7, "all"))
    assert [(score.window, score.fold) for score in found.windows] == [(7, 1), (7, 2), ("all", 1), ("all", 2)]
    for score in found.windows:
        allowed = known(data.events, data.known_at, LABEL, score.cutoff) & in_window(
            data.events, LABEL, score.cutoff, score.window
        )
        assert score.train_rows == allowed.sum()


def test_the_search_does_not_change_when_the_hold_out_does() -> None:
    data = made(days=40)
    labels = data.labels.copy()
    labels[data.events >= np.datetime64(blocks_of(data)[0].first.replace(tzinfo=None))] = 1
    plan = SearchPlan(trials=4, space=SPACE)
    assert searched(data, plan=plan) == searched(replace(data, labels=labels), plan=plan)


def test_the_search_gives_the_same_bits_twice_and_from_any_number_of_threads() -> None:
    data = made(days=40)
    plan = SearchPlan(trials=12, space=SPACE)
    one, again, three = (
        searched(data, plan=plan, evaluator=Evaluator(data=data, label=LABEL, threads=threads)) for threads in (1, 1, 3)
    )
    assert one == again == three
    assert len({trial.model for trial in one.trials}) == 13


def test_a_search_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    data = made(days=40)
    plan = SearchPlan(trials=8, space=SPACE)
    whole = searched(data, plan=plan)
    asked = 0

    def killed(_: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(data, plan=plan, evaluator=Evaluator(data=data, label=LABEL, folder=tmp_path, progress=killed))
    kept = len(list(tmp_path.glob("*.npy")))
    (tmp_path / next(tmp_path.glob("*.npy")).name).write_bytes(b"torn")
    evaluator = Evaluator(data=data, label=LABEL, folder=tmp_path)
    assert searched(data, plan=plan, evaluator=evaluator) == whole
    fresh = Evaluator(data=data, label=LABEL)
    searched(data, plan=plan, evaluator=fresh)
    assert evaluator.fits == fresh.fits - kept + 1


def test_a_time_budget_ends_between_batches() -> None:
    moments = iter(range(100))
    found = searched(
        made(days=40), plan=SearchPlan(trials=40, batch=4, seconds=2.5, space=SPACE), clock=lambda: float(next(moments))
    )
    assert len(found.trials) == 3 + 2 * 4  # asked at 0, 1 and 2 seconds after the windows; the third batch is not begun


def test_parameters_are_tuned_when_that_is_worth_it() -> None:
    declared = Model(rounds=2, depth=1, learning_rate=0.02)
    data = made(days=40)
    plan = SearchPlan(trials=8, space=Space(depth=(2, 4), rounds=(20, 40), min_child_weight=(1.0, 5.0)))
    found = search(
        Evaluator(data=data, label=LABEL), table(windows=("all",), model=declared, search=plan), blocks_of(data)[1:], still
    )
    assert found.recipe.model.rounds >= 20
    assert "beats the declared model by" in found.verdict


def test_the_declared_model_stays_when_drawing_others_gains_nothing() -> None:
    rng = np.random.default_rng(1)
    data = made(days=40)
    noise = replace(data, labels=rng.integers(0, 2, len(data.labels)).astype(np.float32))
    declared = Model(rounds=1, depth=1, learning_rate=0.01)
    found = search(
        Evaluator(data=noise, label=LABEL),
        table(windows=("all",), model=declared, search=SearchPlan(trials=8, space=SPACE)),
        blocks_of(noise)[1:],
        still,
    )
    assert found.recipe == Recipe(window="all", model=declared)


def test_pruned_trials_cost_fewer_fits_and_say_so() -> None:
    data = made(days=40)
    evaluator = Evaluator(data=data, label=LABEL)
    found = searched(data, ("all",), SearchPlan(trials=8, space=SPACE), evaluator=evaluator)
    pruned = [trial for trial in found.trials if trial.pruned]
    assert pruned
    assert all(len(trial.losses) < 2 for trial in pruned)
    assert evaluator.fits == sum(len(trial.losses) for trial in found.trials)
    assert sum(trial.chosen for trial in found.trials) == 1


def test_forecasts_for_tuning_are_out_of_time_and_of_every_row_of_the_blocks() -> None:
    data = made(days=40)
    evaluator = Evaluator(data=data, label=LABEL)
    found = searched(data, evaluator=evaluator)
    frame = validation(evaluator, blocks_of(data)[1:], found.recipe)
    assert frame.columns == ["id", "event_timestamp", "label", "fold", "forecast"]
    assert len(frame) == 2 * 5 * 60
    assert frame["event_timestamp"].is_sorted()
    assert frame["event_timestamp"].max() < blocks_of(data)[0].first


def test_a_matrix_that_is_used_again_gives_the_same_model() -> None:
    data = made(days=20)
    rows = np.ones(len(data.labels), dtype=bool)
    matrix = training_matrix(data, rows)
    fit_matrix(matrix, parameters(replace(MODEL, depth=5, colsample=1.0)), 7)
    assert fit_matrix(matrix, parameters(MODEL), 20) == fit(data, rows, parameters(MODEL), 20)


def champion_of(data: TrainingData, declared: PredictionTable, cutoff: datetime) -> Champion:
    evaluator = Evaluator(data=data, label=LABEL)
    plain = Search(recipe=Recipe(window="all", model=MODEL), windows=(), verdict="", verdicts=(), trials=())
    model, trained = refit(evaluator, declared, cutoff, plain, (), "set")
    return Champion(model=model, features=trained.features, training=trained.training, version=3)


def going_on(data: TrainingData, modes: tuple[Mode, ...]) -> Evaluator:
    as_of = datetime(2024, 2, 10, tzinfo=UTC)
    champion = champion_of(data, table(), as_of - timedelta(days=2))
    return Evaluator(data=data, label=LABEL, continuation=continuation(data, champion, as_of, modes))


def test_no_choice_depends_on_an_outcome_that_was_unknown_when_the_hold_out_began() -> None:
    label = replace(LABEL, horizon=timedelta(days=9))  # longer than a block: outcomes overlap those of the hold-out
    declared = table(label=label, decision=Decision(threshold=MinimumRecall(at_least=0.8)))
    honest = made(days=70)
    honest = replace(honest, known_at=honest.events + np.timedelta64(label.matures_after, "us"))
    holdout, *blocks = plan_blocks(honest.events, DAILY, HOLDOUT, label)
    labels = honest.labels.copy()
    unknown = honest.known_at > np.datetime64(holdout.cutoff.replace(tzinfo=None))
    labels[unknown] = 1 - labels[unknown]
    turned = replace(honest, labels=labels, frame=honest.frame.with_columns(label=pl.Series(labels).cast(pl.Int64)))
    chosen = []
    for data in (honest, turned):
        evaluator = Evaluator(data=data, label=label)
        found = search(evaluator, declared, tuple(blocks), lambda: 0.0)
        chosen.append((found, tune(data, declared, tuple(blocks), validation(evaluator, tuple(blocks), found.recipe))))
    assert unknown.sum() > 10 * 60
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("mode", ["warm", "refresh"])
def test_what_goes_on_from_the_live_model_is_judged_without_its_knowledge_of_the_answers(mode: Mode) -> None:
    data = made(days=40)
    evaluator = going_on(data, (mode,))
    block = blocks_of(data)[0]
    labels = data.labels.copy()
    later = data.events > np.datetime64((block.cutoff - LABEL.matures_after).replace(tzinfo=None))
    labels[later] = 1 - labels[later]
    changed = going_on(replace(data, labels=labels), (mode,))
    cell = Cell(recipe=Recipe(window=7, model=replace(MODEL, rounds=5), mode=mode), block=block)
    assert np.array_equal(evaluator.forecasts([cell])[cell], changed.forecasts([cell])[cell])


def test_a_warm_start_adds_trees_to_the_live_model_and_a_refresh_keeps_its_trees() -> None:
    import xgboost as xgb

    data = made(days=40)
    declared = table(search=SearchPlan(modes=("scratch", "warm", "refresh")))
    as_of = datetime(2024, 2, 10, tzinfo=UTC)
    for mode, trees in (("warm", 25), ("refresh", 20)):
        evaluator = going_on(data, (mode,))  # type: ignore[arg-type]
        recipe = Recipe(window=7, model=replace(MODEL, rounds=5), mode=mode)  # type: ignore[arg-type]
        found = Search(recipe=recipe, windows=(), verdict="", verdicts=(), trials=())
        model, trained = refit(evaluator, declared, as_of, found, (), "set")
        booster = xgb.Booster()
        booster.load_model(bytearray(model))
        assert booster.num_boosted_rounds() == trained.training.rounds == trees
        assert (trained.training.base, trained.training.mode) == (3, mode)
        judged = judge_on_holdout(evaluator, declared, blocks_of(data)[0], recipe, None)
        assert judged.scores[0].loss < judged.scores[1].loss


def test_a_refresh_follows_a_world_whose_level_has_changed() -> None:
    data = made(days=60, flip_at=30)
    evaluator = going_on(data, ("refresh",))
    block = blocks_of(data)[1]
    recipe = Recipe(window=7, model=MODEL, mode="refresh")
    fresh = evaluator.forecasts([Cell(recipe=recipe, block=block)])
    assert set(fresh) == {Cell(recipe=recipe, block=block)}


def test_nothing_goes_on_from_a_live_model_with_other_features() -> None:
    data = made(days=40)
    as_of = datetime(2024, 2, 10, tzinfo=UTC)
    champion = champion_of(data, table(), as_of - timedelta(days=2))
    other = replace(champion, features=champion.features[:1])
    assert continuation(data, other, as_of, ("scratch", "warm")) is None
    assert continuation(data, champion, as_of, ("scratch",)) is None
    assert continuation(data, None, as_of, ("warm",)) is None


def test_a_category_that_the_live_model_never_saw_gets_a_code_after_its_own() -> None:
    data = made(days=40)
    as_of = datetime(2024, 2, 10, tzinfo=UTC)
    champion = champion_of(data, table(), as_of - timedelta(days=2))
    before = tuple(replace(each, categories=each.categories[1:]) for each in champion.features)
    merged = continuation(data, replace(champion, features=before), as_of, ("warm",))
    assert merged is not None
    assert merged.data.features[1].categories == ("b", "a")
    assert np.array_equal(merged.data.matrix[:, 1], 1 - data.matrix[:, 1])


def test_the_search_tries_every_declared_way_of_going_on() -> None:
    data = made(days=40)
    plan = SearchPlan(modes=("scratch", "warm", "refresh"), trials=4, space=SPACE)
    found = searched(data, (7, "all"), plan, evaluator=going_on(data, plan.modes))
    assert {trial.mode for trial in found.trials} == {"scratch", "warm", "refresh"}
    assert found.windows[0].window == 7


def test_a_history_of_one_outcome_cannot_be_searched() -> None:
    data = made(days=40)
    with pytest.raises(NoData, match="both outcomes"):
        searched(replace(data, labels=np.zeros_like(data.labels)))


# The rule.


def scores(*losses: float, days: int = 4, spread: float = 0.0) -> list[BlockScore]:
    noise = np.linspace(-spread, spread, days)
    return [BlockScore(loss, loss + noise, np.full(days, 10)) for loss in losses]


def window_chosen(losses: dict[Window, tuple[float, ...]]) -> Window:
    return choose({Recipe(window=window, model=MODEL): scores(*row) for window, row in losses.items()}, MODEL).window


def test_a_window_is_chosen_by_its_mean_over_the_folds() -> None:
    assert window_chosen({7: (0.40, 0.41, 0.40), 30: (0.50, 0.51, 0.52)}) == 7


def test_a_short_window_that_is_better_by_luck_alone_is_not_taken() -> None:
    assert window_chosen({30: (0.5893, 0.5274, 0.5501), 365: (0.6040, 0.5210, 0.5474)}) == 365


def test_a_short_window_that_is_better_on_every_fold_is_taken() -> None:
    assert window_chosen({30: (0.50, 0.52, 0.51), 365: (0.53, 0.54, 0.54)}) == 30


def test_a_gain_that_two_days_made_is_noise() -> None:
    even = scores(0.50)
    lucky = [BlockScore(0.52, np.array([0.50, 0.50, 0.50, 0.58]), np.full(4, 10))]
    chosen = choose({Recipe(window=7, model=MODEL): even, Recipe(window="all", model=MODEL): lucky}, MODEL)
    assert chosen.window == "all"


def test_of_those_that_tie_the_declared_model_from_scratch_on_the_longest_window_is_taken() -> None:
    tuned = replace(MODEL, depth=2)
    recipes = [
        Recipe(window="all", model=MODEL),
        Recipe(window="all", model=tuned),
        Recipe(window="all", model=MODEL, mode="refresh"),
        Recipe(window=30, model=MODEL),
    ]
    for order in (recipes, recipes[::-1]):
        assert choose({recipe: scores(0.5, 0.5) for recipe in order}, MODEL) == recipes[0]
    assert simplicity(recipes[1], MODEL) > simplicity(Recipe(window="all", model=replace(MODEL, depth=5)), MODEL)


def test_the_more_are_compared_the_further_ahead_the_best_must_be() -> None:
    assert tolerance(0) == tolerance(1) == 1.0
    assert [round(tolerance(n), 2) for n in (4, 12, 100)] == [1.75, 2.22, 2.95]
    rng = np.random.default_rng(5)
    shortened = 0
    for _ in range(100):  # nothing differs but by chance, in 20 recipes on 60 blocks
        noise = {Recipe(window=n + 1, model=MODEL): scores(*(0.5 + rng.normal(0, 0.1, 60))) for n in range(20)}
        shortened += choose(noise, MODEL, tolerance(19)).window != 20
    assert shortened < 0.2 * 100


@given(st.lists(st.lists(st.floats(0.1, 2.0), min_size=3, max_size=3), min_size=1, max_size=6))
def test_the_chosen_one_is_never_worse_than_the_best_by_more_than_its_error(losses: list[list[float]]) -> None:
    scored = {Recipe(window=n + 1, model=MODEL): scores(*row) for n, row in enumerate(losses)}
    chosen = choose(scored, MODEL)
    best = min(scored.values(), key=mean_loss)
    over = np.array([one.loss - other.loss for one, other in zip(scored[chosen], best, strict=True)])
    assert over.mean() <= over.std(ddof=1) / np.sqrt(3) + 1e-9
    longer = [recipe for recipe in scored if recipe.window > chosen.window]  # type: ignore[operator]
    assert not any(excess(scored[recipe], best).is_noise(1.0) for recipe in longer)
    assert sum(verdict.excess == 0 for verdict in judge_windows({r.window: s for r, s in scored.items()})) >= 1


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.integers(0, 5), max_size=8),
    st.floats(0.05, 1.0),
)
def test_survivors_are_the_better_share_of_everything_seen(new: list[int], old: list[int], keep: float) -> None:
    kept = survivors([float(n) for n in new], [float(n) for n in old], keep)
    places = int(np.ceil(keep * (len(new) + len(old))))
    for n, loss in enumerate(new):
        better = sum(other <= loss for other in old) + sum(o < loss or (o == loss and m < n) for m, o in enumerate(new))
        assert (n in kept) == (better < places)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SearchPlan(trials=-1),
        lambda: SearchPlan(modes=()),
        lambda: SearchPlan(modes=("scratch", "scratch")),
        lambda: SearchPlan(keep=0),
        lambda: SearchPlan(seconds=0),
        lambda: SearchPlan(batch=0),
        lambda: Space(depth=(5, 3)),
        lambda: Space(subsample=(0.5, 1.1)),
    ],
)
def test_a_plan_that_cannot_work_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError):
        wrong()
