"""Which rows a model is fitted on: known at the cut-off, inside the window, not kept apart, and perhaps only a sample of them.

A sample is stratified by time bucket and segment. How many rows each stratum gives is decided by largest remainders, so
every share is right within one row; which rows it gives, by a hash of the row's own key and moment. A row's rank among its
stratum therefore depends on nothing but itself: not on the order of rows, not on threads, not on what else is there.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from batch_scoring.declare import Label, Sampled, Window
from pipelines.training.folds import Block, in_window, kept_apart, known

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from pipelines.training.fit import TrainingData
    from pipelines.training.folds import Mask

    Hashes = npt.NDArray[np.uint64]

_EVENT = "event_timestamp"
_EVERY = {"day": "1d", "week": "1w", "month": "1mo"}


def training_rows(data: TrainingData, label: Label, cutoff: datetime, window: Window, block: Block | None = None) -> Mask:
    """The rows that a model may be fitted on at a cut-off.

    Args:
        block: what it will be judged on; None for the model that is served, from which nothing is kept apart.
    """
    rows = known(data.events, data.known_at, label, cutoff) & in_window(data.events, label, cutoff, window)
    if block is not None:
        rows &= ~kept_apart(data.events, block)
    if isinstance(window, Sampled):
        rows &= sample(data.frame, rows, window, keys=data.keys, segments=data.segments, timezone=data.timezone)
    return rows


def sample(
    frame: pl.DataFrame,
    rows: Mask,
    window: Sampled,
    *,
    keys: tuple[str, ...],
    segments: tuple[str, ...],
    timezone: str,
) -> Mask:
    """A representative sample of the chosen rows.

    Args:
        frame: has ``event_timestamp``, the keys and the segments. Keys and event time together are unique.
        rows: which of them to sample from, shape ``(len(frame),)``.

    Returns:
        Shape ``(len(frame),)``: ``min(window.rows, rows.sum())`` of ``rows``.
    """
    import polars as pl

    if int(rows.sum()) <= window.rows:
        return rows.copy()
    strata = frame.select(
        pl.col(_EVENT).dt.convert_time_zone(timezone).dt.truncate(_EVERY[window.bucket]).alias("bucket"), *segments
    ).filter(pl.Series(rows))
    names = strata.columns
    # Ranked by value, so that neither the order of rows nor a category's code decides which stratum gets an odd row.
    numbered = strata.unique().sort(names, nulls_last=True).with_row_index("stratum")
    stratum = strata.join(numbered, on=names, how="left", nulls_equal=True, maintain_order="left")["stratum"].to_numpy()
    wanted = quotas(np.bincount(stratum, minlength=len(numbered)), window.rows)
    hashes = row_hashes(frame.select(*keys, _EVENT).filter(pl.Series(rows)), window.seed)
    order = np.lexsort((hashes, stratum))
    starts = np.concatenate([[0], np.cumsum(np.bincount(stratum, minlength=len(numbered)))[:-1]])
    place = np.arange(len(order)) - starts[stratum[order]]
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[np.flatnonzero(rows)[order[place < wanted[stratum[order]]]]] = True
    return chosen


def quotas(sizes: npt.NDArray[np.intp], total: int) -> npt.NDArray[np.intp]:
    """How many of ``total`` rows each stratum gives: its exact share rounded down, the rest to the largest remainders.

    Hamilton's method; equal remainders go to the earlier stratum. In whole numbers, so that no rounding decides.

    Args:
        sizes: rows of each stratum; together at least ``total``.
    """
    everything = int(sizes.sum())
    if not everything:
        return np.zeros_like(sizes)
    shares = [int(size) * total for size in sizes]
    given = np.array([share // everything for share in shares], dtype=np.intp)
    remainders = np.array([share % everything for share in shares])
    given[np.argsort(-remainders, kind="stable")[: total - int(given.sum())]] += 1
    return given


def row_hashes(rows: pl.DataFrame, seed: int) -> Hashes:
    """A 64-bit hash of every row, the same on any machine and in any version of any library. Shape ``(len(rows),)``."""
    hashed = np.full(len(rows), np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF), dtype=np.uint64)
    for column in rows:
        hashed = _mixed(hashed ^ _mixed(_integers(column)))
    return hashed


def _integers(column: pl.Series) -> Hashes:
    import polars as pl

    if column.dtype != pl.String:
        return column.to_physical().cast(pl.Int64).to_numpy().view(np.uint64)
    known_values = column.unique(maintain_order=False)
    hashes = pl.Series([_text_hash(value) for value in known_values], dtype=pl.UInt64)
    return column.replace_strict(known_values, hashes, return_dtype=pl.UInt64).to_numpy()


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
