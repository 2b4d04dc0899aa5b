"""How published predictions turned out, once their labels were known: the honest number at the end of a replay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring import tasks
from batch_scoring.declare import Binary, Classes, Task
from batch_scoring.domain import PREDICTIONS, VersionId

if TYPE_CHECKING:
    import polars as pl

    from batch_scoring.declare import PredictionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """Model and naive baseline on the same outcomes.

    Attributes:
        mean_label: share of positive outcomes, or mean of the numbers; None for classes. loss, baseline_loss: by the task's
            metric of record, lower is better. auc, baseline_auc: of a binary task; None if undefined.
    """

    as_of: datetime | None
    version: VersionId | None
    rows: int
    mean_label: float | None
    loss: float
    auc: float | None
    baseline_loss: float
    baseline_auc: float | None


def read_examples(table: PredictionTable, path: Path) -> pl.DataFrame:
    """The columns of a training set that outcomes and the baseline need."""
    import polars as pl

    groups = {name for group in table.baseline.groups for name in group}
    columns = {*table.entity.key_names, *groups, "event_timestamp", "label", "label_known_at"}
    return pl.read_parquet(path, columns=sorted(columns))


def join_outcomes(table: PredictionTable, examples: pl.DataFrame, as_of: datetime, version_folder: Path) -> pl.DataFrame:
    """The labels of one as-of beside the published forecast and what the baseline, knowing no more, would have said.

    Returns:
        Columns ``label``, ``score``, ``baseline``; a row per published entity whose label is known by now. The forecasts of
        classes are arrays of a probability each.
    """
    import polars as pl

    from pipelines.training.baseline import forecast

    keys = list(table.entity.key_names)
    happened = examples.filter(pl.col("event_timestamp") == as_of)
    history = examples.filter(
        (pl.col("event_timestamp") + table.label.matures_after <= as_of) & (pl.col("label_known_at") <= as_of)
    )
    naive = forecast(history, happened, table.baseline, table.label, as_of, table.task)
    stored = tasks.forecast_column(table.task)
    published = pl.read_parquet(version_folder / PREDICTIONS, columns=[*keys, stored])
    if isinstance(table.task, Classes):
        per_class = published[stored].struct.unnest().select(table.task.names).to_numpy()
        published = published.select(keys).with_columns(
            score=pl.Series(per_class, dtype=pl.Array(pl.Float64, per_class.shape[1]))
        )
    return (
        happened.select(*keys, "label")
        .with_columns(baseline=pl.Series(naive))
        .join(published, on=keys, how="inner", nulls_equal=True)
        .select("label", "score", "baseline")
    )


def score_outcomes(
    joined: tuple[tuple[VersionId, datetime, pl.DataFrame], ...], task: Task | None = None
) -> tuple[Realised, ...]:
    """One row per version that has outcomes, in the given order, and last one row for all of them together."""
    import polars as pl

    kind = Binary() if task is None else task
    known = [(version, as_of, frame) for version, as_of, frame in joined if len(frame)]
    rows = [_score(kind, frame, as_of=as_of, version=version) for version, as_of, frame in known]
    if known:
        rows.append(_score(kind, pl.concat([frame for *_, frame in known]), as_of=None, version=None))
    return tuple(rows)


def _score(task: Task, joined: pl.DataFrame, *, as_of: datetime | None, version: VersionId | None) -> Realised:
    from pipelines.training.metrics import auc, loss

    labels, scores, naive = (joined[name].to_numpy() for name in ("label", "score", "baseline"))
    ranked = isinstance(task, Binary)
    return Realised(
        as_of=as_of,
        version=version,
        rows=len(joined),
        mean_label=None if isinstance(task, Classes) else float(labels.mean()),
        loss=loss(task, labels, scores),
        auc=auc(labels, scores) if ranked else None,
        baseline_loss=loss(task, labels, naive),
        baseline_auc=auc(labels, naive) if ranked else None,
    )
