"""A number with its uncertainty, as manifests hold it. Plain values; nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric on one set of rows, with a 95 % bootstrap interval.

    Attributes:
        name: e.g. ``log-loss``, ``auc``, or the name of a business metric.
        value: None where it is undefined, e.g. an AUC of a single class. low, high: None where it cannot be resampled.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A mean difference between two forecasts of the same rows.

    Attributes:
        mean: in the unit of a row's loss. error: its bootstrap standard error. clusters: independent groups of rows that
            were resampled; a bound uses one degree of freedom less.
    """

    mean: float
    error: float
    clusters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two models on the same rows.

    Attributes:
        rows: how many were asked about. correlation: Spearman's, of their scores. shift: between their mean scores, in
            standard deviations of the first.
    """

    rows: int
    correlation: float
    shift: float
