"""Ranking metrics of weighted rows: sorted once, then every weighting is two running sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows in order of score within strata, so that a weighting of them is ranked by running sums.

    Attributes:
        order: rows by stratum, then score. positive: their labels, in that order.
        runs: the run of equal scores that each is in. begins: the first run of each run's stratum.
    """

    order: npt.NDArray[np.int64]
    positive: npt.NDArray[np.bool_]
    runs: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]

    @classmethod
    def of(cls, labels: npt.NDArray[Any], scores: Floats, strata: npt.NDArray[Any] | None = None) -> Ranked:
        """Sort the rows; ``strata`` are any values, pairs across which are not compared."""
        import numpy as np

        part = np.zeros(len(labels), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
        order = np.lexsort((scores, part))
        ranked, parts = scores[order], part[order]
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = (ranked[1:] != ranked[:-1]) | (parts[1:] != parts[:-1])
        runs = np.cumsum(fresh) - 1
        stratum = parts[fresh]
        first = np.searchsorted(stratum, stratum, side="left")
        return cls(order, np.asarray(labels)[order] > 0, runs, first)

    def _tallies(self, weights: Floats) -> tuple[Floats, Floats]:
        import numpy as np

        runs = int(self.runs[-1]) + 1 if len(self.runs) else 0
        held = weights[self.order]
        ones: Floats = np.bincount(self.runs, weights=held * self.positive, minlength=runs).astype(np.float64)
        return ones, np.bincount(self.runs, weights=held, minlength=runs).astype(np.float64) - ones

    def auc(self, weights: Floats) -> float:
        """Share of pairs in the right order, ties half, over all strata together; NaN without a pair."""
        import numpy as np

        ones, zeros = self._tallies(weights)
        if not len(ones):
            return float("nan")
        before = np.concatenate([[0.0], np.cumsum(zeros)])
        below = before[:-1] - before[self.begins]
        stratum = np.unique(self.begins, return_inverse=True)[1]
        pairs = float((np.bincount(stratum, weights=ones) * np.bincount(stratum, weights=zeros)).sum())
        return float((ones * (below + 0.5 * zeros)).sum() / pairs) if pairs else float("nan")

    def average_precision(self, weights: Floats) -> float:
        """Σ (R_k − R_{k−1}) P_k over the thresholds, as scikit-learn's; NaN without a positive. One stratum only."""
        import numpy as np

        ones, zeros = (part[::-1] for part in self._tallies(weights))
        hits = np.cumsum(ones)
        said = hits + np.cumsum(zeros)
        if not len(hits) or hits[-1] == 0:
            return float("nan")
        precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
        return float((ones * precision).sum() / hits[-1])
