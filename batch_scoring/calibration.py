"""From a margin to the probability that it means in practice. The margin itself, and what sums to it, stays as it is.

XGBoost's logistic function says what the training loss believes. Where out-of-time rows disagree beyond noise, a run
learns a monotone function from margin to probability, and the version carries it. Since it is monotone no two entities
change places; contributions explain the margin, which decides the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A learned function from margin (log-odds) to probability.

    Attributes:
        kind: ``none`` is the logistic function; ``platt`` that of ``intercept + slope × margin`` (Platt, 1999);
            ``isotonic`` the straight lines between the points of ``margins`` and ``scores``, both ascending.
        gain: mean log-loss saved on validation, each fold by a function fitted on the others; nats.
    """

    kind: Literal["none", "platt", "isotonic"] = "none"
    intercept: float = 0.0
    slope: float = 1.0
    margins: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    gain: float = 0.0


NO_CALIBRATION = Calibration()


def calibrated(calibration: Calibration, margins: Floats) -> Floats:
    """Probabilities of margins, ``(n,)``; never falling as the margin grows."""
    import numpy as np

    match calibration.kind:
        case "none":
            return 0.5 * (1.0 + np.tanh(0.5 * margins))
        case "platt":
            return 0.5 * (1.0 + np.tanh(0.5 * (calibration.intercept + calibration.slope * margins)))
        case "isotonic":
            return np.interp(margins, calibration.margins, calibration.scores)
        case _:
            assert_never(calibration.kind)
