"""Gates: checks with a number and a limit that can stop a publish. Pure: evidence in, results out.

A declaration lists gates as values (``BeatsBaseline(margin=0.0)``); :func:`judge` compares each with the evidence of a
run. Integrity gates are always judged, whatever is declared: no table may be published without them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import assert_never

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a gate saw. ``message`` is a sentence for a person; ``observed`` is None when it could not be computed."""

    gate: str
    passed: bool
    observed: float | None
    limit: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the gates look at.

    Attributes:
        population: entities to score. rows: rows scored. matched: distinct keys found in both.
        duplicates: rows beyond the first of their key. invalid_scores: null, not finite, or outside [0, 1].
        contributions_error: largest |Σ contributions + base − margin|, log-odds.
        loss: mean log-loss (nats) of the contender on the hold-out; baseline_loss, live_loss: of the others there.
        live_loss, score_psi: None when nothing is live or it cannot be compared. live_note: how it was compared.
    """

    population: int
    rows: int
    matched: int
    duplicates: int
    invalid_scores: int
    contributions_error: float
    loss: float
    baseline_loss: float
    live_loss: float | None
    score_psi: float | None
    live_note: str = ""


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


def judge(evidence: Evidence, gates: tuple[Gate, ...]) -> tuple[GateResult, ...]:
    """Judge a run: the declared gates in their order, then any integrity gate that was not declared."""
    return tuple(_judge_one(evidence, gate) for gate in _with_integrity(gates))


def gate_names(gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """The names of the results that :func:`judge` will give for these gates, in order."""
    return tuple(_name(gate) for gate in _with_integrity(gates))


def _with_integrity(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    declared = {type(gate) for gate in gates}
    integrity: tuple[Gate, ...] = (RowCount(), UniqueKeys(), ValidScores(), ContributionsSum())
    return gates + tuple(gate for gate in integrity if type(gate) not in declared)


def _name(gate: Gate) -> str:
    """``BeatsBaseline`` is reported as ``beats_baseline``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(gate).__name__).lower()


def _judge_one(evidence: Evidence, gate: Gate) -> GateResult:
    match gate:
        case RowCount():
            wrong = (evidence.rows - evidence.matched - evidence.duplicates) + (evidence.population - evidence.matched)
            return _at_most(_name(gate), wrong, 0, f"{evidence.rows} rows for a population of {evidence.population}")
        case UniqueKeys():
            return _at_most(_name(gate), evidence.duplicates, 0, f"{evidence.duplicates} rows repeat a key")
        case ValidScores():
            bad = evidence.invalid_scores
            return _at_most(_name(gate), bad, 0, f"{bad} scores are null or outside [0, 1]")
        case ContributionsSum(tolerance=tolerance):
            error = evidence.contributions_error
            return _at_most(_name(gate), error, tolerance, f"contributions miss the margin by at most {error:.2g}")
        case BeatsBaseline(margin=margin):
            gain = evidence.baseline_loss - evidence.loss
            losses = f"log-loss {evidence.loss:.4f} against the baseline's {evidence.baseline_loss:.4f}"
            return _more_than(_name(gate), gain, margin, losses)
        case NotWorseThanLive(margin=margin):
            if evidence.live_loss is None:
                return _nothing_live(_name(gate), margin)
            how = f" ({evidence.live_note})" if evidence.live_note else ""
            losses = f"log-loss {evidence.loss:.4f} against the live version's {evidence.live_loss:.4f}{how}"
            return _at_most(_name(gate), evidence.loss - evidence.live_loss, margin, losses)
        case ScoreShift(max_psi=max_psi):
            if evidence.score_psi is None:
                return _nothing_live(_name(gate), max_psi)
            shift = f"scores moved by a PSI of {evidence.score_psi:.3f} from the live ones"
            return _at_most(_name(gate), evidence.score_psi, max_psi, shift)
        case _:
            assert_never(gate)


def _at_most(gate: str, observed: float, limit: float, seen: str) -> GateResult:
    passed = math.isfinite(observed) and observed <= limit
    message = f"{seen}; {'within' if passed else 'beyond'} the limit of {limit:g}."
    return GateResult(gate=gate, passed=passed, observed=_finite(observed), limit=float(limit), message=message)


def _more_than(gate: str, observed: float, limit: float, seen: str) -> GateResult:
    passed = math.isfinite(observed) and observed > limit
    message = f"{seen}: a gain of {observed:.4f}, {'more' if passed else 'not more'} than the required {limit:g}."
    return GateResult(gate=gate, passed=passed, observed=_finite(observed), limit=float(limit), message=message)


def _nothing_live(gate: str, limit: float) -> GateResult:
    message = "nothing is live that it could be compared with; passed."
    return GateResult(gate=gate, passed=True, observed=0.0, limit=float(limit), message=message)


def _finite(observed: float) -> float | None:
    return float(observed) if math.isfinite(observed) else None


def _require_limit(field_name: str, limit: float) -> None:
    if not (math.isfinite(limit) and limit >= 0):
        raise DeclarationError(
            field_name, expected="a number of 0 or more", found=repr(limit), fix="Give the gate a usable limit."
        )
