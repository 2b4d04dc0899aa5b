"""The core of foretable: declarations, scoring, gates and the versioned store.

What a user needs to declare a prediction table is exported here; importing it costs nothing but the standard library.
"""

from batch_scoring.declare import (
    Baseline,
    Csv,
    Dataset,
    Decision,
    Entity,
    Explain,
    HoldOut,
    Key,
    Label,
    LandedFile,
    Lines,
    Model,
    PackageFile,
    PredictionTable,
    RawFile,
    Retention,
    Schedule,
    TableName,
)
from batch_scoring.errors import ForetableError
from batch_scoring.gates import (
    BeatsBaseline,
    ContributionsSum,
    GateResult,
    NotWorseThanLive,
    RowCount,
    ScoreShift,
    UniqueKeys,
    ValidScores,
)

__all__ = [
    "Baseline",
    "BeatsBaseline",
    "ContributionsSum",
    "Csv",
    "Dataset",
    "Decision",
    "Entity",
    "Explain",
    "ForetableError",
    "GateResult",
    "HoldOut",
    "Key",
    "Label",
    "LandedFile",
    "Lines",
    "Model",
    "NotWorseThanLive",
    "PackageFile",
    "PredictionTable",
    "RawFile",
    "Retention",
    "RowCount",
    "Schedule",
    "ScoreShift",
    "TableName",
    "UniqueKeys",
    "ValidScores",
]
