"""Whatever the hold-out policy: no row is trained on and predicted, and the gap of horizon and delay is kept."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import AlternatingMonths, FixedCutOffs, HoldOut, Label, Schedule
from batch_scoring.declare import HoldOutPolicy
from batch_scoring.errors import DeclarationError, NoData
from pipelines.training.folds import Block, in_block, in_window, judged_on, kept_apart, known, plan_blocks, to_moments

NEW_YORK = Schedule(every="day", at="04:00", timezone="America/New_York")
ZONE = ZoneInfo("America/New_York")
LABEL = Label(sql="label.sql", horizon=timedelta(days=2), delay=timedelta(days=1))
FIRST = date(2013, 1, 1)


def days_from(first: date, count: int) -> list[datetime]:
    return [NEW_YORK.as_of(first + timedelta(days=n)) for n in range(count)]


def local_days(events: np.ndarray, rows: np.ndarray) -> set[date]:
    return {moment.replace(tzinfo=UTC).astimezone(ZONE).date() for moment in events[rows].tolist()}


@st.composite
def policies(draw: st.DrawFn) -> HoldOutPolicy:
    match draw(st.sampled_from(["rolling", "alternating", "fixed"])):
        case "rolling":
            return HoldOut(days=draw(st.integers(1, 20)), folds=draw(st.integers(1, 5)))
        case "alternating":
            return AlternatingMonths(folds=draw(st.integers(1, 5)))
        case _:
            days = draw(st.integers(1, 20))
            gaps = draw(st.lists(st.integers(days, 60), min_size=1, max_size=6))
            starts = [FIRST + timedelta(days=draw(st.integers(0, 40)))]
            for gap in gaps:
                starts.append(starts[-1] + timedelta(days=gap))
            return FixedCutOffs(cutoffs=tuple(starts), days=days)


@given(policy=policies(), days=st.integers(1, 300), gaps=st.sets(st.integers(0, 299), max_size=40), late=st.integers(0, 9))
def test_no_row_is_trained_on_and_predicted_and_the_gap_is_kept(
    policy: HoldOutPolicy, days: int, gaps: set[int], late: int
) -> None:
    moments = [moment for n, moment in enumerate(days_from(FIRST, days)) if n not in gaps or n == 0]
    events = to_moments(moments)
    known_at = events + np.timedelta64(LABEL.matures_after, "us") + np.timedelta64(late, "h")
    try:
        blocks = plan_blocks(events, NEW_YORK, policy, LABEL)
    except NoData:  # too little history for this policy
        return
    inside = [in_block(events, block) for block in blocks]
    assert np.stack(inside).sum(axis=0).max() == 1
    assert [block.cutoff for block in blocks] == sorted((block.cutoff for block in blocks), reverse=True)
    for block, predicted in zip(blocks, inside, strict=True):
        trained = known(events, known_at, LABEL, block.cutoff) & ~kept_apart(events, block)
        assert predicted.any()
        assert not (trained & predicted).any()
        if trained.any():
            newest = events[trained].max().item().replace(tzinfo=UTC)
            assert newest + LABEL.horizon + LABEL.delay <= block.first
        if block is not blocks[0]:
            assert known(events, known_at, LABEL, blocks[0].cutoff)[judged_on(events, known_at, block)].all()
        if isinstance(policy, AlternatingMonths):
            assert not any((trained & other).any() for other in inside)


@given(days=st.integers(92, 400), folds=st.integers(1, 6))
def test_alternating_months_are_whole_and_every_second_one(days: int, folds: int) -> None:
    events = to_moments(days_from(FIRST, days))
    blocks = plan_blocks(events, NEW_YORK, AlternatingMonths(folds=folds), LABEL)
    held = [local_days(events, in_block(events, block)) for block in blocks]
    numbers = [min(month).year * 12 + min(month).month for month in held]
    newest = FIRST + timedelta(days=days)  # the month before it is the newest complete one
    assert numbers == list(range(newest.year * 12 + newest.month - 1, 0, -2))[: len(numbers)]
    for month in held:
        assert len({day.month for day in month}) == 1
        assert (max(month) + timedelta(days=1)).month != max(month).month
        assert min(month).day == 1
    assert len(blocks) == min(folds + 1, (numbers[0] - (FIRST.year * 12 + FIRST.month)) // 2 + 1)


def test_the_months_between_are_trained_on() -> None:
    events = to_moments(days_from(FIRST, 200))  # to 19 July: June is the hold-out, April and February are searched on
    known_at = events + np.timedelta64(LABEL.matures_after, "us")
    june, april, february = plan_blocks(events, NEW_YORK, AlternatingMonths(folds=3), LABEL)
    trained = known(events, known_at, LABEL, june.cutoff) & ~kept_apart(events, june)
    assert {day.month for day in local_days(events, trained)} == {1, 3, 5}
    assert {day.month for day in local_days(events, in_block(events, april) | in_block(events, february))} == {2, 4}


@given(day=st.integers(0, 100))
def test_fixed_cut_offs_stay_where_they_are_until_the_next_block_is_whole(day: int) -> None:
    policy = FixedCutOffs(cutoffs=(date(2013, 3, 4), date(2013, 4, 1), date(2013, 5, 6)), days=7)
    events = to_moments(days_from(FIRST, 98 + day))  # to 8 April and later: two blocks are whole
    blocks = plan_blocks(events, NEW_YORK, policy, LABEL)
    newest = FIRST + timedelta(days=97 + day)
    whole = [start for start in policy.cutoffs if start + timedelta(days=6) <= newest]
    assert [block.cutoff for block in blocks] == [NEW_YORK.as_of(start) for start in reversed(whole)]
    assert all(in_block(events, block).sum() == 7 for block in blocks)


def test_fixed_cut_offs_that_are_not_covered_say_until_when_labels_are_missing() -> None:
    policy = FixedCutOffs(cutoffs=(date(2013, 3, 4), date(2013, 4, 1)), days=7)
    with pytest.raises(NoData, match=r"expected every day until 2013-04-07, 7 days after the second cut-off"):
        plan_blocks(to_moments(days_from(FIRST, 90)), NEW_YORK, policy, LABEL)


def test_months_that_are_not_covered_are_asked_for() -> None:
    with pytest.raises(NoData, match="expected three complete months of known labels"):
        plan_blocks(to_moments(days_from(FIRST, 80)), NEW_YORK, AlternatingMonths(), LABEL)


def test_blocks_that_overlap_are_refused_where_they_are_declared() -> None:
    with pytest.raises(DeclarationError, match=r"FixedCutOffs\.cutoffs: expected ascending days, 7 or more apart"):
        FixedCutOffs(cutoffs=(date(2013, 3, 4), date(2013, 3, 8)))
    with pytest.raises(DeclarationError, match=r"FixedCutOffs\.cutoffs"):
        FixedCutOffs(cutoffs=(date(2013, 3, 4),))


def test_nothing_is_kept_apart_under_a_rolling_hold_out() -> None:
    events = to_moments(days_from(FIRST, 60))
    blocks: tuple[Block, ...] = plan_blocks(events, NEW_YORK, HoldOut(), LABEL)
    assert not kept_apart(events, blocks[0]).any()
    assert in_window(events, LABEL, blocks[0].cutoff, "all").all()
