"""Gates say what they saw, and fail on exactly the other side of their limit."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import BeatsBaseline, ContributionsSum, NotWorseThanLive, ScoreShift
from batch_scoring.gates import Evidence, default_gates, gate_names, judge

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
        ({"rows": 101, "duplicates": 1}, "unique_keys"),
        ({"invalid_scores": 1}, "valid_scores"),
        ({"contributions_error": 0.1}, "contributions_sum"),
        ({"contributions_error": math.inf}, "contributions_sum"),
        ({"loss": 0.55}, "beats_baseline"),
        ({"loss": math.nan}, "beats_baseline"),
        ({"live_loss": 0.4}, "not_worse_than_live"),
        ({"score_psi": 1.1}, "score_shift"),
    ],
)
def test_each_fault_trips_its_own_gate(changes: dict[str, Any], gate: str) -> None:
    assert gate in failed(replace(GOOD, **changes))


def test_a_missing_row_hidden_by_a_stranger_is_still_seen() -> None:
    assert failed(replace(GOOD, matched=99)) == ["row_count"]


def test_a_first_version_has_nothing_to_be_compared_with_and_says_so() -> None:
    results = {result.gate: result for result in judge(replace(GOOD, live_loss=None, score_psi=None), default_gates())}
    assert results["not_worse_than_live"].passed
    assert "nothing is live" in results["score_shift"].message


def test_integrity_is_judged_even_when_it_is_not_declared() -> None:
    assert failed(replace(GOOD, invalid_scores=3), (BeatsBaseline(),)) == ["valid_scores"]


def test_the_names_of_the_results_are_known_before_the_run() -> None:
    gates = (ScoreShift(), ContributionsSum())
    assert gate_names(gates) == tuple(result.gate for result in judge(GOOD, gates))
    assert gate_names(gates)[:2] == ("score_shift", "contributions_sum")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_limit_is_inclusive_for_harm_and_exclusive_for_gain(ours: float, theirs: float, margin: float) -> None:
    evidence = replace(GOOD, loss=ours, baseline_loss=theirs, live_loss=theirs)
    bad = failed(evidence, (BeatsBaseline(margin=margin), NotWorseThanLive(margin=margin)))
    assert ("beats_baseline" in bad) == (not theirs - ours > margin)
    assert ("not_worse_than_live" in bad) == (not ours - theirs <= margin)


def test_what_could_not_be_computed_is_null_and_fails() -> None:
    results = judge(replace(GOOD, loss=math.nan), (BeatsBaseline(),))
    assert (results[0].passed, results[0].observed) == (False, None)
