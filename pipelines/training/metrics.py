"""Scores of forecasts. Thin over scikit-learn, with the cases it leaves undefined decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from batch_scoring.declare import Binary, Classes, Number, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1, so that one confident mistake costs 13.8 nats and not infinity."""


def loss(task: Task, labels: npt.NDArray[Any], forecasts: npt.NDArray[np.float64]) -> float:
    """The task's loss of record (:func:`batch_scoring.tasks.metric`); lower is better.

    Args:
        labels: shape ``(n,)``: 0 or 1, the place of the class, or the number. forecasts: as
            :func:`batch_scoring.tasks.forecast` shapes them.
    """
    import numpy as np

    match task:
        case Binary():
            return log_loss(labels, forecasts)
        case Classes():
            likely = forecasts[np.arange(len(labels)), labels.astype(np.int64)]
            return float(-np.log(np.clip(likely, _EDGE, 1.0)).mean())
        case Number(quantile=quantile):
            missed = labels.astype(np.float64) - forecasts
            if quantile is None:
                return float(np.sqrt(np.square(missed).mean()))
            return float(np.maximum(quantile * missed, (quantile - 1) * missed).mean())
        case _:
            assert_never(task)


def log_loss(labels: npt.NDArray[Any], scores: npt.NDArray[np.float64]) -> float:
    """Mean negative log-likelihood in nats of 0/1 labels; defined for a single class too."""
    import numpy as np

    likely = np.clip(np.where(labels > 0, scores, 1.0 - scores), _EDGE, 1.0)
    return float(-np.log(likely).mean())


def auc(labels: npt.NDArray[Any], scores: npt.NDArray[np.float64]) -> float | None:
    """Area under the ROC curve, ties counted half; None when there is only one class."""
    from sklearn.metrics import roc_auc_score

    if labels.min() == labels.max():
        return None
    return float(roc_auc_score(labels, scores))


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
