"""How a model ages: what it loses on the same days against a model of those days, for every age up to a largest one.

For each of the last days a fresh model (fitted at that very as-of, as a run would) and models fitted 1, 2, … periods earlier
forecast the same rows. Every age is asked about the same days, so that easy and hard days cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from batch_scoring.declare import PredictionTable
from batch_scoring.errors import NoData
from pipelines.training.cells import Cell, Evaluator
from pipelines.training.folds import Block, in_block, known, to_aware
from pipelines.training.metrics import loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.training.recipe import Recipe

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLosses:
    """One day: its number of rows, the naive forecast's loss, and the loss of models by age in periods, from 0 on."""

    day: datetime
    rows: int
    baseline: float
    by_age: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgedLoss:
    """What models of one age lose.

    Attributes:
        loss: mean over the days, weighted by rows. excess, error: over the fresh model, and its standard error by days.
        lost: share of the fresh model's gain over the baseline that is lost, smoothed so that it never falls with age;
            None when there is no gain to lose.
    """

    age: int
    loss: float
    excess: float
    error: float
    lost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """The curve, and when to train anew.

    Attributes:
        share: the loss of gain that is not accepted. retrain_after: the first age, in periods, that has lost it; None
            when no age that was looked at has.
        baseline, fresh: mean losses of the naive forecast and of a fresh model. days, rows: what was forecast.
    """

    ages: tuple[AgedLoss, ...]
    share: float
    retrain_after: int | None
    baseline: float
    fresh: float
    days: int
    rows: int


def measure_decay(evaluator: Evaluator, table: PredictionTable, recipe: Recipe, ages: int, days: int) -> tuple[DayLosses, ...]:
    """Forecast the last ``days`` as-of moments with models of age 0 to ``ages`` periods.

    Raises:
        NoData: the history is too short to fit the oldest model.
    """
    data = evaluator.data
    moments = [to_aware(moment) for moment in np.unique(data.events)]
    if len(moments) < days + ages + 1:
        raise _too_short(f"{days + ages + 1} as-of moments with known labels", str(len(moments)))
    made = moments[-(days + ages) :]
    cells = [
        Cell(recipe=recipe, block=Block(fold=n, cutoff=moment, first=moment, last=made[min(n + ages, len(made) - 1)]))
        for n, moment in enumerate(made)
    ]
    forecasts = evaluator.forecasts(cells)
    if len(forecasts) < len(cells):
        raise _too_short("more than one outcome among the labels known at every model's cut-off", "only one, or none, at some")
    asked = {cell.block.fold: (data.events[in_block(data.events, cell.block)], forecasts[cell]) for cell in cells}
    return tuple(_day(evaluator, table, made, n, ages, asked) for n in range(ages, len(made)))


def _day(
    evaluator: Evaluator,
    table: PredictionTable,
    made: list[datetime],
    n: int,
    ages: int,
    asked: dict[int, tuple[npt.NDArray[np.datetime64], Floats]],
) -> DayLosses:
    import polars as pl

    from pipelines.training.baseline import forecast

    data, day = evaluator.data, made[n]
    moment = np.datetime64(day.replace(tzinfo=None), "us")
    rows = data.events == moment
    labels = data.labels[rows]
    past = data.frame.filter(pl.Series(known(data.events, data.known_at, table.label, day)))
    naive = forecast(past, data.frame.filter(pl.Series(rows)), table.baseline, table.label, day, table.task)
    by_age = []
    for age in range(ages + 1):
        events, scores = asked[n - age]
        by_age.append(loss(table.task, labels, scores[events == moment]))
    return DayLosses(day=day, rows=len(labels), baseline=loss(table.task, labels, naive), by_age=tuple(by_age))


def decay_curve(days: Sequence[DayLosses], share: float) -> Decay:
    """From losses by day and age to a curve. Pure.

    Args:
        share: of the gain over the baseline; losing so much of it is when to train anew.
    """
    rows = np.array([day.rows for day in days], dtype=np.float64)
    weights = rows / rows.sum()
    losses = np.array([day.by_age for day in days])
    excess = losses - losses[:, :1]
    mean = weights @ excess
    count = len(days)
    residuals = weights[:, None] * (excess - mean)
    errors = np.sqrt(count / max(count - 1, 1) * np.square(residuals).sum(axis=0))
    baseline, fresh = float(weights @ np.array([day.baseline for day in days])), float(weights @ losses[:, 0])
    gain = baseline - fresh
    smooth = np.maximum(never_falling(mean), 0.0)
    lost = [float(value / gain) if gain > 0 else None for value in smooth]
    ages = tuple(
        AgedLoss(age=age, loss=float(fresh + mean[age]), excess=float(mean[age]), error=float(errors[age]), lost=lost[age])
        for age in range(losses.shape[1])
    )
    after = next((each.age for each in ages if each.age and each.lost is not None and each.lost >= share), None)
    return Decay(ages=ages, share=share, retrain_after=after, baseline=baseline, fresh=fresh, days=count, rows=int(rows.sum()))


def never_falling(values: Floats) -> Floats:
    """The closest sequence in squares that never falls: neighbours that would fall are pooled (Ayer et al., 1955)."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def describe_decay(decay: Decay, period: str) -> str:
    """When to train anew, in a sentence.

    Args:
        period: the schedule's word, ``"day"`` or ``"week"``.
    """
    gain = decay.baseline - decay.fresh
    if gain <= 0:
        return "A fresh model is no better than the naive forecast on these days: there is no gain to lose."
    seen = f"on {decay.days} {period}s"
    if decay.retrain_after is None:
        oldest = decay.ages[-1]
        return (
            f"Up to an age of {oldest.age} {period}s a model keeps more than {1 - decay.share:.0%} of its gain over the naive "
            f"forecast ({seen}); the oldest has lost {oldest.lost or 0:.0%}."
        )
    plural = "" if decay.retrain_after == 1 else "s"
    return (
        f"Train anew after {decay.retrain_after} {period}{plural}: by then a model has lost {decay.share:.0%} of its gain over "
        f"the naive forecast ({seen})."
    )


def plot_decay(decay: Decay, period: str) -> bytes:
    """The curve with its errors as a PNG."""
    import io

    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    ages = [each.age for each in decay.ages]
    axes.errorbar(ages, [each.loss for each in decay.ages], yerr=[each.error for each in decay.ages], marker="o", capsize=3)
    axes.axhline(decay.baseline, color="grey", linestyle="--", label="naive forecast")
    if decay.retrain_after is not None:
        axes.axvline(decay.retrain_after, color="firebrick", linestyle=":", label=f"{decay.share:.0%} of the gain lost")
    axes.set_xlabel(f"age of the model, {period}s")
    axes.set_ylabel("mean loss out of time")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return picture.getvalue()


def _too_short(expected: str, found: str) -> NoData:
    return NoData(
        "decay curve", expected=expected, found=found, fix="Ask for fewer ages or days, choose a later as-of, or ingest more."
    )
