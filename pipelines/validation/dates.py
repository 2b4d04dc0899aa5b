"""Do the dates of a column make sense? Pure: counts per day in, numbers out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

_ENOUGH = 30
_SENTINELS = (date(1970, 1, 1), date(1900, 1, 1))
"""Days that stand for "no date" in many systems: the first of Unix time and of spreadsheets."""
_ANCIENT = date(1900, 1, 1)
_FEW_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """The days of a column.

    Attributes:
        counts: (day, rows), ascending by day.
        falls, rises: neighbouring rows whose day is earlier, or later, than the one before it.
        swapped_falls, swapped_rises: the same with day and month swapped wherever both are at most 12.
    """

    counts: tuple[tuple[date, int], ...]
    falls: int
    rises: int
    swapped_falls: int
    swapped_rises: int

    @property
    def rows(self) -> int:
        """Rows with a date."""
        return sum(rows for _, rows in self.counts)


def share_after(dates: Dates, moment: datetime) -> float:
    """Share of rows on a day more than one day after a moment; the day after it may be today elsewhere on Earth."""
    return _share(dates, [rows for day, rows in dates.counts if (day - moment.date()).days > 1])


def share_ancient(dates: Dates) -> float:
    """Share of rows before 1900 or on a day that stands for "no date" while it is far from all others."""
    likely = [day for day, _ in dates.counts if day > _ANCIENT and day not in _SENTINELS]
    near = {day for day in _SENTINELS if likely and (likely[0] - day).days < 366}
    return _share(dates, [rows for day, rows in dates.counts if day not in near and (day < _ANCIENT or day in _SENTINELS)])


def swapped_evidence(dates: Dates) -> float:
    """How much better the days fit together with day and month swapped where both are at most 12: -1 to 1, above 0 better.

    A producer that reads DD/MM as MM/DD where that is possible, and correctly where it is not, leaves days after the 12th
    as they are and throws the others over the year. Two signs are looked at, and the stronger one counts: how far days up
    to the 12th lie from the nearest day after the 12th (in days on end never more than twelve), and how often the dates of
    neighbouring rows go back in a file that was written in order of time. A whole year in no order shows neither.
    """
    return max(_distance_evidence(dates.counts), _order_evidence(dates))


def only_early_days(dates: Dates) -> bool:
    """Whether dates of several months use most days up to the 12th and no other: the rest failed to parse somewhere."""
    days = {day.day for day, _ in dates.counts}
    months = {(day.year, day.month) for day, _ in dates.counts}
    return len(months) >= 3 and len(days) >= 10 and max(days) <= 12 and dates.rows >= _ENOUGH


def _distance_evidence(counts: tuple[tuple[date, int], ...]) -> float:
    sure = [day for day, _ in counts if day.day > 12]
    unsure = [(day, rows) for day, rows in counts if day.day <= 12]
    total = sum(rows for _, rows in unsure)
    known = sum(rows for day, rows in counts if day.day > 12)
    # Of days on end three in five are after the 12th; of dates that favour the first of the month hardly any.
    if len(sure) < 2 or total < _ENOUGH or known < max(_ENOUGH, total / 4):
        return 0.0
    as_is = sum(rows * _nearest(sure, day) for day, rows in unsure) / total
    swapped = sum(rows * _nearest(sure, day.replace(month=day.day, day=day.month)) for day, rows in unsure) / total
    return (as_is - swapped) / (as_is + swapped) if as_is > 12 else min(0.0, as_is - swapped)


def _order_evidence(dates: Dates) -> float:
    as_is, swapped = dates.falls + dates.rises, dates.swapped_falls + dates.swapped_rises
    if dates.falls < _FEW_STEPS or not as_is or not swapped:
        return 0.0
    before, after = dates.falls / as_is, dates.swapped_falls / swapped
    # Only where swapping puts the file in order; a file in no order has as many falls either way.
    return (before - after) / before if after < 0.1 else 0.0


def _nearest(days: Sequence[date], day: date) -> int:
    place = bisect_left(days, day)
    return min(abs((days[near] - day).days) for near in (place - 1, place) if 0 <= near < len(days))


def _share(dates: Dates, rows: list[int]) -> float:
    return sum(rows) / dates.rows if dates.rows else 0.0
