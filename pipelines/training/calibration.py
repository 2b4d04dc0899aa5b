"""Learning whether scores need calibrating, and how: on validation, and only for a gain beyond noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batch_scoring.calibration import NO_CALIBRATION, Calibration, calibrated
from batch_scoring.declare import Binary
from batch_scoring.gates.bounds import upper_bound
from batch_scoring.measured import Paired
from pipelines.training.metrics import logistic, row_losses

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_CONFIDENCE = 0.95
_BINS = 100
_LEAST_FOLDS = 3
_LEAST_ROWS = 200
"""Of each outcome: a function learned from fewer is noise."""


def margins_of(forecasts: Floats) -> Floats:
    """The margins that gave these probabilities."""
    import numpy as np

    kept = np.clip(forecasts, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def learn_calibration(labels: npt.NDArray[Any], margins: Floats, folds: npt.NDArray[Any]) -> Calibration:
    """The calibration that out-of-time margins ask for; mostly none.

    Each candidate is fitted without a fold and scored on it. The better of the two is taken if its gain is beyond what
    folds differ by (one-sided, 95 %, paired, Student's t over the folds), and is then fitted on all of validation. Days of
    one fold share its weather: a function learned from one spell of it can double the loss of the next.

    Args:
        labels: 0 or 1, ``(n,)``. margins: log-odds. folds: the validation block of each row; fewer than three prove nothing.
    """
    import numpy as np

    ones = int((labels > 0).sum())
    if len(np.unique(folds)) < _LEAST_FOLDS or min(ones, len(labels) - ones) < _LEAST_ROWS:
        return NO_CALIBRATION
    task = Binary()
    plain = row_losses(task, labels, calibrated(NO_CALIBRATION, margins))
    best, chosen = 0.0, None
    for fit in (fit_platt, fit_isotonic):
        said = np.empty(len(labels))
        for fold in np.unique(folds):
            fitted = fit(labels[folds != fold], margins[folds != fold]) or NO_CALIBRATION
            said[folds == fold] = calibrated(fitted, margins[folds == fold])
        gain = _over_folds(row_losses(task, labels, said) - plain, folds)
        if upper_bound(gain, _CONFIDENCE) < 0 and -gain.mean > best:
            best, chosen = -gain.mean, fit
    final = None if chosen is None else chosen(labels, margins)
    return NO_CALIBRATION if final is None else replace(final, gain=best)


def _over_folds(difference: Floats, folds: npt.NDArray[Any]) -> Paired:
    import numpy as np

    means = np.array([difference[folds == fold].mean() for fold in np.unique(folds)])
    return Paired(mean=float(means.mean()), error=float(means.std(ddof=1) / len(means) ** 0.5), clusters=len(means))


def fit_platt(labels: npt.NDArray[Any], margins: Floats) -> Calibration | None:
    """Intercept and slope of a logistic regression; None where there is none, or it would turn scores around."""
    found = logistic(labels, margins)
    return None if found is None or found[1] <= 0 else Calibration(kind="platt", intercept=found[0], slope=found[1])


def fit_isotonic(labels: npt.NDArray[Any], margins: Floats) -> Calibration | None:
    """The monotone function nearest to what happened in up to a hundred groups of equal size by margin.

    Each group is drawn by one row towards the overall share, so that no score is 0 or 1.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    if not len(labels) or labels.min() == labels.max():
        return None
    margins = np.round(margins, 6)  # between margins that differ by less there is no line to draw
    edges = np.unique(np.quantile(margins, np.linspace(0, 1, _BINS + 1)[1:-1]))
    places = np.searchsorted(edges, margins, side="right")
    counts = np.bincount(places, minlength=len(edges) + 1).astype(np.float64)
    held = counts > 0
    centres = np.bincount(places, weights=margins, minlength=len(edges) + 1)[held] / counts[held]
    shares = (np.bincount(places, weights=labels, minlength=len(edges) + 1)[held] + labels.mean()) / (counts[held] + 1)
    fitted = IsotonicRegression().fit_transform(centres, shares, sample_weight=counts[held])
    return Calibration(kind="isotonic", margins=tuple(map(float, centres)), scores=tuple(map(float, fitted)))


def recalibrated(calibration: Calibration, forecasts: Floats) -> Floats:
    """Forecasts as they will be served, given those of the model alone; of other tasks, and without a calibration, the same."""
    return forecasts if calibration.kind == "none" else calibrated(calibration, margins_of(forecasts))
