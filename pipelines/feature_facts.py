"""The served features beside the rows that the model was fitted on: what is new among nulls, and what is out of range."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from batch_scoring.domain import Column, Skew

_MIDDLE = 0.001
_SLACK = 3.0


def new_nulls(skew: Skew) -> Mapping[str, float]:
    """Per feature, the share of nulls that are served less the share that training had; positional ones left out."""
    return {
        feature.feature: feature.served_nulls - feature.trained_nulls
        for feature in skew.features
        if feature.serve_as is None and feature.trained_nulls is not None
    }


def out_of_range(
    served: Path, examples: Path, features: Sequence[Column], first: datetime, last: datetime
) -> Mapping[str, float]:
    """Per number, the share of served values far beyond what training saw between two moments.

    The range is that of the middle 99.8 %, taken to be at least as wide as its larger end is far from zero, so that a
    constant, a month or a count may go on growing; far is three times that beyond an end.
    """
    import polars as pl

    numbers = [feature.name for feature in features if feature.type != "VARCHAR"]
    seen = pl.scan_parquet(examples)
    numbers = [name for name in numbers if name in seen.collect_schema().names()]
    if not numbers:
        return {}
    ends = seen.filter(pl.col("event_timestamp").is_between(first, last)).select(
        *(pl.col(name).cast(pl.Float64).quantile(_MIDDLE, "lower").alias(f"low {name}") for name in numbers),
        *(pl.col(name).cast(pl.Float64).quantile(1 - _MIDDLE, "higher").alias(f"high {name}") for name in numbers),
    )
    limits = ends.collect().row(0, named=True)
    shares = []
    for name in numbers:
        low, high = limits[f"low {name}"], limits[f"high {name}"]
        if low is None or high is None:
            continue
        room = _SLACK * max(high - low, abs(low), abs(high))
        beyond = ~pl.col(name).cast(pl.Float64).is_between(low - room, high + room)
        shares.append(beyond.fill_null(False).mean().alias(name))
    found = pl.scan_parquet(served).select(shares).collect().row(0, named=True) if shares else {}
    return {name: float(share or 0.0) for name, share in found.items()}
