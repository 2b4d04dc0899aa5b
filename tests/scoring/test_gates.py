"""Gates say what they saw, and fail on exactly the other side of their limit."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from batch_scoring import BeatsBaseline, ContributionsSum, NotWorseThanLive, ScoreShift
from batch_scoring.errors import DeclarationError
from batch_scoring.gates import (
    Calibrated,
    Evidence,
    FairGroups,
    Group,
    ImportanceJump,
    MetricLimit,
    Segment,
    SegmentsHold,
    Staleness,
    SuspiciouslyGood,
    Waiver,
    default_gates,
    gate_names,
    gate_severities,
    judge,
    with_defaults,
)
from batch_scoring.gates.bounds import lower_bound, student_quantile, upper_bound
from batch_scoring.measured import Measured, Paired

EVEN = Paired(mean=0.0, error=0.01, clusters=30)


def segment(worse: float, *, error: float = 0.0, rows: int = 500, column: str = "origin", value: str = "EWR") -> Segment:
    """A segment whose loss is worse than live's 0.5 by so much."""
    return Segment(
        column=column,
        value=value,
        rows=rows,
        against="live",
        reference=0.5,
        excess=Paired(mean=worse, error=error, clusters=50),
    )


def group(value: str, recall: float | None, rows: int = 500) -> Group:
    return Group(
        column="sex",
        value=value,
        rows=rows,
        selection_rate=0.3,
        recall=recall,
        precision=0.5,
        false_positive_rate=0.1,
        loss=0.5,
    )


GOOD = Evidence(
    population=100,
    rows=100,
    matched=100,
    duplicates=0,
    invalid_scores=0,
    contributions_error=1e-6,
    loss=0.50,
    baseline_loss=0.55,
    live_loss=0.50,
    score_psi=0.05,
    baseline="trailing mean",
    gain=Paired(mean=0.05, error=0.01, clusters=30),
    excess=EVEN,
    segments=(segment(0.001),),
    metrics=(Measured(name="ece", value=0.02, low=0.01, high=0.04), Measured(name="cost", value=3.0)),
    score_distance=0.1,
    rank_moves=(0.0, 0.1, 0.2),
    live_rows=95,
    importance={"a": 0.6, "b": 0.4},
    live_importance={"a": 0.5, "b": 0.5},
    new_nulls={"a": 0.01, "b": -0.1},
    out_of_range={"a": 0.0},
    label_age=0.0,
)


def failed(evidence: Evidence, gates: Any = None) -> list[str]:
    return [result.gate for result in judge(evidence, gates or default_gates()) if not result.passed]


def test_a_good_run_passes_every_gate() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"rows": 99, "matched": 99}, "row_count"),
        ({"population": 99, "matched": 99}, "row_count"),
        ({"matched": 99}, "row_count"),  # a missing row, hidden by a stranger
        ({"rows": 101, "duplicates": 1}, "unique_keys"),
        ({"invalid_scores": 1}, "valid_scores"),
        ({"contributions_error": 0.1}, "contributions_sum"),
        ({"contributions_error": math.inf}, "contributions_sum"),
        ({"loss": 0.60, "gain": Paired(mean=-0.05, error=0.01, clusters=30)}, "beats_baseline"),
        ({"loss": 0.56, "gain": None}, "beats_baseline"),
        ({"gain": Paired(mean=math.nan, error=0.01, clusters=30)}, "beats_baseline"),
        ({"live_loss": 0.4, "excess": Paired(mean=0.1, error=0.01, clusters=30)}, "not_worse_than_live"),
        ({"segments": (segment(0.0), segment(0.3, error=0.01))}, "segments_hold"),
        ({"metrics": (Measured(name="ece", value=0.3, low=0.2, high=0.4),)}, "calibrated"),
        ({"loss": 0.05}, "suspiciously_good"),
        ({"metrics": (Measured(name="auc", value=1.0),)}, "suspiciously_good"),
        ({"importance": {"a": 0.9, "b": 0.1}}, "importance_jump"),
        ({"importance": {"a": 0.1, "b": 0.1, "leak": 0.8}}, "importance_jump"),
        ({"score_psi": 1.1}, "score_shift"),
        ({"score_distance": 3.5}, "score_distance"),
        ({"rank_moves": (0.0, 0.5, 1.0)}, "biggest_movers"),
        ({"live_rows": 300}, "population_change"),
        ({"live_rows": 30}, "population_change"),
        ({"new_nulls": {"a": 0.0, "b": 1.0}}, "feature_coverage"),
        ({"out_of_range": {"a": 0.9}}, "feature_range"),
        ({"label_age": 7.5}, "staleness"),
        ({"label_age": None}, "staleness"),
    ],
)
def test_each_fault_trips_its_own_gate_and_no_other(changes: dict[str, Any], gate: str) -> None:
    assert failed(replace(GOOD, **changes)) == [gate]


def test_a_first_version_has_nothing_to_be_compared_with_and_says_so() -> None:
    first = replace(
        GOOD, live_loss=None, excess=None, score_psi=None, score_distance=None, rank_moves=(), live_rows=None, live_importance={}
    )
    results = {result.gate: result for result in judge(first, default_gates())}
    assert all(result.passed for result in results.values())
    for gate in ("not_worse_than_live", "score_shift", "score_distance", "biggest_movers", "population_change"):
        assert "nothing is live" in results[gate].message


def test_a_first_version_must_beat_the_baseline_itself_and_a_later_one_only_could() -> None:
    unlucky = replace(GOOD, loss=0.56, gain=Paired(mean=-0.01, error=0.02, clusters=7))
    (later, *_) = judge(unlucky, (BeatsBaseline(),))
    assert later.passed
    assert "a gain of -0.0100, at most 0.0289 at 95% confidence; within chance of more than the required 0.0055." in later.message
    first = replace(unlucky, live_loss=None, excess=None)
    (refused, *_) = judge(first, (BeatsBaseline(),))
    assert (refused.passed, refused.observed, refused.limit) == (False, pytest.approx(-0.01), 0.0)
    assert refused.message.endswith("with nothing live to stay with, it must be above 0 itself.")
    assert judge(replace(first, loss=0.549), (BeatsBaseline(),))[0].passed


def test_a_leap_of_importance_only_warns_while_nothing_is_live() -> None:
    lopsided = replace(GOOD, importance={"a": 0.9, "b": 0.1})
    assert judge(lopsided, (ImportanceJump(),))[0].verdict == "fail"
    (first, *_) = judge(replace(lopsided, live_importance={}), (ImportanceJump(),))
    assert first.verdict == "warn"
    assert "against an equal share of 50%" in first.message


def test_a_table_of_numbers_is_suspicious_by_the_root_of_its_loss() -> None:
    tenth = replace(GOOD, loss=0.055)  # of the squared loss, a third of its root
    assert not judge(tenth, (SuspiciouslyGood(),))[0].passed
    (result, *_) = judge(replace(tenth, squared=True), (SuspiciouslyGood(),))
    assert result.passed
    assert result.observed == pytest.approx(1 - 0.1**0.5)


def test_a_reshuffled_table_is_a_leap_of_places() -> None:
    moved = np.abs(np.subtract(*np.random.default_rng(0).random((2, 20_000))))  # every place drawn anew
    percentiles = tuple(np.quantile(moved, np.linspace(0, 1, 101)).tolist())
    assert failed(replace(GOOD, rank_moves=percentiles)) == ["biggest_movers"]


def test_integrity_is_judged_even_when_it_is_not_declared() -> None:
    assert failed(replace(GOOD, invalid_scores=3), (BeatsBaseline(),)) == ["valid_scores"]


def test_the_names_of_the_results_are_known_before_the_run() -> None:
    gates = (ScoreShift(), ContributionsSum(), MetricLimit(metric="PR-AUC", at_least=0.2), FairGroups(by=("sex",)))
    names = gate_names(gates)
    assert names == tuple(result.gate for result in judge(GOOD, gates))
    assert names[:4] == ("score_shift", "contributions_sum", "metric_pr_auc_at_least", "fair_groups_recall")


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0, 0.5))
def test_a_limit_is_inclusive_for_harm_and_exclusive_for_gain(ours: float, theirs: float, margin: float) -> None:
    evidence = replace(GOOD, loss=ours, baseline_loss=theirs, live_loss=theirs, gain=None, excess=None)
    bad = failed(evidence, (BeatsBaseline(margin=margin), NotWorseThanLive(margin=margin)))
    assert ("beats_baseline" in bad) == (not theirs - ours > margin * theirs)
    assert ("not_worse_than_live" in bad) == (not ours - theirs <= margin * theirs)


@given(st.floats(-1, 1), st.floats(0, 1), st.integers(2, 100), st.floats(0.5, 0.999))
def test_more_confidence_refuses_less(mean: float, error: float, clusters: int, confidence: float) -> None:
    difference = Paired(mean=mean, error=error, clusters=clusters)
    assert lower_bound(difference, confidence) <= mean + 1e-9
    assert upper_bound(difference, confidence) >= mean - 1e-9


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 6, 13, 29, 999])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95, 0.975, 0.99])
def test_students_quantile_is_scipys_within_one_in_a_hundred(freedom: int, share: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(student.ppf(share, freedom), rel=0.01, abs=1e-9)


def test_one_cluster_proves_nothing() -> None:
    alone = Paired(mean=0.3, error=0.0, clusters=1)
    assert lower_bound(alone, 0.95) == -math.inf
    assert lower_bound(alone, 0.5) == 0.3


def test_a_small_segment_is_not_looked_at() -> None:
    assert failed(replace(GOOD, segments=(segment(0.4, rows=199),)), (SegmentsHold(min_rows=200),)) == []


def test_the_more_segments_there_are_the_surer_each_must_be() -> None:
    doubtful = segment(0.1, error=0.03)
    many = tuple(segment(0.0, error=0.03, value=f"v{n}") for n in range(40))
    assert failed(replace(GOOD, segments=(doubtful,)), (SegmentsHold(),)) == ["segments_hold"]
    assert failed(replace(GOOD, segments=(doubtful, *many)), (SegmentsHold(),)) == []


def test_a_segment_the_wrong_way_round_is_named_whatever_its_loss() -> None:
    turned = replace(segment(0.0), inverted=Paired(mean=0.15, error=0.02, clusters=7))
    (result, *_) = judge(replace(GOOD, segments=(segment(0.0, value="JFK"), turned)), (SegmentsHold(),))
    assert not result.passed
    assert "origin = EWR" in result.message
    doubtful = replace(turned, inverted=Paired(mean=0.02, error=0.02, clusters=7))
    assert judge(replace(GOOD, segments=(doubtful,)), (SegmentsHold(),))[0].passed


def test_fairness_compares_the_extremes_of_large_groups_and_null_is_a_group() -> None:
    gate = FairGroups(by=("sex",), measure="recall", most=0.2, min_rows=100)
    unequal = (group("f", 0.7), group("m", 0.8), group("null", 0.4), group("x", 0.0, rows=50), group("y", None))
    (result, *_) = judge(replace(GOOD, groups=unequal), (gate,))
    assert not result.passed
    assert result.observed == pytest.approx(0.4)
    assert "sex = null" in result.message
    assert "sex = m" in result.message
    assert judge(replace(GOOD, groups=unequal[:2]), (gate,))[0].passed


def test_a_gate_that_warns_is_shown_and_stops_nothing() -> None:
    (result, *_) = judge(replace(GOOD, label_age=99.0), (Staleness(severity="warn"),))
    assert (result.passed, result.verdict, result.stops) == (False, "warn", False)
    assert gate_severities((Staleness(severity="warn"),))["staleness"] == "warn"


def test_a_waived_gate_keeps_its_verdict_and_the_reason() -> None:
    waiver = Waiver(gate="score_shift", reason="a storm, seen on the radar")
    (result, *_) = judge(replace(GOOD, score_psi=9.0), (ScoreShift(),), (waiver,))
    assert (result.passed, result.verdict, result.stops) == (False, "waived", False)
    assert result.waived == "a storm, seen on the radar"


def test_a_waiver_leaves_no_trace_on_a_gate_that_passes() -> None:
    (result, *_) = judge(GOOD, (ScoreShift(),), (Waiver(gate="score_shift", reason="in case"),))
    assert (result.verdict, result.waived) == ("pass", "")


@pytest.mark.parametrize("gate", ["valid_scores", "row_count", "no_such_gate"])
def test_integrity_and_what_is_not_there_cannot_be_waived(gate: str) -> None:
    with pytest.raises(DeclarationError, match=f"waiver of '{gate}'"):
        judge(GOOD, default_gates(), (Waiver(gate=gate, reason="please"),))


def test_a_metric_is_held_to_its_bound_a_business_metric_too() -> None:
    gates = (
        MetricLimit(metric="cost", at_most=2.0),
        MetricLimit(metric="cost", at_least=2.0),
        MetricLimit(metric="x", at_most=1),
    )
    worst, fine, unknown, *_ = judge(GOOD, gates)
    assert (worst.passed, fine.passed, unknown.passed) == (False, True, False)
    assert unknown.observed is None
    assert "ece, cost" in unknown.message


def test_tuned_gates_take_the_place_of_their_defaults() -> None:
    tuned = with_defaults(Staleness(max_age=timedelta(days=30)), MetricLimit(metric="auc", at_least=0.6))
    assert len(tuned) == len(default_gates()) + 1
    assert Staleness(max_age=timedelta(days=30)) in tuned
    assert Staleness() not in tuned


def test_what_could_not_be_computed_is_null_and_fails() -> None:
    results = judge(replace(GOOD, loss=math.nan, gain=None), (BeatsBaseline(),))
    assert (results[0].passed, results[0].observed) == (False, None)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Staleness(severity="loud"), "Staleness.severity"),  # type: ignore[arg-type]
        (lambda: Staleness(max_age=timedelta(days=-1)), "Staleness.max_age"),
        (lambda: NotWorseThanLive(confidence=1.0), "NotWorseThanLive.confidence"),
        (lambda: BeatsBaseline(confidence=0.4), "BeatsBaseline.confidence"),
        (lambda: MetricLimit(metric="auc"), "MetricLimit.at_most"),
        (lambda: MetricLimit(metric="auc", at_most=1, at_least=0), "MetricLimit.at_most"),
        (lambda: FairGroups(by=()), "FairGroups.by"),
        (lambda: Calibrated(max_error=math.nan), "Calibrated.max_error"),
    ],
)
def test_a_gate_that_cannot_work_names_its_field(make: Any, field: str) -> None:
    with pytest.raises(DeclarationError) as error:
        make()
    assert error.value.subject == field
