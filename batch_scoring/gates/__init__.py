"""Gates: checks with a number and a limit that can stop a publish. Pure: evidence in, results out.

A declaration lists gates as values (``BeatsBaseline(margin=0.0)``); :func:`judge` compares each with the evidence of a
run. Integrity gates are always judged, whatever is declared: no table may be published without them.
"""

from batch_scoring.gates.declared import (
    BeatsBaseline,
    BiggestMovers,
    Calibrated,
    ContributionsSum,
    FairGroups,
    FeatureCoverage,
    FeatureRange,
    Gate,
    ImportanceJump,
    IntegrityGate,
    MetricLimit,
    NotWorseThanLive,
    PopulationChange,
    RowCount,
    ScoreDistance,
    ScoreShift,
    SegmentsHold,
    Staleness,
    SuspiciouslyGood,
    UniqueKeys,
    ValidScores,
    default_gates,
    gate_name,
    with_defaults,
)
from batch_scoring.gates.evidence import Evidence, GateResult, Group, Segment, Waiver
from batch_scoring.gates.judging import gate_names, gate_severities, judge

__all__ = [
    "BeatsBaseline",
    "BiggestMovers",
    "Calibrated",
    "ContributionsSum",
    "Evidence",
    "FairGroups",
    "FeatureCoverage",
    "FeatureRange",
    "Gate",
    "GateResult",
    "Group",
    "ImportanceJump",
    "IntegrityGate",
    "MetricLimit",
    "NotWorseThanLive",
    "PopulationChange",
    "RowCount",
    "ScoreDistance",
    "ScoreShift",
    "Segment",
    "SegmentsHold",
    "Staleness",
    "SuspiciouslyGood",
    "UniqueKeys",
    "ValidScores",
    "Waiver",
    "default_gates",
    "gate_name",
    "gate_names",
    "gate_severities",
    "judge",
    "with_defaults",
]
