"""The search: windows, parameters and ways of training, on the same out-of-time blocks.

    1. every declared window with the declared model, on every block: what the report shows
    2. the same as a warm start and as a refresh, where declared: pruned from block to block
    3. trials drawn by Optuna, batch by batch, pruned in the same way
    4. the best one's parameters with every longer window: a short window must earn its place under any parameters
    5. the simplest of those that tie with the best (:mod:`pipelines.training.choice`)

The hold-out is not among the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from batch_scoring import tasks
from batch_scoring.declare import Binary, PredictionTable, Window
from batch_scoring.domain import Trial, WindowScore
from batch_scoring.errors import NoData
from pipelines.training.cells import Cell, Evaluator
from pipelines.training.choice import BlockScore, best_of, choose, explain_choice, judge_windows, tolerance
from pipelines.training.fit import both_classes
from pipelines.training.folds import Block, judged_on
from pipelines.training.metrics import auc, loss
from pipelines.training.recipe import Recipe, Search, declared, window_length
from pipelines.training.samples import training_rows
from pipelines.training.trials import Tried, drawn_as, propose, so_far, survivors

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from batch_scoring.search_plan import Mode
    from pipelines.training.fit import TrainingData


def search(evaluator: Evaluator, table: PredictionTable, blocks: tuple[Block, ...], clock: Callable[[], float]) -> Search:
    """Search as the table declares it.

    Args:
        blocks: search blocks only, never the hold-out.
        clock: seconds that only grow; looked at only when the plan has a time budget.

    Raises:
        NoData: no window can be fitted at every cut-off.
    """
    going = _Search(evaluator=evaluator, table=table, blocks=usable_blocks(evaluator, blocks))
    going.every_window()
    going.every_mode()
    going.trials(clock)
    going.longer_windows()
    return going.outcome()


def usable_blocks(evaluator: Evaluator, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks before which there was anything to learn from, and in which there is anything to choose by."""
    data, label = evaluator.data, evaluator.label
    asked = (block for block in blocks if judged_on(data.events, data.known_at, block).any())
    return tuple(block for block in asked if both_classes(data, training_rows(data, label, block.cutoff, "all", block)))


@dataclass(slots=True, kw_only=True)
class _Search:
    evaluator: Evaluator
    table: PredictionTable
    blocks: tuple[Block, ...]
    tried: list[Tried] = field(default_factory=list)
    windows: tuple[Window, ...] = ()

    def every_window(self) -> None:
        """The declared model with each window, in full. A window with nothing to learn at some cut-off is left out."""
        recipes = [self._declared(window, "scratch") for window in self.table.windows]
        rows = [Tried(recipe=recipe) for recipe in recipes]
        self._ask(rows, self.blocks)
        whole = [each for each in rows if self.blocks and len(each.scores) == len(self.blocks)]
        if not whole:
            raise NoData(
                "window search",
                expected=f"{tasks.outcomes(self.evaluator.data.task)} among the labels known at each cut-off",
                found="only one, or none",
                fix="Choose a later as-of, or ingest more history.",
            )
        self.windows = tuple(sorted((each.recipe.window for each in whole), key=window_length))
        for each in whole:
            each.drawn = drawn_as(each.recipe, self.windows, self.table.search.space)
        self.tried.extend(whole)

    def every_mode(self) -> None:
        """Warm starts and refreshes of each window, where there is a live model to go on from."""
        if self.evaluator.continuation is None:
            return
        for mode in self.table.search.modes:
            if mode != "scratch":
                self._prune([Tried(recipe=self._declared(window, mode)) for window in self.windows])

    def trials(self, clock: Callable[[], float]) -> None:
        """Batches of drawn recipes, until there have been enough or the time is over."""
        plan, begun = self.table.search, clock()
        modes: tuple[Mode, ...] = plan.modes if self.evaluator.continuation is not None else ("scratch",)
        modes = modes if set(modes) & {"scratch", "warm"} else ("scratch",)
        for batch, start in enumerate(range(0, plan.trials, plan.batch)):
            if plan.seconds is not None and clock() - begun >= plan.seconds:
                return
            count = min(plan.batch, plan.trials - start)
            self._prune(propose(self.tried, self.windows, modes, self.table.model, plan, count, batch))

    def longer_windows(self) -> None:
        """The best recipe with every longer window, unless it is known already."""
        best = best_of(self._whole())
        longer = [window for window in self.windows if window_length(window) > window_length(best.window)]
        rows = [Tried(recipe=replace(best, window=window)) for window in longer]
        known = self._whole()
        rows = [row for row in rows if row.recipe not in known]
        self._ask(rows, self.blocks)
        self.tried.extend(row for row in rows if len(row.scores) == len(self.blocks))

    def outcome(self) -> Search:
        """The choice, and the record of how it was made."""
        whole, model = self._whole(), self.table.model
        errors = tolerance(len({each.recipe for each in self.tried}) - 1)
        chosen = choose(whole, model, errors)
        plain = {window: self._declared(window, "scratch") for window in self.table.windows if window in self.windows}
        return Search(
            recipe=chosen,
            windows=tuple(self._window_score(recipe, block) for recipe in plain.values() for block in self.blocks),
            verdict=explain_choice(whole, chosen, model),
            verdicts=judge_windows({window: whole[recipe] for window, recipe in plain.items()}, errors),
            trials=tuple(self._record(each, chosen) for each in self.tried),
        )

    def _declared(self, window: Window, mode: Mode) -> Recipe:
        return declared(window, self.table.model, mode, self.table.search)

    def _whole(self) -> dict[Recipe, list[BlockScore]]:
        """Recipes with a score on every block; of equal recipes the first."""
        whole: dict[Recipe, list[BlockScore]] = {}
        for each in self.tried:
            if not each.pruned:
                whole.setdefault(each.recipe, each.scores)
        return whole

    def _prune(self, rows: list[Tried]) -> None:
        """Ask block by block, keeping the better share; a recipe that cannot be fitted on a block is out as well."""
        alive = list(rows)
        for depth, block in enumerate(self.blocks, start=1):
            self._ask(alive, (block,))
            fitted = [row for row in alive if len(row.scores) == depth]
            if depth == len(self.blocks):
                kept = fitted
            else:
                others = [so_far(each, depth) for each in self.tried if len(each.scores) >= depth]
                places = survivors([so_far(row, depth) for row in fitted], others, self.table.search.keep)
                kept = [fitted[place] for place in places]
            for row in alive:
                row.pruned = row.pruned or not any(row is each for each in kept)
            alive = kept
        self.tried.extend(row for row in rows if row.scores)

    def _ask(self, rows: Sequence[Tried], blocks: tuple[Block, ...]) -> None:
        """Add each row's scores on the blocks, as far as it can be fitted, stopping at the first block where it cannot."""
        forecasts = self.evaluator.forecasts([Cell(recipe=row.recipe, block=block) for row in rows for block in blocks])
        for row in rows:
            for block in blocks:
                found = forecasts.get(Cell(recipe=row.recipe, block=block))
                if found is None:
                    break
                row.scores.append(score_block(self.evaluator.data, block, found))

    def _window_score(self, recipe: Recipe, block: Block) -> WindowScore:
        data, cell = self.evaluator.data, Cell(recipe=recipe, block=block)
        test = judged_on(data.events, data.known_at, block)
        forecasts = self.evaluator.forecasts([cell])[cell]
        return WindowScore(
            window=recipe.window,
            fold=block.fold,
            cutoff=block.cutoff,
            until=block.last,
            train_rows=self.evaluator.train_rows(cell),
            test_rows=int(test.sum()),
            loss=loss(data.task, data.labels[test], forecasts),
            auc=auc(data.labels[test], forecasts) if isinstance(data.task, Binary) else None,
        )

    def _record(self, each: Tried, chosen: Recipe) -> Trial:
        recipe = each.recipe
        losses = tuple(score.loss for score in each.scores)
        is_chosen = recipe == chosen and not each.pruned
        return Trial(
            window=recipe.window, mode=recipe.mode, model=recipe.model, losses=losses, pruned=each.pruned, chosen=is_chosen
        )


def score_block(data: TrainingData, block: Block, forecasts: npt.NDArray[np.float64]) -> BlockScore:
    """Losses of a block's forecasts, as a whole and by day."""
    rows = judged_on(data.events, data.known_at, block)
    labels, days = data.labels[rows], data.events[rows].astype("datetime64[D]")
    edges = np.flatnonzero(np.diff(days)) + 1  # rows are sorted by event time
    parts = list(zip(np.split(labels, edges), np.split(forecasts, edges), strict=True))
    return BlockScore(
        loss=loss(data.task, labels, forecasts),
        days=np.array([loss(data.task, *part) for part in parts]),
        rows=np.array([len(part[0]) for part in parts]),
    )


def validation(evaluator: Evaluator, blocks: tuple[Block, ...], recipe: Recipe) -> pl.DataFrame:
    """What a recipe's models forecast for the search blocks, each out of time: for what is tuned after the search.

    Returns:
        Key columns, ``event_timestamp``, ``label``, ``fold`` and ``forecast`` (a list for classes), in time order.
    """
    import polars as pl

    data, parts = evaluator.data, []
    for block in sorted(usable_blocks(evaluator, blocks), key=lambda block: block.first):
        cell = Cell(recipe=recipe, block=block)
        rows = data.frame.filter(pl.Series(judged_on(data.events, data.known_at, block)))
        columns = rows.select(*data.keys, "event_timestamp", "label")
        parts.append(columns.with_columns(fold=pl.lit(block.fold), forecast=pl.Series(evaluator.forecasts([cell])[cell])))
    return pl.concat(parts)
