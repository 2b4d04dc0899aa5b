"""What the gates look at, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from batch_scoring.gates.declared import Severity
from batch_scoring.measured import Agreement, Measured, Paired

Verdict = Literal["pass", "warn", "waived", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Somebody's decision to publish in spite of one gate, and why. Recorded with the verdict it overrides."""

    gate: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a gate saw. ``message`` is a sentence for a person; ``observed`` is None when it could not be computed.

    Attributes:
        passed: whether it kept to its limit, whatever follows from that.
        severity: of a gate that warns only, a failure stops nothing. waived: the reason for which it was set aside.
    """

    gate: str
    passed: bool
    observed: float | None
    limit: float
    message: str
    severity: Severity = "error"
    waived: str = ""

    @property
    def stops(self) -> bool:
        """Whether it keeps the version from being published."""
        return self.verdict == "fail"

    @property
    def verdict(self) -> Verdict:
        """In one word."""
        if self.passed:
            return "pass"
        if self.severity == "warn":
            return "warn"
        return "waived" if self.waived else "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One value of one segment column on the hold-out.

    Attributes:
        against: the other forecast: ``live`` or ``constant``. reference: its mean loss there.
        excess: the contender's loss less the other's. inverted: a half less its AUC within days; None where it has none.
    """

    column: str
    value: str
    rows: int
    against: str
    reference: float
    excess: Paired
    inverted: Paired | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One value of one column on the hold-out, null included, and the decisions made about it.

    Attributes:
        selection_rate: share decided yes. recall, false_positive_rate: of those that were, or were not. precision: of
            those decided yes. loss: mean. None where nobody is counted.
    """

    column: str
    value: str
    rows: int
    selection_rate: float | None
    recall: float | None
    precision: float | None
    false_positive_rate: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the gates look at.

    Attributes:
        population: entities to score. rows: rows scored. matched: distinct keys found in both.
        duplicates: rows beyond the first of their key. invalid_scores: null, not finite, or impossible.
        contributions_error: largest |Σ contributions + base − margin|.
        loss: mean loss of the contender's rows on the hold-out; baseline_loss, live_loss: of the others there.
        baseline: which one is the best. gain: best baseline less contender; excess: contender less live.
        squared: the losses are means of squares; their roots are what the table is judged by.
        live_*, score_*, *_moves, excess: None or empty when nothing is live or it cannot be compared. apart: why it cannot.
        rank_moves: percentiles 0 to 100 of the entities' change of rank, as a share of the table.
        importance: each feature's share of all absolute contributions; live_importance: the same in the live version.
        new_nulls: per feature, its null share now less that of the newest training rows. out_of_range: share far outside.
        skewed: per feature, served cells that the training path gives otherwise; none for a feature without any.
        refit: the judged model beside the released one, on the population; None when that was not asked.
        label_age: days from the newest label's event to the as-of, less the label's horizon and delay.
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
    apart: str = ""
    squared: bool = False
    baseline: str = ""
    gain: Paired | None = None
    excess: Paired | None = None
    segments: tuple[Segment, ...] = ()
    groups: tuple[Group, ...] = ()
    metrics: tuple[Measured, ...] = ()
    score_distance: float | None = None
    rank_moves: tuple[float, ...] = ()
    live_rows: int | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    live_importance: Mapping[str, float] = field(default_factory=dict)
    new_nulls: Mapping[str, float] = field(default_factory=dict)
    out_of_range: Mapping[str, float] = field(default_factory=dict)
    skewed: Mapping[str, int] = field(default_factory=dict)
    label_age: float | None = None
    refit: Agreement | None = None
