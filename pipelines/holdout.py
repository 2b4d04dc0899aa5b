"""What the hold-out says beyond a mean: differences with their uncertainty, segment by segment and group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_scoring.declare import Binary, PredictionTable
from batch_scoring.domain import Training
from batch_scoring.gates import FairGroups, Group, Segment
from batch_scoring.measured import Paired
from pipelines.training.contender import BASELINE, CONTENDER, LIVE
from pipelines.training.intervals import Resamples, cluster_entities, cluster_rows, paired, paired_within, resample, within
from pipelines.training.measures import misranked
from pipelines.training.metrics import row_losses
from pipelines.training.thresholds import decided

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[np.float64]

CONSTANT = "constant"
_SHOWN_NULL = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The contender beside the others on the hold-out; mean losses in the unit of a row's loss. ``live``: None without one."""

    loss: float
    baseline: float
    live: float | None
    gain: Paired
    excess: Paired | None
    segments: tuple[Segment, ...]
    groups: tuple[Group, ...]


def compare(table: PredictionTable, training: Training, rows: pl.DataFrame) -> Comparison:
    """Compare the forecasts that :func:`pipelines.training.contender.judge_on_holdout` left.

    Every difference is resampled with the same draws of clusters, so it is paired row by row and draw by draw.
    """
    labels = rows["label"].to_numpy()
    names = [name for name in (CONTENDER, BASELINE, LIVE, CONSTANT) if name in rows.columns]
    losses = {name: row_losses(table.task, labels, rows[name].to_numpy()) for name in names}
    draws = resample(cluster_rows(rows, table.entity.key_names), seed=table.model.seed)
    live = losses.get(LIVE)
    return Comparison(
        loss=float(losses[CONTENDER].mean()),
        baseline=float(losses[BASELINE].mean()),
        live=None if live is None else float(live.mean()),
        gain=paired(losses[BASELINE], losses[CONTENDER], draws),
        excess=None if live is None else paired(losses[CONTENDER], live, draws),
        segments=_segments(table, rows, losses, draws),
        groups=_groups(table, training, rows, losses[CONTENDER]) if isinstance(table.task, Binary) else (),
    )


def _segments(table: PredictionTable, rows: pl.DataFrame, losses: dict[str, Floats], draws: Resamples) -> tuple[Segment, ...]:
    found = []
    binary = isinstance(table.task, Binary)
    labels, forecasts, days = (rows[name].to_numpy() for name in ("label", CONTENDER, "event_timestamp"))
    by = (draws, resample(cluster_entities(rows, table.entity.key_names), seed=table.model.seed))  # the larger error counts
    for column in table.segments:
        if column not in rows.columns:
            continue
        for value, chosen in _values(rows[column]):
            told = (labels[chosen], forecasts[chosen], days[chosen])
            sides = (misranked(*told, within(each, chosen)) for each in by if binary)
            turned = max((side for side in sides if side is not None), key=lambda side: side.error, default=None)
            for against in (LIVE, CONSTANT):
                if against not in losses:
                    continue
                found.append(
                    Segment(
                        column=column,
                        value=value,
                        rows=int(chosen.sum()),
                        against=against,
                        reference=float(losses[against][chosen].mean()),
                        excess=paired_within(losses[CONTENDER], losses[against], chosen, draws),
                        inverted=turned,
                    )
                )
    return tuple(found)


def _groups(table: PredictionTable, training: Training, rows: pl.DataFrame, losses: Floats) -> tuple[Group, ...]:
    columns = dict.fromkeys(name for gate in table.gates if isinstance(gate, FairGroups) for name in gate.by)
    declared = table.decision.threshold
    threshold = training.threshold or (declared if isinstance(declared, int | float) else 0.5)
    yes = decided(threshold, rows[CONTENDER].to_numpy(), rows["event_timestamp"].to_numpy())
    real = rows["label"].to_numpy() > 0
    return tuple(
        Group(
            column=column,
            value=value,
            rows=int(chosen.sum()),
            selection_rate=_share(yes, chosen),
            recall=_share(yes, chosen & real),
            precision=_share(real, chosen & yes),
            false_positive_rate=_share(yes, chosen & ~real),
            loss=float(losses[chosen].mean()),
        )
        for column in columns
        if column in rows.columns
        for value, chosen in _values(rows[column])
    )


def _values(column: pl.Series) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Every value of a column, null being one, and the rows that have it."""
    found = []
    for value in column.unique(maintain_order=True).to_list():
        chosen = (column.is_null() if value is None else (column == value).fill_null(False)).to_numpy()
        found.append((_SHOWN_NULL if value is None else str(value), chosen))
    return sorted(found, key=lambda pair: pair[0])


def _share(of: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float | None:
    return float(of[among].mean()) if among.any() else None
