"""The shapes of everything this API answers with. The OpenAPI document is generated from these classes.

They are the wire's own, apart from the classes of the store, so that a change there cannot change a client's contract
unnoticed. Moments are UTC, RFC 3339.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Moment = Annotated[datetime, Meta(tz=True)]


class Answer(msgspec.Struct, frozen=True):
    """Base of every shape. mypy wants ``frozen`` and ``kw_only`` said again by every class."""


class KeyPart(Answer, frozen=True, kw_only=True):
    """One join key: one segment of the URL, in this order."""

    name: str
    type: Literal["string", "integer"]
    description: str


class Urls(Answer, frozen=True, kw_only=True):
    """Where to read the table. `{…}` stands for one percent-encoded key part."""

    prediction: Annotated[str, Meta(examples=["/v1/tables/flight_delays/predictions/{carrier}/{flight}/{origin}/{dest}"])]
    explanation: str
    lookup: str
    versions: str


class TableSummary(Answer, frozen=True, kw_only=True):
    """A prediction table and what is live of it."""

    name: Annotated[str, Meta(examples=["flight_delays"])]
    description: str
    keys: tuple[KeyPart, ...]
    live: Annotated[int | None, Meta(description="The live version; null while none is.")]
    as_of: Annotated[Moment | None, Meta(description="The moment the live version speaks for.")]
    rows: Annotated[int | None, Meta(description="Entities in the live version.")]
    next_expected: Annotated[Moment | None, Meta(description="The as-of of the next scheduled version.")]
    urls: Urls


class TableList(Answer, frozen=True, kw_only=True):
    """Every table of the release being served."""

    release: Annotated[int, Meta(description="The snapshot of the whole store that this answer was read from.")]
    tables: tuple[TableSummary, ...]


class Column(Answer, frozen=True, kw_only=True):
    """One documented column of the table."""

    name: str
    type: Annotated[str, Meta(description="DuckDB type.", examples=["DOUBLE"])]
    role: Literal["key", "feature", "score", "decision", "meta"]
    description: str
    categories: Annotated[tuple[str, ...], Meta(description="The known values of a categorical feature; else empty.")]


class Gate(Answer, frozen=True, kw_only=True):
    """What one gate saw when the version was judged."""

    gate: Annotated[str, Meta(examples=["beats_baseline"])]
    passed: bool
    observed: Annotated[float | None, Meta(description="Null when it could not be computed.")]
    limit: float
    message: str
    verdict: Annotated[
        Literal["pass", "warn", "waived", "fail"],
        Meta(description="Only 'fail' stops a publish: 'warn' is shown, 'waived' was set aside by somebody."),
    ]
    waived: Annotated[str, Meta(description="The reason of a waiver; else empty.")]


class HoldOut(Answer, frozen=True, kw_only=True):
    """One competitor on the out-of-time hold-out."""

    who: Annotated[str, Meta(examples=["contender"])]
    rows: int
    loss: Annotated[float, Meta(description="Mean loss by the table's metric; lower is better.")]
    auc: Annotated[float | None, Meta(description="Null when the hold-out has only one class.")]
    note: str


class Version(Answer, frozen=True, kw_only=True):
    """One version of a table."""

    version: int
    as_of: Moment
    built_at: Moment
    rows: int
    passed: Annotated[bool, Meta(description="Judged, and no gate failed.")]
    live: bool
    shadow: bool
    barred: Annotated[bool, Meta(description="Rolled back: scheduled runs never publish it again.")]
    reason: Annotated[str, Meta(description="Why it was built.", examples=["schedule"])]
    window: Annotated[
        int | str, Meta(description="Training window that the search chose: days, 'all', or a sample of one.", examples=[60])
    ]
    holdout: tuple[HoldOut, ...]


class VersionList(Answer, frozen=True, kw_only=True):
    """Every kept version of a table, newest first."""

    table: str
    release: int
    versions: tuple[Version, ...]


class Schedule(Answer, frozen=True, kw_only=True):
    """When the table speaks, in local wall-clock time."""

    every: Literal["day", "week"]
    at: Annotated[str, Meta(examples=["04:00"])]
    timezone: Annotated[str, Meta(examples=["America/New_York"])]
    weekday: Annotated[str | None, Meta(description="The day of a weekly schedule; else null.")]


class TableDetail(Answer, frozen=True, kw_only=True):
    """Everything a reader of a table needs to know."""

    name: str
    description: str
    release: int
    entity: Annotated[str, Meta(description="What one row is about.")]
    keys: tuple[KeyPart, ...]
    schedule: Schedule
    next_expected: Annotated[Moment | None, Meta(description="The as-of of the next scheduled version; null while none is live.")]
    task: Annotated[Literal["binary", "multiclass", "regression"], Meta(description="What kind of answer a prediction is.")]
    classes: Annotated[tuple[str, ...], Meta(description="Of a multiclass table, in the order of its probabilities; else empty.")]
    unit: Annotated[str, Meta(description="Of margins, base values and contributions.", examples=["log-odds"])]
    metric: Annotated[str, Meta(description="What `loss` is; lower is better.", examples=["log-loss"])]
    threshold: Annotated[
        float | None,
        Meta(description="A score at or above it is decided as the positive outcome; null where no yes or no is asked."),
    ]
    columns: tuple[Column, ...]
    live: Version | None
    shadow: Version | None
    gates: Annotated[tuple[Gate, ...], Meta(description="The verdicts on the live version.")]
    urls: Urls


class Problem(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: Annotated[str, Meta(description="Stable; branch on this.", examples=["/problems/unknown-key"])]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What was expected, what was found, and what to do.")]
    instance: Annotated[str, Meta(description="The path that was asked for.")] = ""
    request_id: Annotated[str, Meta(description="Also in the header `X-Request-Id` and in the server's log.")] = ""
    tables: Annotated[tuple[str, ...], Meta(description="With `unknown-table`: the names there are.")] = ()


class Reason(Answer, frozen=True, kw_only=True):
    """One of the strongest reasons for a score, in words."""

    feature: str
    value: Annotated[str | None, Meta(description="The value served, as text.")]
    contribution: Annotated[float, Meta(description="To the margin, in the table's `unit`; positive raises it.")]
    text: Annotated[str, Meta(description="The reason as a sentence.")]


class Prediction(Answer, frozen=True, kw_only=True):
    """One entity's prediction, as it was stored when the version was built."""

    table: str
    key: Annotated[dict[str, str | int], Meta(description="The join keys.", examples=[{"carrier": "UA", "flight": 15}])]
    version: int
    as_of: Moment
    score: Annotated[float | None, Meta(description="Probability of the positive outcome, 0 to 1.")]
    decision: Annotated[str, Meta(description="The score against the threshold, in the table's words.")]
    threshold: float
    rank: Annotated[int, Meta(description="1 is the highest score of the version.")]
    reasons: Annotated[tuple[Reason, ...], Meta(description="Largest effect first.")]


class Contribution(Answer, frozen=True, kw_only=True):
    """The exact effect of one feature on one score (SHAP)."""

    feature: str
    description: str
    value: str | float | bool | None
    contribution: Annotated[float, Meta(description="To the margin, in the table's `unit`; positive raises it.")]


class ClassPrediction(Answer, frozen=True, kw_only=True):
    """One entity's prediction of a multiclass table, as it was stored when the version was built."""

    table: str
    key: Annotated[dict[str, str | int], Meta(description="The join keys.", examples=[{"carrier": "UA", "flight": 15}])]
    version: int
    as_of: Moment
    score: Annotated[float | None, Meta(description="Probability of the class decided for, 0 to 1.")]
    decision: Annotated[str, Meta(description="The likeliest class.")]
    probabilities: Annotated[dict[str, float] | None, Meta(description="Of every class, in declared order; they add up to 1.")]
    rank: Annotated[int, Meta(description="1 is the highest score of the version.")]
    reasons: Annotated[tuple[Reason, ...], Meta(description="For the class decided for, largest effect first.")]


class NumberPrediction(Answer, frozen=True, kw_only=True):
    """One entity's prediction of a regression table, as it was stored when the version was built."""

    table: str
    key: Annotated[dict[str, str | int], Meta(description="The join keys.", examples=[{"carrier": "UA", "flight": 15}])]
    version: int
    as_of: Moment
    score: Annotated[float | None, Meta(description="The predicted number, in the table's `unit`.")]
    rank: Annotated[int, Meta(description="1 is the highest number of the version.")]
    reasons: Annotated[tuple[Reason, ...], Meta(description="Largest effect first.")]


class Explanation(Answer, frozen=True, kw_only=True):
    """Why a score is what it is: `base_value` and all contributions add up to `margin`, the uncalibrated score in its `unit`."""

    table: str
    key: dict[str, str | int]
    version: int
    as_of: Moment
    score: float | None
    margin: float | None
    base_value: float
    contributions: Annotated[tuple[Contribution, ...], Meta(description="Every feature, largest effect first.")]


class ClassExplanation(Answer, frozen=True, kw_only=True):
    """Why a class was decided for: `base_value` and all contributions add up to `margin`, which sets it apart from the others."""

    table: str
    key: dict[str, str | int]
    version: int
    as_of: Moment
    score: float | None
    decision: Annotated[str, Meta(description="The class that is explained: the likeliest.")]
    margin: Annotated[float | None, Meta(description="Log of the score less the mean log of all probabilities.")]
    base_value: float
    contributions: Annotated[tuple[Contribution, ...], Meta(description="Every feature, largest effect first.")]


class Result(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One key of a batch request: its prediction (200), or why there is none (404 unknown, 400 does not fit the table)."""

    status: Literal[200, 400, 404]
    prediction: Annotated[Prediction | None, Meta(description="With status 200.")] = None
    problem: Annotated[Problem | None, Meta(description="With status 404 or 400.")] = None


class LookupAnswer(Answer, frozen=True, kw_only=True):
    """One result per key of the request, in its order, all from one version."""

    table: str
    release: int
    version: int
    as_of: Moment
    results: tuple[Result, ...]


class ClassResult(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One key of a batch request to a multiclass table: its prediction, or why there is none, as in `Result`."""

    status: Literal[200, 400, 404]
    prediction: Annotated[ClassPrediction | None, Meta(description="With status 200.")] = None
    problem: Annotated[Problem | None, Meta(description="With status 404 or 400.")] = None


class NumberResult(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One key of a batch request to a regression table: its prediction, or why there is none, as in `Result`."""

    status: Literal[200, 400, 404]
    prediction: Annotated[NumberPrediction | None, Meta(description="With status 200.")] = None
    problem: Annotated[Problem | None, Meta(description="With status 404 or 400.")] = None


class ClassLookupAnswer(Answer, frozen=True, kw_only=True):
    """One result per key of the request, in its order, all from one version."""

    table: str
    release: int
    version: int
    as_of: Moment
    results: tuple[ClassResult, ...]


class NumberLookupAnswer(Answer, frozen=True, kw_only=True):
    """One result per key of the request, in its order, all from one version."""

    table: str
    release: int
    version: int
    as_of: Moment
    results: tuple[NumberResult, ...]


class Alive(Answer, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Answer, frozen=True, kw_only=True):
    """The store holds a whole release, and every live version can be read."""

    status: Literal["ready"]
    release: int
    tables: Annotated[dict[str, int], Meta(description="The live version of each table.", examples=[{"flight_delays": 7}])]
    problem: Annotated[
        str | None,
        Meta(description="Set when a newer release cannot be opened and this one stays: an operator has to look."),
    ]


def encode(answer: Answer) -> bytes:
    """Compact UTF-8 JSON, members in the order of the class."""
    return msgspec.json.encode(answer)
