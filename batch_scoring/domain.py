"""What a run produces and what the store holds: table versions, releases, and the numbers that judged them.

Every class is a frozen value that is written to and read from JSON as it stands (:mod:`batch_scoring.codec`). All
moments are timezone-aware UTC. Facts are stored; statuses (good, barred, kept) are derived from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NewType

from batch_scoring.calibration import NO_CALIBRATION, Calibration
from batch_scoring.data_checks import DataReport
from batch_scoring.declare import Binary, Entity, Model, Schedule, TableName, Task, Window
from batch_scoring.gates import GateResult
from batch_scoring.goals import LearnedThreshold
from batch_scoring.measured import Measured
from batch_scoring.search_plan import Mode

VersionId = NewType("VersionId", int)
"""Counts the versions of one table from 1; the folder name is the same number with six digits."""

ReleaseId = NewType("ReleaseId", int)
"""Counts the releases of the whole store from 1."""

Channel = Literal["live", "shadow"]
ColumnRole = Literal["key", "feature", "score", "decision", "meta"]

PREDICTIONS = "predictions.parquet"
EXPLANATIONS = "explanations.parquet"
FEATURES = "features.parquet"
MODEL = "model.ubj"
INDEX = "lookup.mdb"
EXPLANATION_INDEX = "explanations.mdb"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One documented column of a version's tables.

    Attributes:
        type: its DuckDB type. categories: the known values of a categorical feature, in code order; else empty.
    """

    name: str
    type: str
    role: ColumnRole
    description: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowScore:
    """One cell of the window search: a window, fitted before ``cutoff``, scored on the block that starts there.

    ``loss`` is the task's metric of record (:func:`batch_scoring.tasks.metric`): lower is better.
    """

    window: Window
    fold: int
    cutoff: datetime
    until: datetime
    train_rows: int
    test_rows: int
    loss: float
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowVerdict:
    """A window under the declared model, over all search blocks.

    Attributes:
        mean, spread: of its losses over the blocks; the spread is a standard deviation, 0 with one block.
        excess, error: mean paired excess over the best window, and its standard error.
        ties: the excess is no more than noise.
    """

    window: Window
    mean: float
    spread: float
    excess: float
    error: float
    ties: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A recipe that the search tried. ``losses``: per block, newest first; fewer than all when it was ``pruned``."""

    window: Window
    mode: Mode
    model: Model
    losses: tuple[float, ...]
    pruned: bool
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOutScore:
    """One competitor on the final hold-out.

    ``loss`` is the task's metric of record (:func:`batch_scoring.tasks.metric`): lower is better. ``auc`` is None when the
    hold-out has only one class, and for every task that is not binary. ``metrics``: everything that was measured there, with
    intervals.
    """

    who: str
    rows: int
    loss: float
    auc: float | None
    note: str = ""
    metrics: tuple[Measured, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the model of a version came to be.

    Attributes:
        window: the chosen one. train_from, train_to: event times (as-of moments) of its first and last training row.
        cutoff: labels known by this moment were used. holdout: every competitor on the same out-of-time rows.
        params: XGBoost parameters as passed. training_set: name (hash of what went in) of the examples.
        note: why these are not the examples that the table asks for, if so.
        rounds: trees in the model. mode: how they came to be. base: version of the live model that a warm start or a
            refresh went on from, 0 if it has none.
        verdict: why this window and this model, in words. verdicts: every window. trials: everything that was tried.
        plan: hash of what is declared about the search.
        calibration: from margin to score, learned on validation. threshold: what was learned of the declared goal; None
            where the declared threshold is a number, or the task is not binary.
    """

    window: Window
    cutoff: datetime
    train_rows: int
    train_from: datetime
    train_to: datetime
    rounds: int
    params: Mapping[str, float | int | str]
    windows: tuple[WindowScore, ...]
    holdout: tuple[HoldOutScore, ...]
    training_set: str = ""
    note: str = ""
    mode: Mode = "scratch"
    base: int = 0
    verdict: str = ""
    verdicts: tuple[WindowVerdict, ...] = ()
    trials: tuple[Trial, ...] = ()
    plan: str = ""
    calibration: Calibration = NO_CALIBRATION
    threshold: LearnedThreshold | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSkew:
    """One served feature beside what training sees.

    Attributes:
        serve_as: the constant of a positional feature, as text; None for every other.
        differing: compared cells in which the training path gives something else.
        psi: population stability index of the served values against the rows the model was fitted on; None if either is
            empty. A positional feature's is large by design.
        served_nulls, trained_nulls: share of missing values, 0 to 1.
    """

    feature: str
    serve_as: str | None
    differing: int
    psi: float | None
    served_nulls: float
    trained_nulls: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """The features served with a version beside training. ``compared``: rows compared cell by cell."""

    compared: int
    features: tuple[FeatureSkew, ...]

    @property
    def differing(self) -> int:
        """Compared cells that differ, in all features."""
        return sum(feature.differing for feature in self.features)


Trigger = Literal["manual", "schedule", "sensor", "backfill", "replay"]
"""What sets off a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a run came about. Nothing in a version's data depends on it.

    Attributes:
        started_at: wall clock; None if unknown. seconds: from then until the version was built.
        commit: of the repository that holds the declarations; empty outside of one. dirty: it held more than was committed.
        definitions: SHA-256 of the feature definitions, in hex.
    """

    trigger: Trigger
    started_at: datetime | None
    seconds: float | None
    commit: str
    dirty: bool
    definitions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """What a file of a version must be: its size and SHA-256 (hex)."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that has been computed and judged but not yet stored. Files are described by the build.

    Attributes:
        as_of: the moment it speaks for. built_at: wall clock, an argument like every other time.
        gates: the verdicts; empty means unjudged, and an unjudged version is never published.
        reason: why this run was made, e.g. "schedule" or "manual: late delivery".
        columns: of predictions and features, documented, in order.
        threshold: of a binary decision; None for every other task.
        skew: the served features beside training.
        data: what the checks saw in the delivery it is made from, and in later ones that were refused.
        provenance: how the run came about.
    """

    table: TableName
    description: str
    entity: Entity
    schedule: Schedule
    as_of: datetime
    built_at: datetime
    rows: int
    threshold: float | None
    columns: tuple[Column, ...]
    training: Training
    gates: tuple[GateResult, ...]
    reason: str
    packages: Mapping[str, str] = field(default_factory=dict)
    task: Task = field(default_factory=Binary)
    provenance: Provenance | None = None
    skew: Skew | None = None
    data: tuple[DataReport, ...] = ()

    @property
    def passed(self) -> bool:
        """Judged, and no gate stops it: none failed but those that only warn or were waived."""
        return bool(self.gates) and not any(result.stops for result in self.gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contract of one stored version: its draft, its number, and the hash of every file beside it."""

    version: VersionId
    draft: Draft
    files: tuple[FileFact, ...]
    format: Literal[1] = 1

    @property
    def passed(self) -> bool:
        """Judged, and no gate failed."""
        return self.draft.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one release says of one table. ``barred`` versions were rolled back and stay out of scheduled publishes."""

    live: VersionId | None = None
    shadow: VersionId | None = None
    barred: tuple[VersionId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """The change that made a release."""

    kind: Literal["create", "publish", "rollback", "erase"]
    table: TableName | None = None
    channel: Channel = "live"
    from_version: VersionId | None = None
    to_version: VersionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An immutable snapshot of the whole store; release 1 is the empty store.

    Attributes:
        lives: the versions of each table that were ever live and are kept, the latest first.
    """

    id: ReleaseId
    previous: ReleaseId | None
    tables: Mapping[TableName, Served]
    action: Action
    who: str
    when: datetime
    why: str
    lives: Mapping[TableName, tuple[VersionId, ...]] = field(default_factory=dict)
    format: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The folder in which a run leaves the Parquet files and the model of a draft, before the store takes them over."""

    draft: Draft
    folder: Path
