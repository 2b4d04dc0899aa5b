"""The gates that a declaration can list: values, each with a limit. What they see is judged in :mod:`.judging`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from batch_scoring.errors import DeclarationError


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """Every entity of the population has exactly one row, and nobody else has one. Observed: rows too many or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKeys:
    """No entity appears twice. Observed: repeated rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidScores:
    """No score is null, not finite, or outside [0, 1]. Observed: such rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionsSum:
    """Contributions plus base value equal the model's margin. Observed: the largest absolute difference (log-odds)."""

    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        _require_limit("ContributionsSum.tolerance", self.tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsBaseline:
    """Mean log-loss on the hold-out is lower than the naive baseline's by at least ``margin``. Observed: the gain (nats)."""

    margin: float = 0.0

    def __post_init__(self) -> None:
        _require_limit("BeatsBaseline.margin", self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWorseThanLive:
    """Mean log-loss on the hold-out exceeds the live version's by at most ``margin``. Observed: the excess (nats)."""

    margin: float = 0.005

    def __post_init__(self) -> None:
        _require_limit("NotWorseThanLive.margin", self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreShift:
    """The distribution of scores stays near the live version's. Observed: population stability index over ten bins.

    PSI = Σ (p − q) ln(p / q) over the deciles of the live scores (Siddiqi, *Credit Risk Scorecards*, 2006).
    """

    max_psi: float = 1.0

    def __post_init__(self) -> None:
        _require_limit("ScoreShift.max_psi", self.max_psi)


IntegrityGate = RowCount | UniqueKeys | ValidScores | ContributionsSum
Gate = IntegrityGate | BeatsBaseline | NotWorseThanLive | ScoreShift


def default_gates() -> tuple[Gate, ...]:
    """The gates of a new table."""
    return (
        RowCount(),
        UniqueKeys(),
        ValidScores(),
        ContributionsSum(),
        BeatsBaseline(),
        NotWorseThanLive(),
        ScoreShift(),
    )


def _require_limit(field_name: str, limit: float) -> None:
    if not (math.isfinite(limit) and limit >= 0):
        raise DeclarationError(
            field_name, expected="a number of 0 or more", found=repr(limit), fix="Give the gate a usable limit."
        )
