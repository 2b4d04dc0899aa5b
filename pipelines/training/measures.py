"""Every metric of a task with its bootstrap interval.

Each is a sum over rows, a ratio of such sums, or a count of pairs, so a draw of the bootstrap is a weighting of rows and
none needs the model again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from batch_scoring.declare import Binary, Classes, Number, PredictionTable, Task
from batch_scoring.domain import HoldOutScore
from batch_scoring.measured import Measured, Paired
from pipelines.training.intervals import Resamples, cluster_rows, interval, resample
from pipelines.training.metrics import auc, calibration_errors, calibration_sums, log_odds, logistic, loss, pinball, row_losses
from pipelines.training.ranks import Ranked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[np.float64]

_WORK = 20_000_000
"""Rows times draws that a ranking metric is given: fewer draws on more rows, whose intervals are narrow anyway."""


def measure(
    task: Task,
    labels: npt.NDArray[Any],
    forecasts: Floats,
    resamples: Resamples,
    *,
    days: npt.NDArray[Any] | None = None,
    business: Mapping[str, Floats] | None = None,
) -> tuple[Measured, ...]:
    """Every metric of the task with a 95 % interval.

    Args:
        days: what a row's ranking is compared within, any values, ``(n,)``; without it there is no within-day AUC.
        business: values of the user's own metrics, a number for each row; their mean is reported.
    """
    import numpy as np

    if not len(labels):
        return ()
    match task:
        case Binary():
            found = _binary(labels, forecasts, resamples, days)
        case Classes():
            found = _classes(labels, forecasts, resamples)
        case Number(quantile=quantile):
            missed = labels.astype(np.float64) - forecasts
            found = (
                _mean("rmse", np.square(missed), resamples, np.sqrt),
                _mean("mae", np.abs(missed), resamples),
                _mean(f"pinball_{0.5 if quantile is None else quantile:g}", pinball(missed, quantile or 0.5), resamples),
            )
        case _:
            assert_never(task)
    return found + tuple(_mean(name, values, resamples) for name, values in (business or {}).items())


def _binary(
    labels: npt.NDArray[Any], scores: Floats, resamples: Resamples, days: npt.NDArray[Any] | None
) -> tuple[Measured, ...]:
    import numpy as np

    ranked = Ranked.of(labels, scores)
    found = [
        _mean("log-loss", row_losses(Binary(), labels, scores), resamples),
        _mean("brier", np.square(labels - scores), resamples),
        _drawn("auc", ranked.auc, resamples),
        _drawn("pr_auc", ranked.average_precision, resamples),
    ]
    if days is not None:
        found.append(_drawn("auc_within_day", Ranked.of(labels, scores, days).auc, resamples))
    sums = calibration_sums(labels, scores)
    error = float(calibration_errors(sums.sum(axis=0)[None, :])[0])
    found += [_slope(labels, scores, resamples), _estimated("ece", error, calibration_errors(resamples.sums(sums)), resamples)]
    return tuple(found)


def _classes(labels: npt.NDArray[Any], forecasts: Floats, resamples: Resamples) -> tuple[Measured, ...]:
    import numpy as np

    known, chosen = labels.astype(np.int64), forecasts.argmax(axis=1)
    right = chosen == known
    classes = forecasts.shape[1]
    hits = np.eye(classes)[known] * right[:, None]
    tallies = np.concatenate([hits, np.eye(classes)[known], np.eye(classes)[chosen]], axis=1)

    def macro_f1(sums: Floats) -> Floats:
        """Over the classes that occur or are predicted; a class with neither says nothing."""
        hit, real, said = np.split(sums, 3, axis=1)
        present = (real + said) > 0
        each = np.divide(2 * hit, real + said, out=np.zeros_like(hit), where=present)
        return np.asarray(each.sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    sums = calibration_sums(right, forecasts.max(axis=1))
    error = float(calibration_errors(sums.sum(axis=0)[None, :])[0])
    f1 = float(macro_f1(tallies.sum(axis=0)[None, :])[0])
    return (
        _mean("log-loss", row_losses(Classes(names=tuple(str(n) for n in range(max(classes, 3)))), labels, forecasts), resamples),
        _estimated("macro_f1", f1, macro_f1(resamples.sums(tallies)), resamples),
        _mean("accuracy", right.astype(np.float64), resamples),
        _estimated("ece", error, calibration_errors(resamples.sums(sums)), resamples),
    )


def _mean(name: str, values: Floats, resamples: Resamples, then: Callable[[Any], Any] = lambda mean: mean) -> Measured:
    import numpy as np

    sums = resamples.sums(np.stack([values, np.ones(len(values))], axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = then(sums[:, 0] / sums[:, 1])
    return _estimated(name, float(then(values.mean())), draws, resamples)


def _drawn(name: str, metric: Callable[[Floats], float], resamples: Resamples) -> Measured:
    import numpy as np

    most = min(len(resamples.counts), max(50, _WORK // max(len(resamples.places), 1)))
    draws = np.array([metric(resamples.weights(draw)) for draw in range(most)])
    return _estimated(name, metric(np.ones(len(resamples.places))), draws, resamples)


def _estimated(name: str, value: float, draws: Floats, resamples: Resamples) -> Measured:
    import numpy as np

    if not np.isfinite(value):
        return Measured(name=name, value=None)
    low, high = interval(value, draws, resamples.clusters)
    return Measured(name=name, value=value, low=low, high=high)


def _slope(labels: npt.NDArray[Any], scores: Floats, resamples: Resamples) -> Measured:
    """With an interval by one Newton step from the fit in every draw, which is all that a bootstrap needs."""
    import numpy as np

    odds = log_odds(scores)
    fitted = logistic(labels, odds)
    if fitted is None:
        return Measured(name="calibration_slope", value=None)
    chance = 0.5 * (1 + np.tanh(0.5 * (fitted[0] + fitted[1] * odds)))
    spread, missed = chance * (1 - chance), labels - chance
    sums = resamples.sums(np.stack([missed, missed * odds, spread, spread * odds, spread * odds * odds], axis=1))
    a, b, c = sums[:, 2], sums[:, 3], sums[:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = fitted[1] + (a * sums[:, 1] - b * sums[:, 0]) / (a * c - b * b)
    return _estimated("calibration_slope", fitted[1], draws, resamples)


def misranked(labels: npt.NDArray[Any], scores: Floats, days: npt.NDArray[Any], draws: Resamples) -> Paired | None:
    """A half less the AUC within days, with its bootstrap error: above 0, scores are the wrong way round.

    None where no day has both outcomes.
    """
    import numpy as np

    ranked = Ranked.of(labels, scores, days)
    value = ranked.auc(np.ones(len(labels)))
    if not np.isfinite(value):
        return None
    most = min(len(draws.counts), max(50, _WORK // max(len(labels), 1)))
    drawn = np.array([ranked.auc(draws.weights(draw)) for draw in range(most)])
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < most / 2:
        return None
    error = float(usable.std(ddof=1)) * (draws.clusters / max(draws.clusters - 1, 1)) ** 0.5
    return Paired(mean=0.5 - value, error=error, clusters=draws.clusters)


def score_rows(table: PredictionTable, rows: pl.DataFrame, said: Mapping[str, tuple[Floats, str]]) -> tuple[HoldOutScore, ...]:
    """Every competitor on the same rows, with intervals from the same draws.

    Args:
        rows: with the keys, ``event_timestamp``, ``label`` and the columns of business metrics.
        said: forecasts and a note per competitor, in order.
    """
    labels = rows["label"].to_numpy()
    draws = resample(cluster_rows(rows, table.entity.key_names), seed=table.model.seed)
    days = rows["event_timestamp"].to_numpy()
    scores = []
    for who, (forecasts, note) in said.items():
        business = {
            metric.name: metric(forecasts, labels, {name: rows[name].to_numpy() for name in metric.columns})
            for metric in table.metrics
        }
        metrics = measure(table.task, labels, forecasts, draws, days=days, business=business)
        ranked = auc(labels, forecasts) if isinstance(table.task, Binary) and len(labels) else None
        mean = loss(table.task, labels, forecasts)
        scores.append(HoldOutScore(who=who, rows=len(labels), loss=mean, auc=ranked, note=note, metrics=metrics))
    return tuple(scores)
