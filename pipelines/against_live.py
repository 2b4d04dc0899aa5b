"""The run beside the live version: scores, places, rows, contributions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import PredictionTable
from batch_scoring.domain import EXPLANATIONS, PREDICTIONS, Manifest
from batch_scoring.tasks import kind
from pipelines.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstLive:
    """What :class:`batch_scoring.gates.Evidence` says of the live version; all of it empty when there is none like it.

    ``apart``: why the one that there is cannot be compared.
    """

    apart: str = ""

    score_psi: float | None = None
    score_distance: float | None = None
    rank_moves: tuple[float, ...] = ()
    live_rows: int | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    live_importance: Mapping[str, float] = field(default_factory=dict)


def look(run: Run, predictions: pl.DataFrame, features: Sequence[str]) -> AgainstLive:
    """Compare what the run wrote with what is live.

    Args:
        predictions: the run's, with the keys and ``score``.
    """
    from pipelines.training.metrics import population_stability, wasserstein

    importance = shares(run.file(EXPLANATIONS), features)
    live = live_version(run)
    if live is None:
        return AgainstLive(importance=importance)
    manifest, folder = live
    apart = why_apart(manifest, run.table)
    if apart:
        return AgainstLive(importance=importance, apart=apart)
    before = read_scores(folder / PREDICTIONS, run.table.entity.key_names)
    old, new = before["score"].drop_nulls().to_numpy(), predictions["score"].drop_nulls().to_numpy()
    spread = float(old.std()) if len(old) else 0.0
    had = [column.name for column in manifest.draft.columns if column.role == "feature"]
    return AgainstLive(
        score_psi=population_stability(old, new),
        score_distance=wasserstein(old, new) / spread if spread else None,
        rank_moves=_percentiles(moves(before, predictions, run.table.entity.key_names)["moved"].abs()),
        live_rows=manifest.draft.rows,
        importance=importance,
        live_importance=shares(folder / EXPLANATIONS, had),
    )


def live_version(run: Run) -> tuple[Manifest, Path] | None:
    """The live version and its folder; None when nothing is live."""
    from batch_scoring.store import Reader, version_folder

    if not (run.settings.store / "current").exists():
        return None
    snapshot = Reader(run.settings.store).snapshot()
    live = snapshot.served(run.table.name).live
    if live is None:
        return None
    return snapshot.manifest(run.table.name, live), version_folder(run.settings.store, run.table.name, live)


def why_apart(live: Manifest, table: PredictionTable) -> str:
    """Why the live version is no champion of the table as it is declared now; empty when it is one. Pure."""
    before, now = live.draft.task, table.task
    if before != now:
        kinds = f" ({kind(before)}, now {kind(now)})" if kind(before) != kind(now) else ""
        return f"version {live.version}, which is live, has another task{kinds} and cannot be compared with"
    if live.draft.entity.key_names != table.entity.key_names:
        return f"version {live.version}, which is live, has other keys and cannot be compared with"
    return ""


def read_scores(path: Path, keys: Sequence[str]) -> pl.DataFrame:
    """Keys and score of a stored version."""
    import polars as pl

    return pl.read_parquet(path, columns=[*keys, "score"])


def moves(before: pl.DataFrame, after: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """How every entity that is in both changed its score and its place.

    Returns:
        The keys, ``score_before``, ``score_after``, ``rank_before``, ``rank_after`` (1 is the highest of its own table;
        equal scores share the mean place) and ``moved``: the change of place as a share of the table, above 0 is upwards.
    """
    import polars as pl

    def placed(frame: pl.DataFrame, when: str) -> pl.DataFrame:
        place = pl.col("score").rank("average", descending=True)
        return frame.select(
            *keys, pl.col("score").alias(f"score_{when}"), place.alias(f"rank_{when}"), (place / pl.len()).alias(f"_{when}")
        )

    both = placed(before, "before").join(placed(after, "after"), on=list(keys), how="inner", nulls_equal=True)
    return both.with_columns(moved=pl.col("_before") - pl.col("_after")).drop("_before", "_after")


def shares(explanations: Path, features: Sequence[str]) -> Mapping[str, float]:
    """Each feature's share of the sum of all absolute contributions; empty when nothing contributes."""
    import polars as pl

    scanned = pl.scan_parquet(explanations)
    names = [name for name in features if name in scanned.collect_schema().names()]
    if not names:
        return {}
    totals = scanned.select(pl.col(name).cast(pl.Float64).abs().sum() for name in names).collect().row(0)
    whole = sum(totals)
    return {name: total / whole for name, total in zip(names, totals, strict=True)} if whole else {}


def _percentiles(values: pl.Series) -> tuple[float, ...]:
    import numpy as np

    if not len(values):
        return ()
    return tuple(float(value) for value in np.quantile(values.to_numpy(), np.linspace(0, 1, 101)))
