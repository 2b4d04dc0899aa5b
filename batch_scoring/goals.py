"""What a threshold is for. Declared as values; a run learns the number, and the version says what it was and how it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from batch_scoring.errors import DeclarationError


def _require_share(field_name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise DeclarationError(field_name, expected="above 0, at most 1", found=repr(value), fix="Give a share, e.g. 0.95.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumRecall:
    """Find at least this share of those that will be; decide yes no more often than that takes."""

    at_least: float

    def __post_init__(self) -> None:
        _require_share("MinimumRecall.at_least", self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumPrecision:
    """Be right in at least this share of the times that yes is decided; decide it as often as that allows."""

    at_least: float

    def __post_init__(self) -> None:
        _require_share("MinimumPrecision.at_least", self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumCost:
    """The least total cost, given what one missed yes and one false alarm cost, in any unit."""

    missed: float
    false_alarm: float

    def __post_init__(self) -> None:
        for name in ("missed", "false_alarm"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise DeclarationError(f"MinimumCost.{name}", expected="above 0", found=repr(value), fix="Give a cost.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopPerDay:
    """Decide yes for the so many highest scores of every version, and for those equal to the last of them."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DeclarationError("TopPerDay.count", expected="1 or more", found=repr(self.count), fix="Give a number.")


Goal = MinimumRecall | MinimumPrecision | MinimumCost | TopPerDay


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """What a threshold does to some rows. ``cost`` is per row, of :class:`MinimumCost`; None where nobody is counted."""

    rows: int
    positive: int
    yes: int
    recall: float | None
    precision: float | None
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedThreshold:
    """A threshold and where it came from.

    Attributes:
        goal: in words. value: scores at or above it are decided yes; of :class:`TopPerDay` a typical one, as each version
            has its own. per_version: how many highest scores are decided yes instead, if so.
        met: whether the goal could be reached on validation. validation: how it did where it was tuned.
        holdout: how it did on rows that had no part in choosing it.
    """

    goal: str
    value: float
    met: bool
    validation: Operating
    holdout: Operating | None = None
    per_version: int | None = None


def in_words(goal: Goal) -> str:
    """A goal as a person would say it."""
    match goal:
        case MinimumRecall(at_least=share):
            return f"recall of at least {share:g}"
        case MinimumPrecision(at_least=share):
            return f"precision of at least {share:g}"
        case MinimumCost(missed=missed, false_alarm=alarm):
            return f"least cost, a missed one at {missed:g} and a false alarm at {alarm:g}"
        case TopPerDay(count=count):
            return f"the {count} highest scores of each version"
        case _:
            assert_never(goal)
