"""What each feature is worth on the hold-out, with noise, and which can go together.

Two questions that are often taken for one. *Permuted*: what does this model lose when the feature's values are shuffled among the
hold-out's rows? *Dropped*: what does a model lose that was fitted without it? A feature whose work others can do matters to
the first and not to the second, so only the second says what can go; and because two features can do the same work, those
that could go alone are removed together and paid for together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batch_scoring.declare import PredictionTable
from batch_scoring.errors import NoData
from pipelines.training.fit import TrainingData, both_classes, fit, parameters, predict
from pipelines.training.folds import Block, in_block
from pipelines.training.intervals import Resamples, cluster_rows, paired, resample
from pipelines.training.metrics import row_losses
from pipelines.training.samples import training_rows

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from batch_scoring.measured import Paired
    from pipelines.training.folds import Mask
    from pipelines.training.recipe import Recipe

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What the model loses per row without a feature: its values shuffled, or the feature left out; with standard errors."""

    feature: str
    permuted: float
    permuted_error: float
    dropped: float
    dropped_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """The report.

    Attributes:
        features: the dearest to drop first. can_go: those that can be left out together, the cheapest first.
        loss, rows: of the whole model on the hold-out (row losses: nats, or squared errors).
        excess, error: what the model without ``can_go`` loses beyond it, per row; 0 when nothing can go.
    """

    features: tuple[Worth, ...]
    can_go: tuple[str, ...]
    loss: float
    rows: int
    excess: float
    error: float


def weigh_features(
    data: TrainingData,
    table: PredictionTable,
    block: Block,
    recipe: Recipe,
    *,
    repeats: int = 5,
    seeds: int = 2,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Pruning:
    """Weigh every feature on the block, by models fitted from scratch on what was known at its cut-off.

    Args:
        repeats: shuffles per feature. seeds: fits per set of features; row and column draws differ, so that their luck
            is averaged out. threads: fits at a time; their number changes no result.

    Raises:
        NoData: there is nothing to learn at the cut-off.
    """
    train = training_rows(data, table.label, block.cutoff, recipe.window, block)
    if not both_classes(data, train):
        raise NoData("feature importance", expected="more than one outcome before the hold-out", fix="Choose a later as-of.")
    bench = _Bench(data=data, table=table, recipe=recipe, train=train, test=in_block(data.events, block), seeds=seeds)
    names = [feature.name for feature in data.features]
    whole, model = bench.losses(names), bench.fitted(data, 0)
    resamples = resample(cluster_rows(bench.rows(), table.entity.key_names), seed=recipe.model.seed)
    done = 0

    def weigh(place: int) -> Worth:
        nonlocal done
        shuffled = _with_repeats([paired(losses, whole[0], resamples) for losses in bench.shuffled(model, place, repeats)])
        dropped = bench.excess([name for name in names if name != names[place]], whole, resamples)
        done += 1
        progress(f"{done} of {len(names)} features")
        return Worth(
            feature=names[place], permuted=shuffled[0], permuted_error=shuffled[1], dropped=dropped[0], dropped_error=dropped[1]
        )

    with ThreadPoolExecutor(max_workers=threads) as pool:
        worths = list(pool.map(weigh, range(len(names))))
    progress("what can go together")
    cheapest = sorted((worth for worth in worths if worth.dropped <= worth.dropped_error), key=lambda worth: worth.dropped)
    can_go, excess, error = _largest_free_set(
        [worth.feature for worth in cheapest][: len(names) - 1],
        lambda gone: bench.excess([name for name in names if name not in gone], whole, resamples),
    )
    return Pruning(
        features=tuple(sorted(worths, key=lambda worth: (-worth.dropped, worth.feature))),
        can_go=can_go,
        loss=float(np.mean([losses.mean() for losses in whole])),
        rows=int(bench.test.sum()),
        excess=excess,
        error=error,
    )


def _largest_free_set(
    ordered: Sequence[str], excess: Callable[[frozenset[str]], tuple[float, float]]
) -> tuple[tuple[str, ...], float, float]:
    """The longest beginning of a list whose joint removal costs no more than its noise, by bisection."""
    low, high, found = 0, len(ordered), (0.0, 0.0)
    while low < high:
        middle = (low + high + 1) // 2
        mean, error = excess(frozenset(ordered[:middle]))
        if mean <= error:
            low, found = middle, (mean, error)
        else:
            high = middle - 1
    return tuple(ordered[:low]), *found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    data: TrainingData
    table: PredictionTable
    recipe: Recipe
    train: Mask
    test: Mask
    seeds: int

    def rows(self) -> pl.DataFrame:
        """The hold-out's examples."""
        import polars as pl

        return self.data.frame.filter(pl.Series(self.test))

    def losses(self, names: Sequence[str]) -> list[Floats]:
        """Row losses of models on these features, one array per seed."""
        part = _only(self.data, names)
        return [self._row_losses(predict(self.fitted(part, seed), part, self.test)) for seed in range(self.seeds)]

    def excess(self, names: Sequence[str], whole: list[Floats], resamples: Resamples) -> tuple[float, float]:
        """What models on these features lose beyond the whole ones, seed by seed."""
        return _with_repeats(
            [paired(losses, before, resamples) for losses, before in zip(self.losses(names), whole, strict=True)]
        )

    def shuffled(self, model: bytes, place: int, repeats: int) -> list[Floats]:
        """Row losses of a model of all features when one feature's values are shuffled among the rows."""
        found = []
        test = replace(self.data, matrix=self.data.matrix[self.test])
        everything = np.ones(len(test.matrix), dtype=bool)
        for repeat in range(repeats):
            chance = np.random.default_rng([self.recipe.model.seed, place, repeat])
            matrix = test.matrix.copy()
            matrix[:, place] = chance.permutation(matrix[:, place])
            found.append(self._row_losses(predict(model, replace(test, matrix=matrix), everything)))
        return found

    def fitted(self, part: TrainingData, seed: int) -> bytes:
        """The model of one seed."""
        model = replace(self.recipe.model, seed=self.recipe.model.seed + seed)
        return fit(part, self.train, parameters(model, self.table.task), model.rounds)

    def _row_losses(self, forecasts: Floats) -> Floats:
        return row_losses(self.table.task, self.data.labels[self.test], forecasts)


def _only(data: TrainingData, names: Sequence[str]) -> TrainingData:
    wanted = set(names)
    places = [place for place, feature in enumerate(data.features) if feature.name in wanted]
    matrix = np.ascontiguousarray(data.matrix[:, places])
    return replace(data, matrix=matrix, features=tuple(data.features[place] for place in places))


def _with_repeats(found: Sequence[Paired]) -> tuple[float, float]:
    """Mean and standard error: the rows' noise, and that of shuffles or seeds as far as these were repeated."""
    means = np.array([each.mean for each in found])
    rows = float(np.mean([each.error for each in found]))
    draws = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    return float(means.mean()), float(np.hypot(rows, draws))
