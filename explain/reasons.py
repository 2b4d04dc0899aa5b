"""Reasons in words: the features that moved a score most, with their values and directions. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from batch_scoring.domain import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One feature's part in one score.

    Attributes:
        value: the served value as text; None when it was missing. contribution: to the margin, above 0 raises the score.
    """

    feature: str
    value: str | None
    contribution: float
    text: str


def top_reasons(
    features: Sequence[Column],
    values: Sequence[object],
    contributions: Sequence[float],
    top: int,
    subject: str = "the score",
) -> tuple[Reason, ...]:
    """The ``top`` features by size of contribution, largest first; equal ones in declared order.

    A feature that contributed exactly nothing is no reason and is left out.

    Args:
        subject: what is raised or lowered, in words.
    """
    order = sorted(range(len(features)), key=lambda position: -abs(contributions[position]))
    return tuple(
        _reason(features[position], values[position], contributions[position], subject)
        for position in order[:top]
        if contributions[position] != 0
    )


def _reason(feature: Column, value: object, contribution: float, subject: str) -> Reason:
    shown = show_value(value)
    name = feature.description or feature.name
    direction = "raises" if contribution > 0 else "lowers"
    return Reason(
        feature=feature.name,
        value=shown,
        contribution=round(float(contribution), 4),
        text=f"{name}: {shown if shown is not None else 'unknown'}, {direction} {subject}",
    )


def show_value(value: object) -> str | None:
    """A served value as a person would write it: 0.41, 1,230, Friday; None when it is missing."""
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if math.isnan(value):
            return None
        case float() if value.is_integer() and abs(value) < 1e15:
            return f"{int(value):,}"
        case float():
            return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
        case _:
            return str(value)
