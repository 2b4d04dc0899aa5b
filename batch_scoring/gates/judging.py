"""Judging: evidence and gates in, verdicts out. Pure."""

from __future__ import annotations

import math
import re
from typing import assert_never

from batch_scoring.gates.declared import (
    BeatsBaseline,
    ContributionsSum,
    Gate,
    NotWorseThanLive,
    RowCount,
    ScoreShift,
    UniqueKeys,
    ValidScores,
)
from batch_scoring.gates.evidence import Evidence, GateResult


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
