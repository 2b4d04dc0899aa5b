"""Explanations of a whole version: which features matter, and a picture of how."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

_NOT_FEATURES = ("key", "base_value", "as_of", "version")


def mean_contributions(explanations: Path, keys: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Mean absolute contribution (in the unit of the margin) of every feature over all rows, largest first.

    Args:
        explanations: Parquet with a contribution column per feature beside keys and ``base_value``.
    """
    import polars as pl

    frame = pl.scan_parquet(explanations)
    features = [name for name in frame.collect_schema().names() if name not in (*keys, *_NOT_FEATURES)]
    means = frame.select(pl.col(name).abs().mean() for name in features).collect().row(0)
    return tuple(sorted(zip(features, means, strict=True), key=lambda each: (-each[1], each[0])))


def plot_summary(
    explanations: Path, features: Path, keys: tuple[str, ...], unit: str = "log-odds", rows: int = 1000, seed: int = 7
) -> bytes:
    """SHAP's beeswarm of at most ``rows`` sampled rows, as PNG. Text features are shown in grey.

    Args:
        explanations, features: Parquet files with the same rows in the same order. unit: of the contributions.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import polars as pl
    import shap

    contributions, served = pl.read_parquet(explanations), pl.read_parquet(features)
    chosen = np.sort(np.random.default_rng(seed).choice(len(served), size=min(rows, len(served)), replace=False))
    names = [name for name, _ in mean_contributions(explanations, keys)]
    shown = shap.Explanation(
        values=contributions[chosen].select(names).to_numpy().astype(np.float64),
        base_values=contributions[chosen]["base_value"].to_numpy(),
        data=np.column_stack([_as_numbers(served[chosen][name]) for name in names]),
        feature_names=names,
    )
    figure = plt.figure()
    try:
        shap.plots.beeswarm(shown, max_display=15, show=False)
        plt.xlabel(f"contribution to the score ({unit})")
        buffer = io.BytesIO()
        plt.gcf().savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def _as_numbers(column: pl.Series) -> npt.NDArray[np.float64]:
    import numpy as np
    import polars as pl

    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy()
    return np.full(len(column), np.nan)
