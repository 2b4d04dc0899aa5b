"""What is decided on validation, after the search and before the hold-out: calibration, threshold, and the bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch_scoring.calibration import NO_CALIBRATION, Calibration, calibrated
from batch_scoring.declare import Binary, PredictionTable
from batch_scoring.gates import FairGroups
from batch_scoring.goals import LearnedThreshold
from pipelines.training.baseline import NAIVE, Naive, best_naive, naive_forecasts
from pipelines.training.calibration import learn_calibration, margins_of
from pipelines.training.folds import Block, judged_on, known
from pipelines.training.metrics import row_losses
from pipelines.training.thresholds import decided, learn_threshold, operating

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from pipelines.training.fit import TrainingData

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The choices that the hold-out then judges. ``threshold``: None where it is declared as a number, or not binary."""

    naive: Naive = "trailing mean"
    calibration: Calibration = NO_CALIBRATION
    threshold: LearnedThreshold | None = None


def tune(data: TrainingData, table: PredictionTable, blocks: tuple[Block, ...], validation: pl.DataFrame) -> Tuned:
    """Choose on the search's blocks what the search itself has no opinion about.

    Args:
        blocks: the search's, never the hold-out. validation: what the chosen recipe forecast for them, out of time, with
            ``label``, ``fold``, ``event_timestamp``, the keys and ``forecast``.
    """
    naive = best_naive(naive_losses(data, table, blocks))
    if not isinstance(table.task, Binary) or validation.is_empty():
        return Tuned(naive=naive)
    labels = validation["label"].to_numpy()
    margins = margins_of(validation["forecast"].to_numpy())
    calibration = learn_calibration(labels, margins, validation["fold"].to_numpy())
    goal = table.decision.threshold
    if isinstance(goal, int | float):
        return Tuned(naive=naive, calibration=calibration)
    scores = calibrated(calibration, margins)
    return Tuned(
        naive=naive,
        calibration=calibration,
        threshold=learn_threshold(goal, labels, scores, validation["event_timestamp"].to_numpy()),
    )


def naive_losses(data: TrainingData, table: PredictionTable, blocks: tuple[Block, ...]) -> dict[Naive, float]:
    """Mean loss of every naive forecast over the rows of the blocks, each knowing what was known at its cut-off."""
    import numpy as np
    import polars as pl

    losses: dict[Naive, list[Floats]] = {name: [] for name in NAIVE}
    frame = data.frame.select(naive_columns(table))
    for block in blocks:
        past = known(data.events, data.known_at, table.label, block.cutoff)
        test = judged_on(data.events, data.known_at, block)
        if not past.any() or not test.any():
            continue
        said = naive_forecasts(frame.filter(pl.Series(past)), frame.filter(pl.Series(test)), table, block.cutoff)
        for name, forecasts in said.items():
            losses[name].append(row_losses(table.task, data.labels[test], forecasts))
    return {name: float(np.concatenate(parts).mean()) if parts else 0.0 for name, parts in losses.items()}


def naive_columns(table: PredictionTable) -> list[str]:
    """The columns of the training set that naive forecasts are made from."""
    groups = [name for group in table.baseline.groups for name in group]
    return list(dict.fromkeys([*table.entity.key_names, *groups, "event_timestamp", "label"]))


def judged_columns(table: PredictionTable) -> list[str]:
    """The columns by which results on the hold-out are broken down, and those that business metrics need."""
    groups = [name for gate in table.gates if isinstance(gate, FairGroups) for name in gate.by]
    needed = [name for metric in table.metrics for name in metric.columns]
    return list(dict.fromkeys([*table.segments, *groups, *needed]))


def reported(threshold: LearnedThreshold | None, table: PredictionTable, rows: pl.DataFrame) -> LearnedThreshold | None:
    """A learned threshold with what it does on the hold-out; ``rows`` with ``contender``, ``label``, ``event_timestamp``."""
    goal = table.decision.threshold
    if threshold is None or isinstance(goal, int | float):
        return None
    chosen = decided(threshold, rows["contender"].to_numpy(), rows["event_timestamp"].to_numpy())
    return replace(threshold, holdout=operating(goal, rows["label"].to_numpy(), chosen))
