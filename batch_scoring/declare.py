"""What a user declares: a prediction table and the data it is made from.

Every class is frozen and checks itself when it is constructed, so a declaration that cannot work fails where it is
written. Nothing here reads a file, a clock or a network; a declaration is a value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NewType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from batch_scoring.business import BusinessMetric
from batch_scoring.data_checks import Compare, Limit
from batch_scoring.errors import DeclarationError
from batch_scoring.gates import Gate, default_gates, gate_name
from batch_scoring.goals import Goal
from batch_scoring.search_plan import SearchPlan

TableName = NewType("TableName", str)

KeyType = Literal["string", "integer"]
TrainOn = Literal["history", "served"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LEAST_VERSIONS = 7
"""The fewest served versions that any table keeps."""
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _require(holds: bool, field_name: str, expected: str, found: object, fix: str) -> None:
    if not holds:
        raise DeclarationError(field_name, expected=expected, found=repr(found), fix=fix)


def _require_name(field_name: str, name: object) -> None:
    _require(
        isinstance(name, str) and _NAME.fullmatch(name) is not None,
        field_name,
        "lower-case letters, digits and underscores, starting with a letter, at most 63",
        name,
        "Rename it: the name becomes a folder, a view and a URL.",
    )


def _require_unique(field_name: str, names: tuple[str, ...]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    _require(not twice, field_name, "distinct names", twice, "Remove or rename the repeated ones.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _require_span(field_name: str, window: object) -> None:
    _require(window == "all" or _is_count(window), field_name, "a number of days, or 'all'", window, "Give e.g. (30, 90, 'all').")


def _require_sql(field_name: str, path: object) -> None:
    _require(
        isinstance(path, str) and path.endswith(".sql") and not path.startswith("/") and ".." not in path.split("/"),
        field_name,
        "the path of a .sql file inside the product's folder",
        path,
        "Give it relative to the folder of table.py, e.g. 'sql/population.sql'.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A file that an installed Python package ships; read from there, never copied into the repository."""

    package: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedFile:
    """A file that somebody delivers into the repository's landing folder (setting ``landing``)."""

    path: str

    def __post_init__(self) -> None:
        _require(
            not self.path.startswith("/") and ".." not in self.path.split("/"),
            "LandedFile.path",
            "a path inside the landing folder",
            self.path,
            "Give it relative to the folder that the setting 'landing' names.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    """Delimited text with a header line, UTF-8, perhaps inside a .zip or .gz of one member."""

    separator: str = ","
    nulls: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        _require(len(self.separator) == 1, "Csv.separator", "one character", self.separator, "Use e.g. ',' or ';'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Text, one record a line, taken apart by a regular expression with named groups (Rust syntax). UTF-8."""

    pattern: str
    skip: int = 0

    def __post_init__(self) -> None:
        _require("(?P<" in self.pattern, "Lines.pattern", "named groups", self.pattern, "Name a group per column: (?P<name>…).")
        _require(self.skip >= 0, "Lines.skip", "0 or more header lines", self.skip, "Count the lines before the data.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """A delivered file, as it is, and the checks it must pass before anything is read from it.

    In SQL it is the view ``raw.<name>``, with the columns and types of its checks.

    Attributes:
        checks: name of the pandera (polars) schema in the product's ``checks.py``.
        limits: where a data check shall be stricter, more lenient or silent; the rest keep their defaults.
        compare: which earlier deliveries it is compared with.
    """

    name: str
    location: PackageFile | LandedFile
    format: Csv | Lines
    checks: str
    description: str = ""
    limits: tuple[Limit, ...] = ()
    compare: Compare = field(default_factory=Compare)

    def __post_init__(self) -> None:
        _require_name("RawFile.name", self.name)
        _require(self.checks.isidentifier(), "RawFile.checks", "the name of a schema in checks.py", self.checks, "Name one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A Parquet table derived by SQL from raw files and from the datasets declared before it (view ``<name>``).

    The query must return every key column, ``event_timestamp`` and ``created_timestamp`` (both TIMESTAMPTZ, stored as
    microsecond UTC): when a row became true, and when it was first known here. (keys, event_timestamp,
    created_timestamp) must be unique.
    """

    name: str
    sql: str
    keys: tuple[str, ...]
    description: str = ""

    def __post_init__(self) -> None:
        _require_name("Dataset.name", self.name)
        _require_sql("Dataset.sql", self.sql)
        _require(bool(self.keys), "Dataset.keys", "at least one key column", self.keys, "Name the columns that identify a row.")
        _require_unique("Dataset.keys", self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One join key."""

    name: str
    type: KeyType
    description: str = ""

    def __post_init__(self) -> None:
        _require_name("Key.name", self.name)
        _require(self.type in ("string", "integer"), "Key.type", "'string' or 'integer'", self.type, "Choose one of the two.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What a prediction is about. The order of ``keys`` is the order of the URL and of the lookup index."""

    name: str
    keys: tuple[Key, ...]
    description: str = ""

    def __post_init__(self) -> None:
        _require_name("Entity.name", self.name)
        _require(bool(self.keys), "Entity.keys", "at least one join key", self.keys, "Name the columns that identify it.")
        _require_unique("Entity.keys", self.key_names)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The join keys' names, in declared order."""
        return tuple(key.name for key in self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the table speaks: every day or every week, at a local time. The as-of of a run is exactly such a moment.

    Attributes:
        at: local wall-clock time, ``HH:MM``.
        timezone: IANA name; daylight saving is honoured, so the as-of is a fixed local time and a varying UTC one.
        weekday: the day of a weekly schedule.
        since, until: the local days that history can be replayed for, both included; the orchestrator's partitions.
    """

    every: Literal["day", "week"]
    at: str
    timezone: str = "UTC"
    weekday: Weekday = "monday"
    since: date = date(2020, 1, 1)
    until: date | None = None

    def __post_init__(self) -> None:
        _require(self.every in ("day", "week"), "Schedule.every", "'day' or 'week'", self.every, "Choose one of the two.")
        _require(
            re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.at) is not None,
            "Schedule.at",
            "a time of day as HH:MM",
            self.at,
            "Write e.g. '04:00'.",
        )
        _require(self.weekday in _WEEKDAYS, "Schedule.weekday", "a day's name", self.weekday, f"One of {', '.join(_WEEKDAYS)}.")
        _require(
            self.until is None or self.since <= self.until,
            "Schedule.until",
            f"a day not before since ({self.since})",
            str(self.until),
            "Swap the two, or leave until out.",
        )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            _require(False, "Schedule.timezone", "an IANA time zone", self.timezone, "Write e.g. 'Europe/Berlin'.")

    def speaks_on(self, day: date) -> bool:
        """Whether a run is due on that local day."""
        return self.every == "day" or _WEEKDAYS[day.weekday()] == self.weekday

    def as_of(self, day: date) -> datetime:
        """The moment (UTC) at which the table speaks on that local day."""
        local = datetime.combine(day, time.fromisoformat(self.at), tzinfo=ZoneInfo(self.timezone))
        return local.astimezone(UTC)

    def days(self, first: date, last: date) -> tuple[date, ...]:
        """The local days on which a run is due, first and last included."""
        span = (last - first).days + 1
        return tuple(day for n in range(max(span, 0)) if self.speaks_on(day := first + timedelta(days=n)))

    @property
    def period(self) -> timedelta:
        """From one as-of to the next."""
        return timedelta(days=1 if self.every == "day" else 7)

    @property
    def cron(self) -> str:
        """The same as a cron expression in ``timezone``."""
        hour, minute = self.at.split(":")
        day = "*" if self.every == "day" else str((_WEEKDAYS.index(self.weekday) + 1) % 7)
        return f"{int(minute)} {int(hour)} * * {day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is predicted, and when it is known.

    The query returns the key columns, ``event_timestamp`` (the as-of the example belongs to), ``label`` (0 or 1 for a
    binary task, the name of a class, or a number) and ``label_known_at`` (TIMESTAMPTZ). Training at a cut-off sees an
    example only if ``event_timestamp + horizon + delay <= cut-off`` *and* ``label_known_at <= cut-off``.

    Attributes:
        horizon: how far ahead the label looks.
        delay: how much later than that it is promised to be known.
    """

    sql: str
    horizon: timedelta
    delay: timedelta
    description: str = ""

    def __post_init__(self) -> None:
        _require_sql("Label.sql", self.sql)
        _require(self.horizon > timedelta(0), "Label.horizon", "more than zero", str(self.horizon), "Say how far ahead it looks.")
        _require(self.delay >= timedelta(0), "Label.delay", "zero or more", str(self.delay), "Say how much later it is known.")

    @property
    def matures_after(self) -> timedelta:
        """From an example's as-of to the moment its label is promised to be known."""
        return self.horizon + self.delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A window of which a fit sees a representative sample: every stratum has its share of the rows, within one row.

    A stratum is a time bucket of the table's calendar and a value of each of its ``segments``. The draw depends on the
    seed and on each row's own key and moment, so it is the same whatever the order of rows and the number of threads.

    Attributes:
        rows: size of the sample; a window with fewer rows is used whole.
        window: what is sampled: so many days before the cut-off, or everything there is.
        bucket: the time buckets.
    """

    rows: int
    window: int | Literal["all"] = "all"
    bucket: Literal["day", "week", "month"] = "week"
    seed: int = 7

    def __post_init__(self) -> None:
        _require(_is_count(self.rows), "Sampled.rows", "1 or more", self.rows, "Give the size of the sample.")
        _require_span("Sampled.window", self.window)
        _require(
            self.bucket in ("day", "week", "month"), "Sampled.bucket", "'day', 'week' or 'month'", self.bucket, "Choose one."
        )

    def __str__(self) -> str:
        """As it is shown: ``120 days, 20,000 rows``."""
        return f"{show_window(self.window)}, {self.rows:,} rows"


Window = int | Literal["all"] | Sampled
"""A training window: so many days before the cut-off, everything there is, or a sample of one of these."""


def show_window(window: Window) -> str:
    """A window in words: ``30 days``, ``all``, ``all, 20,000 rows``."""
    return f"{window} days" if isinstance(window, int) else str(window)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """How candidates are compared: several cut-offs before a final hold-out that the search never sees. It rolls along.

    The newest ``days`` of matured examples are the final hold-out. The search's evaluation blocks are the ``folds`` blocks of
    ``days`` that end with the newest example whose label was known when the hold-out began (so the label's horizon and delay
    lie between), each predicted by models fitted only on labels that were known at the block's start.
    """

    days: int = 7
    folds: int = 3

    def __post_init__(self) -> None:
        _require(self.days >= 1, "HoldOut.days", "1 or more", self.days, "Give the length of one block in days.")
        _require(self.folds >= 1, "HoldOut.folds", "1 or more", self.folds, "Give the number of search cut-offs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternatingMonths:
    """Calendar months by turns, for evaluation and for training, counted back from the newest complete one.

    The newest complete month of matured examples is the final hold-out, the month before it is only trained on, the one
    before that is the search's first evaluation month, and so on. No model that is judged is trained on a row of any
    evaluation month, nor on a label that was not known when its own began; the model that is served is, as always,
    refitted on everything.
    """

    folds: int = 3

    def __post_init__(self) -> None:
        _require(self.folds >= 1, "AlternatingMonths.folds", "1 or more", self.folds, "Give the number of search months.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCutOffs:
    """Blocks that begin on declared local days and do not move with the as-of, so that runs are compared on the same rows.

    The newest block whose days are all matured is the final hold-out, the ones before it are the search's.

    Attributes:
        cutoffs: the first day of each block, ascending.
        days: length of a block.
    """

    cutoffs: tuple[date, ...]
    days: int = 7

    def __post_init__(self) -> None:
        _require(self.days >= 1, "FixedCutOffs.days", "1 or more", self.days, "Give the length of one block in days.")
        _require(
            len(self.cutoffs) >= 2, "FixedCutOffs.cutoffs", "two days or more", self.cutoffs, "A hold-out and a search block."
        )
        gaps = [(later - earlier).days for earlier, later in zip(self.cutoffs, self.cutoffs[1:], strict=False)]
        _require(
            all(gap >= self.days for gap in gaps),
            "FixedCutOffs.cutoffs",
            f"ascending days, {self.days} or more apart",
            tuple(str(day) for day in self.cutoffs),
            "Blocks must not overlap: sort them, move them apart, or shorten 'days'.",
        )


HoldOutPolicy = HoldOut | AlternatingMonths | FixedCutOffs


@dataclass(frozen=True, slots=True, kw_only=True)
class Positional:
    """A feature that says where something was shown, not what it is: a position in a list, a boost.

    Training sees it as it was observed, so that the model learns its part; scoring sees ``serve_as`` in every row, so
    that no prediction owes anything to a place. Explanations and served features show the constant.
    """

    feature: str
    serve_as: int | float | str

    def __post_init__(self) -> None:
        _require_name("Positional.feature", self.feature)
        _require(
            isinstance(self.serve_as, int | float | str)
            and not isinstance(self.serve_as, bool)
            and (not isinstance(self.serve_as, float) or math.isfinite(self.serve_as)),
            "Positional.serve_as",
            "a number or a string",
            self.serve_as,
            "Give the value that every entity is scored with.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The naive forecasts a model has to beat: trailing mean, same weekday, last value, a constant; the best of them counts.

    Attributes:
        groups: from narrow to wide, the columns (keys or features) that form a group; without any, the entity's keys. A
            group's mean is drawn towards that of the next wider one, and at last towards everything.
        days: how far back they look.
        min_rows: so many examples of a group weigh as much as the wider group does.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    days: int = 90
    min_rows: int = 10

    def __post_init__(self) -> None:
        _require(self.days >= 1, "Baseline.days", "1 or more", self.days, "Give the span in days.")
        _require(self.min_rows >= 1, "Baseline.min_rows", "1 or more", self.min_rows, "Give a number of examples.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """XGBoost parameters to begin with, kept unless the search finds better ones beyond noise.

    ``seed`` and the parameters fix the model, byte for byte.

    Attributes:
        rounds: number of trees.
        depth: largest depth of a tree.
        learning_rate: shrinkage of each tree (XGBoost ``eta``).
        min_child_weight: smallest sum of hessians in a leaf.
        subsample: share of rows drawn for each tree.
        colsample: share of features drawn for each tree.
    """

    rounds: int = 80
    depth: int = 4
    learning_rate: float = 0.1
    min_child_weight: float = 10.0
    subsample: float = 0.8
    colsample: float = 0.5
    seed: int = 7

    def __post_init__(self) -> None:
        _require(1 <= self.rounds <= 10_000, "Model.rounds", "1 to 10,000", self.rounds, "Give the number of trees.")
        _require(1 <= self.depth <= 16, "Model.depth", "1 to 16", self.depth, "Give the depth of a tree.")
        for name in ("learning_rate", "subsample", "colsample"):
            value = getattr(self, name)
            _require(0 < value <= 1, f"Model.{name}", "above 0, at most 1", value, "Give a share.")


# The tasks are a closed union that is stored with every version: tagged structs, because JSON of a dataclass does not say which.
class Binary(msgspec.Struct, frozen=True, kw_only=True, tag_field="task", tag="binary"):
    """Yes or no: the label is 0 or 1, the prediction the probability of 1 and the decision at a threshold."""


class Classes(msgspec.Struct, frozen=True, kw_only=True, tag_field="task", tag="multiclass"):
    """One of several: the label is one of ``names``, the prediction a probability for each and the likeliest of them.

    Attributes:
        names: of the classes, as the label's SQL spells them. Their order is the order of everything about them.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(3 <= len(self.names) <= 100, "Classes.names", "3 to 100 classes", len(self.names), "Two are a Binary task.")
        _require(
            all(isinstance(name, str) and name == name.strip() and name.isprintable() and name for name in self.names),
            "Classes.names",
            "printable text without blanks around it",
            self.names,
            "Name every class as the label's SQL returns it.",
        )
        # They become the fields of a DuckDB STRUCT, which knows no difference between cases.
        _require_unique("Classes.names", tuple(name.lower() for name in self.names))


class Number(msgspec.Struct, frozen=True, kw_only=True, tag_field="task", tag="regression"):
    """How much: the label and the prediction are numbers.

    Attributes:
        unit: what is counted, e.g. ``"minutes"``; shown beside every prediction.
        quantile: predict this quantile of the label instead of its mean, e.g. 0.9 for "at most so many, nine times in ten".
    """

    unit: str = ""
    quantile: float | None = None

    def __post_init__(self) -> None:
        within = self.quantile is None or 0 < self.quantile < 1
        _require(within, "Number.quantile", "between 0 and 1, or None for the mean", self.quantile, "Write e.g. 0.9.")


Task = Binary | Classes | Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a score becomes a decision: ``yes`` at or above the threshold, else ``no``.

    Attributes:
        threshold: a number, or a goal for which every run learns the number from validation, such as
            ``MinimumRecall(at_least=0.95)``.
    """

    threshold: float | Goal = 0.5
    yes: str = "yes"
    no: str = "no"

    def __post_init__(self) -> None:
        given = self.threshold
        _require(
            isinstance(given, Goal) or 0 <= given <= 1, "Decision.threshold", "0 to 1", given, "Give a probability, or a goal."
        )
        _require(self.yes != self.no, "Decision.yes", "two different words", self.yes, "Name both outcomes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """How deep explanations go: ``top`` reasons are stored in words; contributions are stored for every feature."""

    top: int = 5

    def __post_init__(self) -> None:
        _require(1 <= self.top <= 50, "Explain.top", "1 to 50", self.top, "Give the number of reasons per entity.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long versions are kept beyond those that always are: the seven that were live last, and whatever is needed.

    A further version stays while it is within every limit that is given; with none given, seven is all.

    Attributes:
        versions: how many served versions, the live one included. days: how long before the newest as-of a version may
            speak for. bytes: how much all kept versions may take together.
    """

    versions: int | None = None
    days: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name, least, fix in (
            ("versions", LEAST_VERSIONS, "Seven is the least the store promises."),
            ("days", 1, "Give a number of days."),
            ("bytes", 1, "Give a number of bytes."),
        ):
            found = getattr(self, name)
            _require(found is None or found >= least, f"Retention.{name}", f"{least} or more", found, fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTable:
    """One declared product: which entities, which features, which label, how it is trained, judged, kept and scheduled.

    Attributes:
        name: of the table; also its folder in the store, its view in the catalog and its place in the API.
        entity: what a row is about.
        feature_service: name of the Feast FeatureService that serves its features.
        population: SQL file; with parameter ``$as_of`` (TIMESTAMPTZ) it returns the key columns of every entity to score.
        label: what is predicted.
        schedule: when it is predicted.
        sources: delivered files, checked before they are read.
        datasets: Parquet tables derived from them, in order.
        task: what kind of answer: yes or no, one of several classes, or a number.
        decision: of a binary task.
        windows: candidate training windows; the search chooses one per run. A single one is fixed.
        holdout: which rows candidates are compared on.
        segments: columns (keys or features) by which the rows fall into groups: the strata of a :class:`Sampled` window.
        metrics: your own, measured on the hold-out beside the usual ones; a gate can hold them to a bound.
        positional: features that are observed in training and fixed in scoring.
        train_on: ``served`` trains from the features that kept versions were served with, joined with labels known by now;
            as long as those are too few, a run says so and trains on ``history``: features as of each example's moment.
    """

    name: TableName
    description: str
    entity: Entity
    feature_service: str
    population: str
    label: Label
    schedule: Schedule
    sources: tuple[RawFile, ...]
    datasets: tuple[Dataset, ...]
    task: Task = field(default_factory=Binary)
    windows: tuple[Window, ...] = (30, 90, "all")
    holdout: HoldOutPolicy = field(default_factory=HoldOut)
    baseline: Baseline = field(default_factory=Baseline)
    model: Model = field(default_factory=Model)
    search: SearchPlan = field(default_factory=SearchPlan)
    decision: Decision = field(default_factory=Decision)
    segments: tuple[str, ...] = ()
    metrics: tuple[BusinessMetric, ...] = ()
    positional: tuple[Positional, ...] = ()
    train_on: TrainOn = "history"
    gates: tuple[Gate, ...] = field(default_factory=default_gates)
    explain: Explain = field(default_factory=Explain)
    retention: Retention = field(default_factory=Retention)

    def __post_init__(self) -> None:
        _require_name("PredictionTable.name", self.name)
        _require_name("PredictionTable.feature_service", self.feature_service)
        _require(
            bool(self.description.strip()),
            "PredictionTable.description",
            "one sentence",
            self.description,
            "Say what it predicts.",
        )
        _require_sql("PredictionTable.population", self.population)
        _require(
            isinstance(self.task, Binary | Classes | Number),
            "PredictionTable.task",
            "a Binary(), Classes(names=…) or Number()",
            self.task,
            "Say what kind of answer the label is.",
        )
        _require(
            isinstance(self.task, Binary) or self.decision == Decision(),
            "PredictionTable.decision",
            "no decision: only a yes or no is decided at a threshold",
            self.decision,
            "Leave it out.",
        )
        _require(bool(self.windows), "PredictionTable.windows", "at least one window", self.windows, "Give days, or 'all'.")
        for window in self.windows:
            if not isinstance(window, Sampled):
                _require_span("PredictionTable.windows", window)
        _require_unique("PredictionTable.windows", tuple(str(window) for window in self.windows))
        _require(
            bool(self.datasets), "PredictionTable.datasets", "at least one dataset", self.datasets, "Derive one from the sources."
        )
        _require_unique("PredictionTable.sources", tuple(source.name for source in self.sources))
        _require_unique("PredictionTable.datasets", tuple(dataset.name for dataset in self.datasets))
        _require_unique("PredictionTable.gates", tuple(gate_name(gate) for gate in self.gates))
        _require_unique("PredictionTable.metrics", tuple(metric.name for metric in self.metrics))
        _require_unique("PredictionTable.segments", self.segments)
        _require_unique("PredictionTable.positional", tuple(each.feature for each in self.positional))
        _require(
            self.train_on in ("history", "served"),
            "PredictionTable.train_on",
            "'history' or 'served'",
            self.train_on,
            "Choose one of the two.",
        )
        _require(
            self.train_on == "history" or not self.positional,
            "PredictionTable.train_on",
            "'history' for a table with positional features",
            self.train_on,
            "Served features hold the constant, from which a model cannot learn what a position is worth.",
        )
