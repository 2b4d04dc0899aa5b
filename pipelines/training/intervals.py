"""How sure a number is: the bootstrap over clusters of rows. Vectorised; nothing is fitted again.

Rows of one day share its weather and rows of one entity its habits, so rows are no independent witnesses; whole days or
whole entities are drawn instead (Cameron, Gelbach and Miller, *Bootstrap-Based Improvements for Inference with Clustered
Errors*, 2008). With few clusters a bootstrap is too sure of itself, which widening by √(k / (k − 1)) and by Student's t
over the normal mends (Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from batch_scoring.gates.bounds import student_quantile
from batch_scoring.measured import Paired

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[np.float64]

DRAWS = 400
_MOST = 1_000
"""More clusters than this are merged at random into so many: still independent, and the draws stay small."""
_FEW_DAYS = 5


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of clusters with replacement.

    Attributes:
        places: cluster of each row, int64 ``(n,)``. counts: how often each draw holds each cluster, ``(draws, clusters)``.
    """

    places: npt.NDArray[np.int64]
    counts: Floats

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self.counts.shape[1])

    def sums(self, values: Floats) -> Floats:
        """Sums over the rows of each draw; ``(n, m)`` values give ``(draws, m)``."""
        import numpy as np

        columns = [np.bincount(self.places, weights=column, minlength=self.clusters) for column in values.T]
        return np.asarray(self.counts @ np.stack(columns, axis=1))

    def weights(self, draw: int) -> Floats:
        """How often one draw holds each row, ``(n,)``."""
        return np_take(self.counts[draw], self.places)


def np_take(values: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """``values[places]``, typed."""
    taken: Floats = values[places]
    return taken


def resample(places: npt.NDArray[np.int64], *, seed: int, draws: int = DRAWS) -> Resamples:
    """Draw clusters, as many as there are.

    Args:
        places: cluster of each row, any integers, ``(n,)``.
    """
    import numpy as np

    chance = np.random.default_rng(seed)
    _, dense = np.unique(places, return_inverse=True)
    clusters = int(dense.max(initial=-1)) + 1
    if clusters > _MOST:
        dense, clusters = (chance.permutation(clusters) % _MOST)[dense], _MOST
    counts = chance.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws) if clusters else np.zeros((draws, 0))
    return Resamples(dense.astype(np.int64), counts.astype(np.float64))


def cluster_rows(rows: pl.DataFrame, keys: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The cluster of each row: its as-of moment where there are five or more of them, else its entity.

    Args:
        rows: with ``event_timestamp`` and the key columns.
    """
    return _places(rows, ["event_timestamp"] if rows["event_timestamp"].n_unique() >= _FEW_DAYS else list(keys))


def cluster_entities(rows: pl.DataFrame, keys: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The entity of each row: for what is compared within a moment, where the moment's own luck has no part in it."""
    return _places(rows, list(keys))


def _places(rows: pl.DataFrame, by: list[str]) -> npt.NDArray[np.int64]:
    import polars as pl

    numbers = rows.select(by).unique(maintain_order=True).with_row_index("_place")
    joined = rows.select(by).join(numbers, on=by, how="left", maintain_order="left", nulls_equal=True)
    return joined["_place"].cast(pl.Int64).to_numpy()


def interval(value: float, draws: Floats, clusters: int, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """The expanded percentile interval around a value; nothing where it cannot be resampled."""
    import numpy as np

    usable = draws[np.isfinite(draws)]
    if clusters < 2 or len(usable) < len(draws) / 2:
        return None, None
    tail = (1 - confidence) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    wider = _widening(clusters, 1 - tail)
    return float(value + (low - value) * wider), float(value + (high - value) * wider)


def paired(ours: Floats, theirs: Floats, resamples: Resamples) -> Paired:
    """The mean of our row losses less theirs, with its bootstrap error.

    Args:
        ours, theirs: loss of each row, ``(n,)``, in the row order of the resamples.
    """
    import numpy as np

    difference = ours - theirs
    if not len(difference):
        return Paired(mean=float("nan"), error=0.0, clusters=0)
    sums = resamples.sums(np.stack([difference, np.ones(len(difference))], axis=1))
    held = sums[:, 1] > 0
    means = sums[held, 0] / sums[held, 1]
    clusters = resamples.clusters
    error = float(means.std(ddof=1)) * (clusters / max(clusters - 1, 1)) ** 0.5 if len(means) > 1 else 0.0
    return Paired(mean=float(difference.mean()), error=error, clusters=clusters)


def paired_within(ours: Floats, theirs: Floats, rows: npt.NDArray[np.bool_], resamples: Resamples) -> Paired:
    """As :func:`paired`, of the chosen rows only."""
    return paired(ours[rows], theirs[rows], within(resamples, rows))


def within(resamples: Resamples, rows: npt.NDArray[np.bool_]) -> Resamples:
    """The same draws of the chosen rows; clusters that hold none of them count for nothing."""
    import numpy as np

    kept, places = np.unique(resamples.places[rows], return_inverse=True)
    return Resamples(places.astype(np.int64), resamples.counts[:, kept])


def _widening(clusters: int, share: float) -> float:
    return float((clusters / (clusters - 1)) ** 0.5 * student_quantile(share, clusters - 1) / NormalDist().inv_cdf(share))
