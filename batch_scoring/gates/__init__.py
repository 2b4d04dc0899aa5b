"""Gates: checks with a number and a limit that can stop a publish. Pure: evidence in, results out.

A declaration lists gates as values (``BeatsBaseline(margin=0.0)``); :func:`judge` compares each with the evidence of a
run. Integrity gates are always judged, whatever is declared: no table may be published without them.
"""

from batch_scoring.gates.declared import (
    BeatsBaseline,
    ContributionsSum,
    Gate,
    IntegrityGate,
    NotWorseThanLive,
    RowCount,
    ScoreShift,
    UniqueKeys,
    ValidScores,
    default_gates,
)
from batch_scoring.gates.evidence import Evidence, GateResult
from batch_scoring.gates.judging import gate_names, judge

__all__ = [
    "BeatsBaseline",
    "ContributionsSum",
    "Evidence",
    "Gate",
    "GateResult",
    "IntegrityGate",
    "NotWorseThanLive",
    "RowCount",
    "ScoreShift",
    "UniqueKeys",
    "ValidScores",
    "default_gates",
    "gate_names",
    "judge",
]
