"""Tests of hypotheses on kept profiles, each with an effect size, and false alarms under control. Pure.

With millions of rows every difference is significant; so a finding needs both: an effect beyond its limit, and a p-value
that survives Benjamini–Hochberg over all tests of the delivery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A test's effect size and p-value."""

    effect: float
    p: float


def chi_square(now: Mapping[str, int], before: Mapping[str, int]) -> Tested | None:
    """Pearson's test that two samples share one distribution of categories. Effect: Cramér's V, 0 to 1.

    None where a sample is empty or there is one category only.
    """
    names = sorted(set(now) | set(before))
    rows = [[sample.get(name, 0) for name in names] for sample in (now, before)]
    totals = [sum(row) for row in rows]
    n = sum(totals)
    if len(names) < 2 or not all(totals):
        return None
    columns = [rows[0][at] + rows[1][at] for at in range(len(names))]
    statistic = sum(
        (row[at] - total * columns[at] / n) ** 2 / (total * columns[at] / n)
        for row, total in zip(rows, totals, strict=True)
        for at in range(len(names))
        if columns[at]
    )
    freedom = sum(1 for column in columns if column) - 1
    if freedom < 1:
        return None
    from scipy.special import chdtrc

    return Tested(effect=math.sqrt(statistic / n), p=float(chdtrc(freedom, statistic)))


def anova(groups: Sequence[tuple[int, float, float]]) -> Tested | None:
    """One-way analysis of variance from (rows, mean, standard deviation) per delivery. Effect: eta squared, 0 to 1.

    None with fewer than two groups of two rows, or where nothing varies at all.
    """
    groups = [group for group in groups if group[0] >= 2]
    n = sum(rows for rows, _, _ in groups)
    if len(groups) < 2:
        return None
    grand = sum(rows * mean for rows, mean, _ in groups) / n
    between = sum(rows * (mean - grand) ** 2 for rows, mean, _ in groups)
    within = sum((rows - 1) * deviation**2 for rows, _, deviation in groups)
    if between + within <= 0:
        return None
    if within <= 0:
        return Tested(effect=1.0, p=0.0)
    from scipy.special import fdtrc

    freedom, rest = len(groups) - 1, n - len(groups)
    statistic = (between / freedom) / (within / rest)
    return Tested(effect=between / (between + within), p=float(fdtrc(freedom, rest, statistic)))


def correlation_change(now: float, rows: int, before: float, rows_before: int) -> Tested | None:
    """Fisher's z-test that two independent correlations are equal. Effect: change of |r|, positive when it rose.

    None with fewer than ten rows on either side.
    """
    if min(rows, rows_before) < 10:
        return None
    bound = 1 - 1e-12
    moved = math.atanh(max(-bound, min(bound, now))) - math.atanh(max(-bound, min(bound, before)))
    z = abs(moved) / math.sqrt(1 / (rows - 3) + 1 / (rows_before - 3))
    return Tested(effect=abs(now) - abs(before), p=math.erfc(z / math.sqrt(2)))


def adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's adjusted p-values (1995), in the order given: reject those at most alpha."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at], reverse=True)
    result = [1.0] * len(p_values)
    least = 1.0
    for place, at in enumerate(order):
        least = min(least, p_values[at] * len(p_values) / (len(p_values) - place))
        result[at] = least
    return tuple(result)
