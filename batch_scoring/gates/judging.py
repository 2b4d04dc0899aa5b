"""Judging: evidence and gates in, verdicts out. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from batch_scoring.errors import DeclarationError
from batch_scoring.gates.bounds import lower_bound, upper_bound
from batch_scoring.gates.declared import (
    INTEGRITY,
    BeatsBaseline,
    BiggestMovers,
    Calibrated,
    ContributionsSum,
    FairGroups,
    FeatureCoverage,
    FeatureRange,
    Gate,
    ImportanceJump,
    MetricLimit,
    NotWorseThanLive,
    PopulationChange,
    RefitAgrees,
    RowCount,
    ScoreDistance,
    ScoreShift,
    SegmentsHold,
    ServedAsTrained,
    Severity,
    Staleness,
    SuspiciouslyGood,
    Tunable,
    UniqueKeys,
    ValidScores,
    gate_name,
)
from batch_scoring.gates.evidence import Evidence, GateResult, Group, Segment, Waiver


def judge(evidence: Evidence, gates: tuple[Gate, ...], waivers: tuple[Waiver, ...] = ()) -> tuple[GateResult, ...]:
    """Judge a run: the declared gates in their order, then any integrity gate that was not declared.

    Args:
        waivers: gates whose failure shall not stop the publish; a gate that passes needs none and records none.

    Raises:
        DeclarationError: a waiver names no gate of these, or one of integrity.
    """
    judged = _with_integrity(gates)
    reasons = _reasons(judged, waivers)
    results = (replace(_judge_one(evidence, gate), severity=_severity_now(evidence, gate)) for gate in judged)
    return tuple(result if result.passed else replace(result, waived=reasons.get(result.gate, "")) for result in results)


def gate_names(gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """The names of the results that :func:`judge` will give for these gates, in order."""
    return tuple(gate_name(gate) for gate in _with_integrity(gates))


def gate_severities(gates: tuple[Gate, ...]) -> Mapping[str, Severity]:
    """``error`` or ``warn`` per name of :func:`gate_names`, in the same order."""
    return {gate_name(gate): _severity(gate) for gate in _with_integrity(gates)}


def _with_integrity(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    declared = {type(gate) for gate in gates}
    return gates + tuple(gate for gate in INTEGRITY if type(gate) not in declared)


def _severity(gate: Gate) -> Severity:
    return gate.severity if isinstance(gate, Tunable) else "error"


def _severity_now(evidence: Evidence, gate: Gate) -> Severity:
    """As declared; but how much a feature says is no leap where nothing is live that said less."""
    return "warn" if isinstance(gate, ImportanceJump) and not evidence.live_importance else _severity(gate)


def require_waivable(gates: tuple[Gate, ...], waivers: tuple[Waiver, ...]) -> None:
    """Refuse early what :func:`judge` would refuse at the end.

    Raises:
        DeclarationError: a waiver names no gate of these, or one of integrity.
    """
    _reasons(_with_integrity(gates), waivers)


def _reasons(gates: tuple[Gate, ...], waivers: tuple[Waiver, ...]) -> dict[str, str]:
    can_be = [gate_name(gate) for gate in gates if isinstance(gate, Tunable)]
    for waiver in waivers:
        if waiver.gate not in can_be:
            raise DeclarationError(
                f"waiver of '{waiver.gate}'",
                expected=f"one of {', '.join(can_be) or 'none'}",
                found="a gate of integrity" if waiver.gate in gate_names(gates) else "no such gate of this table",
                fix="A table that fails integrity is broken and cannot be published; mend it.",
            )
    return {waiver.gate: waiver.reason for waiver in waivers}


def _judge_one(evidence: Evidence, gate: Gate) -> GateResult:  # noqa: PLR0912  # a case per gate
    name = gate_name(gate)
    match gate:
        case RowCount():
            wrong = (evidence.rows - evidence.matched - evidence.duplicates) + (evidence.population - evidence.matched)
            return _at_most(name, wrong, 0, f"{evidence.rows} rows for a population of {evidence.population}")
        case UniqueKeys():
            return _at_most(name, evidence.duplicates, 0, f"{evidence.duplicates} rows repeat a key")
        case ValidScores():
            return _at_most(name, evidence.invalid_scores, 0, f"{evidence.invalid_scores} scores are null or impossible")
        case ContributionsSum(tolerance=tolerance):
            error = evidence.contributions_error
            return _at_most(name, error, tolerance, f"contributions miss the margin by at most {error:.2g}")
        case ServedAsTrained():
            columns = f", in {', '.join(evidence.skewed)}" if evidence.skewed else ""
            cells = sum(evidence.skewed.values())
            return _at_most(name, cells, 0, f"{cells} served cells are not what training would see{columns}")
        case BeatsBaseline():
            return _judge_gain(name, evidence, gate)
        case NotWorseThanLive():
            return _judge_excess(name, evidence, gate)
        case SegmentsHold():
            return _judge_segments(name, evidence, gate)
        case FairGroups():
            return _judge_groups(name, evidence, gate)
        case Calibrated(max_error=limit):
            return _judge_calibration(name, evidence, limit)
        case MetricLimit():
            return _judge_metric(name, evidence, gate)
        case SuspiciouslyGood():
            return _judge_suspicion(name, evidence, gate)
        case ImportanceJump(max_rise=limit):
            return _judge_importance(name, evidence, limit)
        case RefitAgrees():
            return _judge_refit(name, evidence, gate)
        case ScoreShift(max_psi=limit):
            psi = evidence.score_psi
            return (
                _nothing_live(name, evidence, limit)
                if psi is None
                else _at_most(name, psi, limit, f"scores moved by a PSI of {psi:.3f} from the live ones")
            )
        case ScoreDistance(max_deviations=limit):
            far = evidence.score_distance
            return (
                _nothing_live(name, evidence, limit)
                if far is None
                else _at_most(name, far, limit, f"scores lie {far:.2f} standard deviations from the live ones")
            )
        case BiggestMovers():
            return _judge_movers(name, evidence, gate)
        case PopulationChange(max_change=limit):
            return _judge_population(name, evidence, limit)
        case FeatureCoverage(max_rise=limit):
            return _worst_feature(
                name, evidence.new_nulls, limit, "is null {value:.0%} more often than in the newest training rows"
            )
        case FeatureRange(max_share=limit):
            return _worst_feature(name, evidence.out_of_range, limit, "lies far outside what training saw in {value:.1%} of rows")
        case Staleness(max_age=most):
            age = math.nan if evidence.label_age is None else evidence.label_age
            return _at_most(
                name, age, most.total_seconds() / 86_400, f"the newest label is {age:.1f} days older than it has to be"
            )
        case _:
            assert_never(gate)


def _judge_gain(name: str, evidence: Evidence, gate: BeatsBaseline) -> GateResult:
    gain = evidence.gain
    bare = evidence.baseline_loss - evidence.loss
    bound = bare if gain is None else upper_bound(gain, gate.confidence)
    limit = gate.margin * evidence.baseline_loss
    could_be = math.isfinite(bound) and bound > limit
    if could_be and evidence.live_loss is None and not bare > 0:
        could_be, bound, limit = False, bare, 0.0
    which = f"the best baseline's ({evidence.baseline})" if evidence.baseline else "the baseline's"
    could = "" if gain is None or gate.confidence == 0.5 else f", at most {bound:.4f} at {gate.confidence:.0%} confidence"
    message = (
        f"mean loss {evidence.loss:.4f} against {which} {evidence.baseline_loss:.4f}: a gain of {bare:.4f}{could}; "
        f"{_of_gain(bare, limit, could_be, first=evidence.live_loss is None)}."
    )
    return GateResult(gate=name, passed=could_be, observed=_finite(bound), limit=limit, message=message)


def _of_gain(bare: float, limit: float, could_be: bool, *, first: bool) -> str:
    if could_be:
        return f"{'more than' if bare > limit else 'within chance of more than'} the required {limit:.4g}"
    if first and limit == 0:
        return "with nothing live to stay with, it must be above 0 itself"
    return f"not more than the required {limit:.4g}"


def _judge_excess(name: str, evidence: Evidence, gate: NotWorseThanLive) -> GateResult:
    if evidence.live_loss is None:
        return _nothing_live(name, evidence, gate.margin)
    bare = evidence.loss - evidence.live_loss
    bound = bare if evidence.excess is None else lower_bound(evidence.excess, gate.confidence)
    how = f" ({evidence.live_note})" if evidence.live_note else ""
    sure = (
        "" if evidence.excess is None or gate.confidence == 0.5 else f", at least {bound:.4f} at {gate.confidence:.0%} confidence"
    )
    seen = f"mean loss {evidence.loss:.4f} against the live version's {evidence.live_loss:.4f}{how}: {bare:+.4f}{sure}"
    return _at_most(name, bound, gate.margin * evidence.live_loss, seen)


def _judge_segments(name: str, evidence: Evidence, gate: SegmentsHold) -> GateResult:
    large = [segment for segment in evidence.segments if segment.rows >= gate.min_rows]
    if not large:
        return _passed(name, gate.margin, f"no segment has {gate.min_rows} rows on the hold-out")
    confidence = 1 - (1 - gate.confidence) / len(large)

    def harm(segment: Segment) -> float:
        return lower_bound(segment.excess, confidence) / segment.reference if segment.reference else 0.0

    turned = max(large, key=lambda segment: _inverted(segment, confidence))
    if (below := _inverted(turned, confidence)) > 0:
        seen = f"{turned.column} = {turned.value}, {turned.rows} rows: scores are the wrong way round, their AUC surely below"
        return _at_most(name, below, 0.0, f"{seen} a half by {below:.3f}")
    worst = max(large, key=harm)
    seen = (
        f"worst of {len(large)} comparisons: {worst.column} = {worst.value}, {worst.rows} rows, mean loss "
        f"{worst.reference + worst.excess.mean:.4f} against the {worst.against} forecast's {worst.reference:.4f}; "
        f"surely worse by {harm(worst):.1%}"
    )
    return _at_most(name, harm(worst), gate.margin, seen)


def _inverted(segment: Segment, confidence: float) -> float:
    return -math.inf if segment.inverted is None else lower_bound(segment.inverted, confidence)


def _judge_groups(name: str, evidence: Evidence, gate: FairGroups) -> GateResult:
    worst, seen = 0.0, f"no two groups of {gate.min_rows} rows or more to compare"
    for column in gate.by:
        rates = {
            group.value: rate
            for group in evidence.groups
            if group.column == column and group.rows >= gate.min_rows and (rate := _measure(group, gate)) is not None
        }
        if len(rates) < 2:
            continue
        low, high = min(rates, key=lambda value: rates[value]), max(rates, key=lambda value: rates[value])
        if rates[high] - rates[low] >= worst:
            worst = rates[high] - rates[low]
            seen = f"{gate.measure} is {rates[low]:.3f} for {column} = {low} and {rates[high]:.3f} for {column} = {high}"
    return _at_most(name, worst, gate.most, seen)


def _measure(group: Group, gate: FairGroups) -> float | None:
    match gate.measure:
        case "selection_rate":
            return group.selection_rate
        case "recall":
            return group.recall
        case "precision":
            return group.precision
        case "false_positive_rate":
            return group.false_positive_rate
        case "loss":
            return group.loss
        case _:
            assert_never(gate.measure)


def _judge_calibration(name: str, evidence: Evidence, limit: float) -> GateResult:
    found = {metric.name: metric for metric in evidence.metrics}.get("ece")
    if found is None or found.value is None:
        return _passed(name, limit, "not a table of probabilities")
    bound = found.value if found.low is None else found.low
    seen = f"scores miss what happened by {found.value:.3f} on average (at least {bound:.3f} at 95% confidence)"
    return _at_most(name, bound, limit, seen)


def _judge_metric(name: str, evidence: Evidence, gate: MetricLimit) -> GateResult:
    found = {metric.name: metric.value for metric in evidence.metrics}.get(gate.metric)
    limit = gate.at_most if gate.at_most is not None else gate.at_least
    assert limit is not None
    if found is None:
        known = ", ".join(metric.name for metric in evidence.metrics)
        message = f"'{gate.metric}' could not be measured; there are {known or 'no metrics'}."
        return GateResult(gate=name, passed=False, observed=None, limit=limit, message=message)
    passed = found <= limit if gate.at_most is not None else found >= limit
    bound = "at most" if gate.at_most is not None else "at least"
    message = f"{gate.metric} is {found:.4f} on the hold-out; {bound} {limit:g} is asked."
    return GateResult(gate=name, passed=passed, observed=_finite(found), limit=limit, message=message)


def _judge_suspicion(name: str, evidence: Evidence, gate: SuspiciouslyGood) -> GateResult:
    left = evidence.loss / evidence.baseline_loss if evidence.baseline_loss else 1.0
    skill = 1 - (left**0.5 if evidence.squared else left)
    area = {metric.name: metric.value for metric in evidence.metrics}.get("auc")
    if area is not None and area > gate.max_auc:
        return _at_most(name, area, gate.max_auc, f"the contender's AUC is {area:.4f}, too good to be true")
    return _at_most(name, skill, gate.max_skill, f"the contender takes away {skill:.0%} of the best baseline's loss")


def _judge_importance(name: str, evidence: Evidence, limit: float) -> GateResult:
    if not evidence.importance:
        return _passed(name, limit, "no contributions to look at")
    equal = 1 / len(evidence.importance)
    before = {feature: evidence.live_importance.get(feature, equal) for feature in evidence.importance}
    worst = max(evidence.importance, key=lambda feature: evidence.importance[feature] - before[feature])
    rise = evidence.importance[worst] - before[worst]
    since = "after" if worst in evidence.live_importance else "against an equal share of"
    seen = f"'{worst}' makes {evidence.importance[worst]:.0%} of all contributions, {since} {before[worst]:.0%}"
    return _at_most(name, rise, limit, seen)


def _judge_refit(name: str, evidence: Evidence, gate: RefitAgrees) -> GateResult:
    found = evidence.refit
    if found is None or not found.rows:
        return _passed(name, gate.min_correlation, "no refit to compare")
    if found.correlation < gate.min_correlation:
        message = (
            f"the released model ranks {found.rows} entities with a correlation of {found.correlation:.3f} to the judged one; "
            f"below the limit of {gate.min_correlation:.4g}."
        )
        limit = float(gate.min_correlation)
        return GateResult(gate=name, passed=False, observed=found.correlation, limit=limit, message=message)
    seen = (
        f"the released model ranks {found.rows} entities with a correlation of {found.correlation:.3f} to the judged one, "
        f"its mean score {found.shift:.2f} standard deviations away"
    )
    if found.shift <= gate.max_shift:
        message = f"{seen}; within the limits of {gate.min_correlation:.4g} and {gate.max_shift:.4g}."
        limit = float(gate.min_correlation)
        return GateResult(gate=name, passed=True, observed=found.correlation, limit=limit, message=message)
    return _at_most(name, found.shift, gate.max_shift, seen)


def _judge_movers(name: str, evidence: Evidence, gate: BiggestMovers) -> GateResult:
    if not evidence.rank_moves:
        return _nothing_live(name, evidence, gate.max_jump)
    place = (len(evidence.rank_moves) - 1) * max(0.0, 1 - gate.share)
    below = int(place)
    above = min(below + 1, len(evidence.rank_moves) - 1)
    moves = evidence.rank_moves
    moved = moves[below] + (moves[above] - moves[below]) * (place - below)
    seen = f"the {gate.share:.0%} that moved most changed place by {moved:.0%} of the table or more"
    return _at_most(name, moved, gate.max_jump, seen)


def _judge_population(name: str, evidence: Evidence, limit: float) -> GateResult:
    if not evidence.live_rows:
        return _nothing_live(name, evidence, limit)
    change = abs(math.log(evidence.rows / evidence.live_rows)) if evidence.rows else math.inf
    return _at_most(name, change, limit, f"{evidence.rows} rows after {evidence.live_rows} in the live version")


def _worst_feature(name: str, features: Mapping[str, float], limit: float, words: str) -> GateResult:
    if not features:
        return _passed(name, limit, "no feature to look at")
    worst = max(features, key=lambda feature: features[feature])
    return _at_most(name, features[worst], limit, f"'{worst}' {words.format(value=features[worst])}")


def _at_most(gate: str, observed: float, limit: float, seen: str) -> GateResult:
    passed = math.isfinite(observed) and observed <= limit
    message = f"{seen}; {'within' if passed else 'beyond'} the limit of {limit:.4g}."
    return GateResult(gate=gate, passed=passed, observed=_finite(observed), limit=float(limit), message=message)


def _passed(gate: str, limit: float, seen: str) -> GateResult:
    return GateResult(gate=gate, passed=True, observed=0.0, limit=float(limit), message=f"{seen}; passed.")


def _nothing_live(gate: str, evidence: Evidence, limit: float) -> GateResult:
    return _passed(gate, limit, evidence.apart or "nothing is live that it could be compared with")


def _finite(observed: float) -> float | None:
    return float(observed) if math.isfinite(observed) else None
