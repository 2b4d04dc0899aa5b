"""Scores of forecasts, with the cases each leaves undefined decided. Intervals are :mod:`.measures`'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from batch_scoring.declare import Binary, Classes, Number, Task
from pipelines.training.ranks import Ranked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1, so that one confident mistake costs 13.8 nats and not infinity."""
_BINS = 10


def loss(task: Task, labels: npt.NDArray[Any], forecasts: Floats) -> float:
    """The task's loss of record (:func:`batch_scoring.tasks.metric`); lower is better.

    Args:
        labels: shape ``(n,)``: 0 or 1, the place of the class, or the number. forecasts: as
            :func:`batch_scoring.tasks.forecast` shapes them.
    """
    mean = float(row_losses(task, labels, forecasts).mean())
    return mean**0.5 if isinstance(task, Number) and task.quantile is None else mean


def row_losses(task: Task, labels: npt.NDArray[Any], forecasts: Floats) -> Floats:
    """What every row adds to the mean that is compared, ``(n,)``: nats, squared error, or pinball loss."""
    import numpy as np

    match task:
        case Binary():
            return np.asarray(-np.log(np.clip(np.where(labels > 0, forecasts, 1.0 - forecasts), _EDGE, 1.0)))
        case Classes():
            likely = forecasts[np.arange(len(labels)), labels.astype(np.int64)]
            return np.asarray(-np.log(np.clip(likely, _EDGE, 1.0)))
        case Number(quantile=quantile):
            missed = labels.astype(np.float64) - forecasts
            return np.square(missed) if quantile is None else pinball(missed, quantile)
        case _:
            assert_never(task)


def pinball(missed: Floats, quantile: float) -> Floats:
    """Pinball loss of each miss (label less forecast): its mean is least for the label's quantile."""
    import numpy as np

    return np.asarray(np.maximum(quantile * missed, (quantile - 1) * missed))


def auc(labels: npt.NDArray[Any], scores: Floats) -> float | None:
    """Area under the ROC curve, ties counted half; None when there is only one class."""
    import numpy as np

    value = Ranked.of(labels, scores).auc(np.ones(len(labels)))
    return value if np.isfinite(value) else None


def log_odds(scores: Floats) -> Floats:
    """Of probabilities, kept away from 0 and 1."""
    import numpy as np

    kept = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def calibration_sums(labels: npt.NDArray[Any], scores: Floats) -> Floats:
    """Per row and group of scores: happened less score, and one; ``(n, 2 * groups)``."""
    import numpy as np

    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(edges, scores, side="right")
    member = np.eye(len(edges) + 1)[place]
    return np.concatenate([member * (labels - scores)[:, None], member], axis=1)


def calibration_errors(sums: Floats) -> Floats:
    """The error of each row of summed :func:`calibration_sums`; NaN where no row is counted."""
    import numpy as np

    missed, rows = np.split(sums, 2, axis=1)
    total = rows.sum(axis=1)
    errors = np.divide(np.abs(missed).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
    return np.asarray(errors)


def logistic(labels: npt.NDArray[Any], odds: Floats) -> tuple[float, float] | None:
    """Intercept and slope by Newton's method; None where there is no finite answer."""
    import numpy as np

    if not len(labels) or labels.min() == labels.max() or odds.min() == odds.max():
        return None
    intercept, slope = 0.0, 1.0
    for _ in range(50):
        chance = 0.5 * (1 + np.tanh(0.5 * (intercept + slope * odds)))
        spread, missed = chance * (1 - chance), labels - chance
        a, b, c = spread.sum(), (spread * odds).sum(), (spread * odds * odds).sum()
        room = a * c - b * b
        if not room > 1e-12 * max(a * c, 1e-300):
            return None
        u, v = missed.sum(), (missed * odds).sum()
        step = ((c * u - b * v) / room, (a * v - b * u) / room)
        halve = min(1.0, 5.0 / max(abs(step[0]), abs(step[1]), 1e-300))  # no leap out of the region where Newton converges
        intercept, slope = intercept + halve * step[0], slope + halve * step[1]
        if max(abs(step[0]), abs(step[1])) < 1e-9:
            return float(intercept), float(slope)
    return None


def wasserstein(reference: Floats, current: Floats) -> float:
    """The mean distance between equal quantiles of two samples (Wasserstein's of order one); 0 when either is empty."""
    import numpy as np

    if not len(reference) or not len(current):
        return 0.0
    ordered = np.sort(np.concatenate([reference, current]))
    ours = np.searchsorted(np.sort(current), ordered[:-1], side="right") / len(current)
    theirs = np.searchsorted(np.sort(reference), ordered[:-1], side="right") / len(reference)
    return float((np.abs(ours - theirs) * np.diff(ordered)).sum())


def population_stability(reference: npt.NDArray[np.float64], current: npt.NDArray[np.float64], bins: int = 10) -> float:
    """Population stability index Σ (p − q) ln(p / q) of ``current`` against the quantile bins of ``reference``.

    Shares are smoothed by half a row, so an empty bin is large and not infinite. 0 when either side is empty.
    """
    import numpy as np

    if not len(reference) or not len(current):
        return 0.0
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = []
    for scores in (reference, current):
        counts = np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (len(scores) + 0.5 * (len(edges) + 1)))
    q, p = shares
    return float(((p - q) * np.log(p / q)).sum())
