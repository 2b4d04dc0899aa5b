"""Which rows may be seen when: cut-offs, windows and out-of-time blocks. Pure, on event times alone.

    past ──────────────────────────────────────────────────────────▶ as-of
         … training …  │ fold 3 │ fold 2 │ fold 1 │ gap │ hold-out │ labels not yet known │
                       ▲ a fold's model sees only labels known at the start of its block

The gap between a fold's last training row and its block is at least horizon + delay: the labels in between were not
known when the block began. The search blocks end so long before the hold-out for the same reason: recipe, calibration,
threshold and bar are chosen by their labels, and a choice may know no more at the hold-out's cut-off than a fit. Where the
blocks lie is the table's hold-out policy; under alternating months the blocks are also kept out of the training of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, assert_never
from zoneinfo import ZoneInfo

import numpy as np

from batch_scoring.declare import (
    AlternatingMonths,
    FixedCutOffs,
    HoldOut,
    HoldOutPolicy,
    Label,
    Sampled,
    Schedule,
    Window,
)
from batch_scoring.errors import NoData

if TYPE_CHECKING:
    import numpy.typing as npt

    Moments = npt.NDArray[np.datetime64]
    Mask = npt.NDArray[np.bool_]

Span = tuple[date, date]
"""Local days, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Examples that are predicted together, as of one cut-off.

    Attributes:
        fold: 0 is the final hold-out, 1 the search block just before it, and so on.
        cutoff: the first as-of in the block; labels known by then may be trained on.
        first, last: event times of the first and last examples in it.
        apart: first and last event times of every block that no model judged on this one may be trained on.
        known_by: of a search block, the hold-out's cut-off: a row whose label was not known by then counts for nothing.
    """

    fold: int
    cutoff: datetime
    first: datetime
    last: datetime
    apart: tuple[tuple[datetime, datetime], ...] = ()
    known_by: datetime | None = None


def to_moments(values: list[datetime]) -> Moments:
    """Aware datetimes as ``datetime64[us]`` in UTC."""
    return np.array([_naive_utc(value) for value in values], dtype="datetime64[us]")


def known(events: Moments, known_at: Moments, label: Label, cutoff: datetime) -> Mask:
    """The examples whose label is both promised and seen to be known at the cut-off.

    Args:
        events: event time of each example, ``datetime64[us]`` UTC, shape ``(n,)``. known_at: when its label was known.
        cutoff: aware moment.
    """
    moment = np.datetime64(_naive_utc(cutoff), "us")
    promised = events + np.timedelta64(label.matures_after, "us") <= moment
    return promised & (known_at <= moment)


def in_window(events: Moments, label: Label, cutoff: datetime, window: Window) -> Mask:
    """The examples that fall into the last ``window`` days before the newest label that can be known at the cut-off."""
    if isinstance(window, Sampled):
        return in_window(events, label, cutoff, window.window)
    if window == "all":
        return np.ones(len(events), dtype=bool)
    oldest = _naive_utc(cutoff) - label.matures_after - timedelta(days=window)
    return events > np.datetime64(oldest, "us")


def kept_apart(events: Moments, block: Block) -> Mask:
    """The examples that no model judged on the block may be trained on, whenever their labels became known."""
    apart = np.zeros(len(events), dtype=bool)
    for first, last in block.apart:
        apart |= _between(events, first, last)
    return apart


def plan_blocks(events: Moments, schedule: Schedule, policy: HoldOutPolicy, label: Label) -> tuple[Block, ...]:
    """The hold-out and the search blocks before it, newest first.

    Blocks are counted in local days of the schedule, so a day with 23 or 25 hours is still one day. Search blocks hold no
    moment whose label is promised for later than the hold-out's cut-off; rolling ones lie before all of these.

    Args:
        events: event times of the examples whose labels are known now, ``datetime64[us]`` UTC; need not be sorted.

    Raises:
        NoData: fewer than the hold-out and one search block are covered.
    """
    by_day = _by_local_day(events, ZoneInfo(schedule.timezone))
    if not by_day:
        raise NoData("training examples", expected="at least one known label", found="none", fix="Ingest more history.")
    blocks = _blocks(by_day, policy, label)
    if len(blocks) < 2:
        raise NoData(
            "training examples",
            expected=f"{_wanted(policy, label)} of known labels, for a hold-out and a search block",
            found=f"{len(by_day)} day{'s' if len(by_day) != 1 else ''}, {min(by_day)} to {max(by_day)}",
            fix="Choose a later as-of, or ingest more history.",
        )
    if isinstance(policy, AlternatingMonths):
        apart = tuple((block.first, block.last) for block in blocks)
        blocks = tuple(replace(block, apart=apart) for block in blocks)
    return blocks


def _blocks(by_day: Mapping[date, list[datetime]], policy: HoldOutPolicy, label: Label) -> tuple[Block, ...]:
    """The hold-out, and the search blocks of what was known when it began; blocks that hold nothing are left out."""
    spans = _spans(policy, min(by_day), max(by_day))
    holdout = _block(0, _moments(by_day, spans[0])) if spans else None
    if holdout is None:
        return ()
    settled = {day: at for day, at in by_day.items() if max(at) + label.matures_after <= holdout.cutoff}
    if isinstance(policy, HoldOut) and settled:
        spans = [spans[0], *_rolling(max(settled), policy.days, policy.folds)]
    searched = (_block(fold, _moments(settled, span)) for fold, span in enumerate(spans[1:], start=1))
    return (holdout, *(replace(block, known_by=holdout.cutoff) for block in searched if block is not None))


def _block(fold: int, moments: list[datetime]) -> Block | None:
    return Block(fold=fold, cutoff=min(moments), first=min(moments), last=max(moments)) if moments else None


def _moments(by_day: Mapping[date, list[datetime]], span: Span) -> list[datetime]:
    first, last = span
    return [moment for day, at in by_day.items() if first <= day <= last for moment in at]


def _rolling(newest: date, days: int, count: int) -> list[Span]:
    """Spans that follow each other without a gap, newest first; the first one ends on ``newest``."""
    ends = [newest - timedelta(days=number * days) for number in range(count)]
    return [(end - timedelta(days=days - 1), end) for end in ends]


def _spans(policy: HoldOutPolicy, oldest: date, newest: date) -> list[Span]:
    """Where blocks may lie, newest first, given the local days of the oldest and the newest known label.

    Of a rolling policy the hold-out alone: how far before it the others lie depends on the label.
    """
    match policy:
        case HoldOut(days=days):
            return _rolling(newest, days, 1)
        case AlternatingMonths(folds=folds):
            last = (newest + timedelta(days=1)).replace(day=1)  # the month before this day is complete
            months = [_months_before(last, 1 + 2 * fold) for fold in range(folds + 1)]
            return [(first, _months_before(first, -1) - timedelta(days=1)) for first in months if first >= oldest.replace(day=1)]
        case FixedCutOffs(cutoffs=cutoffs, days=days):
            blocks = [(first, first + timedelta(days=days - 1)) for first in reversed(cutoffs)]
            return [(first, last) for first, last in blocks if last <= newest]
        case _:
            assert_never(policy)


def _wanted(policy: HoldOutPolicy, label: Label) -> str:
    match policy:
        case HoldOut(days=days):
            return f"more than {2 * days + label.matures_after.days} days"
        case AlternatingMonths():
            return "three complete months"
        case FixedCutOffs(cutoffs=cutoffs, days=days):
            return f"every day until {cutoffs[1] + timedelta(days=days - 1)}, {days} days after the second cut-off,"
        case _:
            assert_never(policy)


def _by_local_day(events: Moments, zone: ZoneInfo) -> dict[date, list[datetime]]:
    by_day: dict[date, list[datetime]] = {}
    for moment in np.unique(events).tolist():
        aware = moment.replace(tzinfo=ZoneInfo("UTC"))
        by_day.setdefault(aware.astimezone(zone).date(), []).append(aware)
    return by_day


def _months_before(first: date, months: int) -> date:
    """The first of the month so many months earlier."""
    years, month = divmod(first.year * 12 + first.month - 1 - months, 12)
    return date(years, month + 1, 1)


def _between(events: Moments, first: datetime, last: datetime) -> Mask:
    return (events >= np.datetime64(_naive_utc(first), "us")) & (events <= np.datetime64(_naive_utc(last), "us"))


def in_block(events: Moments, block: Block) -> Mask:
    """The examples of a block."""
    return _between(events, block.first, block.last)


def judged_on(events: Moments, known_at: Moments, block: Block) -> Mask:
    """The examples of a block by which something may be chosen or judged: not those that were known too late for that."""
    rows = in_block(events, block)
    return rows if block.known_by is None else rows & (known_at <= np.datetime64(_naive_utc(block.known_by), "us"))


def to_aware(moment: np.datetime64) -> datetime:
    """A moment of :data:`Moments` as an aware datetime."""
    value: datetime = moment.astype("datetime64[us]").item()
    return value.replace(tzinfo=ZoneInfo("UTC"))


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
