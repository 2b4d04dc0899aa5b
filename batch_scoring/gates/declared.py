"""The gates that a declaration can list: values, each with a limit. What they see is judged in :mod:`.judging`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from batch_scoring.errors import DeclarationError

Severity = Literal["error", "warn"]
"""Whether a failed gate stops a publish or is only shown."""

GroupMeasure = Literal["selection_rate", "recall", "precision", "false_positive_rate", "loss"]


def _require_limits(gate: object, *names: str) -> None:
    for name in names:
        limit = getattr(gate, name)
        if not (math.isfinite(limit) and limit >= 0):
            raise DeclarationError(
                f"{type(gate).__name__}.{name}",
                expected="a number of 0 or more",
                found=repr(limit),
                fix="Give the gate a usable limit.",
            )


def _require_confidence(gate: object, confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise DeclarationError(
            f"{type(gate).__name__}.confidence",
            expected="at least 0.5 and below 1",
            found=repr(confidence),
            fix="Write e.g. 0.95; 0.5 judges the bare mean.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """Every entity of the population has exactly one row, and nobody else has one. Observed: rows too many or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKeys:
    """No entity appears twice. Observed: repeated rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidScores:
    """No score is null or impossible: not finite, or no probability where one is due. Observed: such rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionsSum:
    """Contributions plus base value equal the model's margin. Observed: the largest absolute difference.

    In log-odds for probabilities; for numbers as a share of the largest margin.
    """

    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        _require_limits(self, "tolerance")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAsTrained:
    """For the same entities and moment, the training path gives the features that are served. Observed: differing cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunable:
    """A gate that may be ``warn``: it is judged and shown as ever, and stops nothing."""

    severity: Severity = "error"

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warn"):
            raise DeclarationError(
                f"{type(self).__name__}.severity", expected="'error' or 'warn'", found=repr(self.severity), fix="Choose one."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsBaseline(Tunable):
    """The mean loss on the hold-out could be lower than the best naive baseline's by more than ``margin`` of it, within chance.

    Observed: the gain, in the unit of the loss, at its upper one-sided bound of ``confidence`` (paired bootstrap): a week
    in which chance favoured the naive forecast is no reason to stay with yesterday's model, a model that could not even
    with luck be better by ``margin`` is. While nothing is live there is nothing to stay with: the gain itself must be above
    0 too, and is what is observed if it is not. A ``confidence`` of 0.5 judges the bare mean.
    """

    margin: float = 0.01
    confidence: float = 0.95

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "margin")
        _require_confidence(self, self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWorseThanLive(Tunable):
    """The mean loss on the hold-out does not exceed the live version's by more than ``margin`` of it, beyond chance.

    Observed: the excess at its lower one-sided bound of ``confidence`` (paired bootstrap), in the unit of the loss.
    """

    margin: float = 0.01
    confidence: float = 0.95

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "margin")
        _require_confidence(self, self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsHold(Tunable):
    """In no segment is the loss worse than live's, or than that of a constant forecast, by more than ``margin`` of it, and in
    none are scores the wrong way round.

    Segments are the values of the table's ``segments`` columns; null is one. Those with fewer than ``min_rows`` rows on
    the hold-out are not looked at. Observed: the largest excess as a share, at its lower bound of ``confidence``, which
    is divided among all comparisons (Bonferroni); or, of a segment that is the wrong way round, by how much its AUC within
    days is surely below a half.
    """

    margin: float = 0.05
    min_rows: int = 200
    confidence: float = 0.95

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "margin", "min_rows")
        _require_confidence(self, self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class FairGroups(Tunable):
    """Between no two groups of people, or of anything, does a measure of the decisions differ by more than ``most``.

    Groups are the values of each column in ``by``, null being one; those with fewer than ``min_rows`` rows on the
    hold-out are left out. Observed: the largest difference. Judged on the hold-out, at the version's own threshold.
    """

    by: tuple[str, ...]
    measure: GroupMeasure = "recall"
    most: float = 0.2
    min_rows: int = 100

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "most", "min_rows")
        if not self.by:
            raise DeclarationError("FairGroups.by", expected="a column", found="none", fix="Name the columns of groups.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated(Tunable):
    """Probabilities mean what they say. Observed: the expected calibration error on the hold-out, at its lower bound.

    ECE: the mean of |share that happened − mean score| over ten groups of equal size; for classes, of the likeliest one.
    """

    max_error: float = 0.1

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLimit(Tunable):
    """A metric on the hold-out keeps to a bound: any that is measured, a business metric too. Observed: the metric."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        if (self.at_most is None) == (self.at_least is None):
            raise DeclarationError(
                "MetricLimit.at_most",
                expected="either at_most or at_least",
                found="both" if self.at_most is not None else "neither",
                fix="Give one; list two gates for two bounds.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspiciouslyGood(Tunable):
    """The contender takes away no more than ``max_skill`` of the best baseline's loss, and its AUC is at most ``max_auc``.

    Nobody forecasts that well; something that is known only afterwards is among the features. Observed: the share of the
    loss of record (of numbers, the root of the mean square), or the AUC where that is what is too good.
    """

    max_skill: float = 0.8
    max_auc: float = 0.99

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_skill", "max_auc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceJump(Tunable):
    """No feature's share of all contributions leaps from that in the live version. Observed: the largest rise.

    A feature that the live version does not have rises from an equal share. So does every feature when nothing is live; a
    leap then only warns, for nobody knows what is usual.
    """

    max_rise: float = 0.35

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_rise")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitAgrees(Tunable):
    """The model that is released says what the judged one says, but for the newest labels it was fitted on again.

    Both score the population. Observed: the rank correlation (Spearman), at least ``min_correlation``; or, if that holds
    and the mean scores lie further apart than ``max_shift`` standard deviations, this shift.
    """

    min_correlation: float = 0.7
    max_shift: float = 2.0

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "min_correlation", "max_shift")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreShift(Tunable):
    """The distribution of scores stays near the live version's. Observed: population stability index over ten bins.

    PSI = Σ (p − q) ln(p / q) over the deciles of the live scores (Siddiqi, *Credit Risk Scorecards*, 2006).
    """

    max_psi: float = 1.0

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_psi")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDistance(Tunable):
    """Scores do not lie far from the live version's. Observed: Wasserstein's distance in standard deviations of live."""

    max_deviations: float = 3.0

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_deviations")


@dataclass(frozen=True, slots=True, kw_only=True)
class BiggestMovers(Tunable):
    """No more than ``share`` of the entities change their place by more than ``max_jump`` of the whole table.

    Observed: how far, as a share of all ranks, the entity at that quantile moved. ``foretable movers`` lists them.
    """

    max_jump: float = 0.6
    share: float = 0.05

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_jump", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationChange(Tunable):
    """The table does not shrink or grow by more than ``max_change`` of the live one. Observed: |ln(rows / live rows)|.

    A limit of 0.7 is a halving or a doubling.
    """

    max_change: float = 0.7

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_change")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCoverage(Tunable):
    """No feature is null much more often than in the newest training rows. Observed: the largest rise of a null share."""

    max_rise: float = 0.5

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_rise")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRange(Tunable):
    """No number lies far outside what training saw: a changed unit, a stray default. Observed: the largest such share.

    Far is more than three times the training range beyond its ends; the range is that of the middle 99.8 %, and at
    least as wide as its larger end.
    """

    max_share: float = 0.05

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        _require_limits(self, "max_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness(Tunable):
    """The newest label is not older than it has to be. Observed: days between its event and the as-of, less the label's
    horizon and delay.
    """

    max_age: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        Tunable.__post_init__(self)
        if self.max_age < timedelta(0):
            raise DeclarationError("Staleness.max_age", expected="0 or more", found=str(self.max_age), fix="Give a span.")


IntegrityGate = RowCount | UniqueKeys | ValidScores | ContributionsSum | ServedAsTrained
Gate = (
    IntegrityGate
    | BeatsBaseline
    | NotWorseThanLive
    | SegmentsHold
    | FairGroups
    | Calibrated
    | MetricLimit
    | SuspiciouslyGood
    | ImportanceJump
    | RefitAgrees
    | ScoreShift
    | ScoreDistance
    | BiggestMovers
    | PopulationChange
    | FeatureCoverage
    | FeatureRange
    | Staleness
)

INTEGRITY: tuple[IntegrityGate, ...] = (
    RowCount(),
    UniqueKeys(),
    ValidScores(),
    ContributionsSum(),
    ServedAsTrained(),
)
"""Judged whatever is declared, and never waived: a table that fails one is broken, not doubtful."""


def default_gates() -> tuple[Gate, ...]:
    """The gates of a new table: integrity, quality, and what tells that something upstream has broken."""
    return (
        *INTEGRITY,
        BeatsBaseline(),
        NotWorseThanLive(),
        SegmentsHold(),
        Calibrated(severity="warn"),
        SuspiciouslyGood(),
        ImportanceJump(),
        RefitAgrees(),
        ScoreShift(severity="warn"),
        ScoreDistance(),
        BiggestMovers(),
        PopulationChange(),
        FeatureCoverage(),
        FeatureRange(),
        Staleness(),
    )


def with_defaults(*changed: Gate) -> tuple[Gate, ...]:
    """The default gates, with these in the place of the default of the same name, or after them."""
    given = {gate_name(gate): gate for gate in changed}
    return tuple(given.pop(gate_name(gate), gate) for gate in default_gates()) + tuple(given.values())


def gate_name(gate: Gate) -> str:
    """``BeatsBaseline`` is reported as ``beats_baseline``, a limit on a metric as ``metric_<name>_at_most``."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(gate).__name__).lower()
    match gate:
        case MetricLimit(metric=metric, at_most=at_most):
            bound = "at_least" if at_most is None else "at_most"
            return f"metric_{re.sub('[^a-z0-9]+', '_', metric.lower()).strip('_')}_{bound}"
        case FairGroups(measure=measure):
            return f"{name}_{measure}"
        case _:
            return name
