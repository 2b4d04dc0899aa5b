"""Nothing is trained on before it was known."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import HoldOut, Label, Schedule
from batch_scoring.errors import NoData
from pipelines.training.folds import in_block, in_window, judged_on, known, plan_blocks, to_moments

NEW_YORK = Schedule(every="day", at="04:00", timezone="America/New_York")
LABEL = Label(sql="label.sql", horizon=timedelta(days=1), delay=timedelta(days=1))


def days_from(first: date, count: int) -> list[datetime]:
    return [NEW_YORK.as_of(first + timedelta(days=n)) for n in range(count)]


def test_a_label_is_used_only_when_promised_and_seen_to_be_known() -> None:
    events = days_from(date(2013, 6, 1), 3)
    late = [events[0] + timedelta(days=5), events[1] + timedelta(hours=30), events[2] + timedelta(hours=30)]
    cutoff = events[1] + LABEL.matures_after
    seen = known(to_moments(events), to_moments(late), LABEL, cutoff)
    assert seen.tolist() == [False, True, False]


@given(
    first=st.dates(date(2012, 1, 1), date(2014, 12, 31)),
    days=st.integers(20, 60),
    holdout_days=st.integers(1, 9),
    folds=st.integers(1, 4),
)
def test_blocks_are_disjoint_ordered_and_never_see_their_own_future(
    first: date, days: int, holdout_days: int, folds: int
) -> None:
    events = to_moments(days_from(first, days))
    blocks = plan_blocks(events, NEW_YORK, HoldOut(days=holdout_days, folds=folds), LABEL)
    zone = ZoneInfo("America/New_York")
    for newer, older in itertools.pairwise(blocks):
        assert older.last < newer.first
    for block in blocks:
        inside = in_block(events, block)
        assert 1 <= inside.sum() <= holdout_days
        assert block.cutoff == block.first
        span = block.last.astimezone(zone).date() - block.first.astimezone(zone).date()
        assert span.days < holdout_days
        # Labels become known exactly when promised: the newest trained row matures no later than the cut-off.
        trained = known(events, events + np.timedelta64(LABEL.matures_after, "us"), LABEL, block.cutoff)
        assert not (trained & inside).any()
        if trained.any():
            newest = events[trained].max().item().replace(tzinfo=UTC)
            assert newest + LABEL.matures_after <= block.cutoff
    for block in blocks[1:]:  # a choice knows no more than a fit: every label it is made by was promised by the hold-out
        chosen_by = in_block(events, block)
        assert known(events, events + np.timedelta64(LABEL.matures_after, "us"), LABEL, blocks[0].cutoff)[chosen_by].all()
    assert blocks[0].last == days_from(first, days)[-1]
    assert [block.fold for block in blocks] == sorted(block.fold for block in blocks)


def test_a_block_across_the_clock_change_still_has_seven_local_days() -> None:
    events = to_moments(days_from(date(2013, 2, 1), 45))  # 10 March 2013 has 23 hours in New York
    blocks = plan_blocks(events, NEW_YORK, HoldOut(days=7, folds=3), LABEL)
    assert [int(in_block(events, block).sum()) for block in blocks] == [7, 7, 7, 7]


@given(horizon=st.integers(1, 40), delay=st.integers(0, 9), holdout_days=st.integers(1, 14), late=st.integers(0, 2000))
def test_no_label_that_a_choice_is_made_by_was_unknown_when_the_hold_out_began(
    horizon: int, delay: int, holdout_days: int, late: int
) -> None:
    label = Label(sql="label.sql", horizon=timedelta(days=horizon), delay=timedelta(days=delay))
    events = to_moments(days_from(date(2013, 1, 1), 150))
    known_at = events + np.timedelta64(label.matures_after, "us")
    known_at[::7] += np.timedelta64(late, "h")  # every seventh is seen later than promised
    holdout, *searched = plan_blocks(events, NEW_YORK, HoldOut(days=holdout_days, folds=3), label)
    chosen_by = [judged_on(events, known_at, block) for block in searched]
    assert len(searched) == 3
    for rows, block in zip(chosen_by, searched, strict=True):
        assert in_block(events, block).sum() == holdout_days
        assert (known_at[rows] <= np.datetime64(holdout.cutoff.replace(tzinfo=None))).all()
        assert not (rows & judged_on(events, known_at, holdout)).any()
    assert judged_on(events, known_at, holdout).sum() == holdout_days
    # Windows of outcomes that overlap the hold-out's are the ones left out: the newest block ends where they begin.
    newest = max(moment for moment in days_from(date(2013, 1, 1), 150) if moment + label.matures_after <= holdout.cutoff)
    assert searched[0].last == newest


def test_a_window_counts_days_back_from_the_newest_label_that_can_be_known() -> None:
    events = days_from(date(2013, 6, 1), 30)
    cutoff = events[-1] + LABEL.matures_after
    inside = in_window(to_moments(events), LABEL, cutoff, 14)
    assert inside.sum() == 14
    assert inside[-14:].all()
    assert in_window(to_moments(events), LABEL, cutoff, "all").all()


def test_too_little_history_is_refused_with_the_days_it_covers() -> None:
    with pytest.raises(NoData, match=r"found 3 days, 2013-06-01 to 2013-06-03\. Choose a later as-of"):
        plan_blocks(to_moments(days_from(date(2013, 6, 1), 3)), NEW_YORK, HoldOut(days=7, folds=3), LABEL)
