"""Which rows may be seen when: cut-offs, windows and out-of-time blocks. Pure, on event times alone.

    past ──────────────────────────────────────────────────────────▶ as-of
         … training …  │ fold 3 │ fold 2 │ fold 1 │ hold-out │ labels not yet known │
                       ▲ a fold's model sees only labels known at the start of its block

The gap between a fold's last training row and its block is at least horizon + delay: the labels in between were not
known when the block began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from batch_scoring.declare import HoldOut, Label, Schedule, Window
from batch_scoring.errors import NoData

if TYPE_CHECKING:
    import numpy.typing as npt

    Moments = npt.NDArray[np.datetime64]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Examples that are predicted together, as of one cut-off.

    Attributes:
        fold: 0 is the final hold-out, 1 the search block just before it, and so on.
        cutoff: the first as-of in the block; labels known by then may be trained on.
        first, last: event times of the first and last examples in it.
    """

    fold: int
    cutoff: datetime
    first: datetime
    last: datetime


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
    if window == "all":
        return np.ones(len(events), dtype=bool)
    oldest = _naive_utc(cutoff) - label.matures_after - timedelta(days=window)
    return events > np.datetime64(oldest, "us")


def plan_blocks(events: Moments, schedule: Schedule, holdout: HoldOut) -> tuple[Block, ...]:
    """The hold-out and the search blocks before it, newest first.

    Blocks are counted in local days of the schedule, so a day with 23 or 25 hours is still one day.

    Args:
        events: event times of the examples whose labels are known now, ``datetime64[us]`` UTC; need not be sorted.

    Raises:
        NoData: fewer than the hold-out and one search block are covered.
    """
    zone = ZoneInfo(schedule.timezone)
    by_day: dict[date, list[datetime]] = {}
    for moment in np.unique(events).tolist():
        aware = moment.replace(tzinfo=ZoneInfo("UTC"))
        by_day.setdefault(aware.astimezone(zone).date(), []).append(aware)
    if not by_day:
        raise NoData("training examples", expected="at least one known label", found="none", fix="Ingest more history.")
    newest = max(by_day)
    blocks = []
    for fold in range(holdout.folds + 1):
        end = newest - timedelta(days=fold * holdout.days)
        start = end - timedelta(days=holdout.days)
        moments = sorted(moment for day, at in by_day.items() if start < day <= end for moment in at)
        if moments:
            blocks.append(Block(fold=fold, cutoff=moments[0], first=moments[0], last=moments[-1]))
    if len(blocks) < 2:
        raise NoData(
            "training examples",
            expected=f"more than {2 * holdout.days} days of known labels, for a hold-out and a search block",
            found=f"{len(by_day)} day{'s' if len(by_day) != 1 else ''}, {min(by_day)} to {newest}",
            fix="Choose a later as-of, or ingest more history.",
        )
    return tuple(blocks)


def in_block(events: Moments, block: Block) -> Mask:
    """The examples of a block."""
    first, last = (np.datetime64(_naive_utc(moment), "us") for moment in (block.first, block.last))
    return (events >= first) & (events <= last)


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
