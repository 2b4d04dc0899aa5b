"""The naive forecast: the trailing mean label of the entity, else of a wider group, else of everything."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from batch_scoring.declare import Baseline, Label
from pipelines.training.folds import in_window

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl


def forecast(
    history: pl.DataFrame, rows: pl.DataFrame, baseline: Baseline, label: Label, cutoff: datetime
) -> npt.NDArray[np.float64]:
    """A probability for every row, from examples alone.

    Args:
        history: examples whose labels were known at the cut-off, with ``event_timestamp``, ``label`` and the group columns.
        rows: to forecast, with the group columns.

    Returns:
        Shape ``(len(rows),)``, in row order, strictly between 0 and 1: a mean of k ones in n rows is (k + ½) / (n + 1),
        so that a group that was never late is unlikely, not impossible.
    """
    import numpy as np
    import polars as pl

    recent = history.filter(pl.Series(in_window(history["event_timestamp"].to_numpy(), label, cutoff, baseline.days)))
    overall = (int(recent["label"].sum()) + 0.5) / (len(recent) + 1)
    forecasts = np.full(len(rows), np.nan)
    for group in baseline.groups:
        means = (
            recent.group_by(group)
            .agg(rate=(pl.col("label").sum() + 0.5) / (pl.len() + 1), rows=pl.len())
            .filter(pl.col("rows") >= baseline.min_rows)
        )
        found = rows.select(group).join(means, on=list(group), how="left", maintain_order="left", nulls_equal=True)
        rates = found["rate"].fill_null(float("nan")).to_numpy()
        forecasts = np.where(np.isnan(forecasts), rates, forecasts)
    return np.where(np.isnan(forecasts), overall, forecasts)
