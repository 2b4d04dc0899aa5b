"""The contender: fitted on the chosen window, judged on the hold-out, then refitted on everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_scoring import tasks
from batch_scoring.declare import Binary, PredictionTable, Task, Window
from batch_scoring.domain import Column, HoldOutScore, Training, WindowScore
from batch_scoring.errors import NoData
from batch_scoring.scoring import Scorer, encode
from pipelines.training.baseline import forecast
from pipelines.training.fit import TrainingData, fit
from pipelines.training.folds import Block, in_block, known
from pipelines.training.metrics import auc, loss
from pipelines.training.samples import training_rows
from pipelines.training.search import both_classes, predict

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.training.folds import Mask

CONTENDER, BASELINE, LIVE = "contender", "baseline", "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The live version's model, as far as a comparison needs it."""

    model: bytes
    features: tuple[Column, ...]
    training: Training


def judge_on_holdout(
    data: TrainingData,
    table: PredictionTable,
    block: Block,
    window: Window,
    params: Mapping[str, Any],
    champion: Champion | None,
) -> tuple[HoldOutScore, ...]:
    """Contender, baseline and, if there is one, the live version on the same rows; each knew only what was known at the cut-off.

    Raises:
        NoData: the window holds only one class at the hold-out's cut-off.
    """
    test = in_block(data.events, block)
    labels = data.labels[test]
    past = known(data.events, data.known_at, table.label, block.cutoff)
    train = training_rows(data, table.label, block.cutoff, window, block)
    _require_both_classes(data, train, block.cutoff)
    contender = predict(fit(data, train, params, table.model.rounds), data, test)
    naive = forecast(data.frame.filter(past), data.frame.filter(test), table.baseline, table.label, block.cutoff)
    scores = [_scored(table.task, CONTENDER, labels, contender), _scored(table.task, BASELINE, labels, naive)]
    if champion is not None:
        live = _judge_champion(data, table, block, champion, test)
        if live is not None:
            scores.append(_scored(table.task, LIVE, labels, live[0], live[1]))
    return tuple(scores)


def _judge_champion(
    data: TrainingData, table: PredictionTable, block: Block, champion: Champion, test: Mask
) -> tuple[npt.NDArray[np.float64], str] | None:
    """The live model on the hold-out, fairly: a model that was refitted on some of these labels has seen the answers.

    Such a model is replaced by its recipe (its features, window and parameters) fitted at the hold-out's cut-off; so is
    one that needs a feature no longer served, without that feature. None when its recipe cannot be fitted at all.
    """
    served = {feature.name for feature in data.features}
    gone = tuple(feature.name for feature in champion.features if feature.name not in served)
    if not gone and champion.training.cutoff <= block.cutoff:
        rows = data.frame.filter(test).select(feature.name for feature in champion.features).to_arrow()
        live = Scorer(model=champion.model, features=champion.features, task=table.task)
        return live.forecasts(encode(rows, champion.features)), "as served"
    columns = [feature.name for feature in data.features]
    places = [columns.index(feature.name) for feature in champion.features if feature.name in served]
    train = training_rows(data, table.label, block.cutoff, champion.training.window, block)
    if not places or not both_classes(data, train):
        return None
    recipe = replace(
        data, matrix=np.ascontiguousarray(data.matrix[:, places]), features=tuple(data.features[place] for place in places)
    )
    fitted = fit(recipe, train, champion.training.params, champion.training.rounds)
    note = "same recipe, fitted at the cut-off" + (f", without {', '.join(gone)}" if gone else "")
    return predict(fitted, recipe, test), note


def refit(
    data: TrainingData,
    table: PredictionTable,
    as_of: datetime,
    window: Window,
    params: Mapping[str, Any],
    windows: tuple[WindowScore, ...],
    holdout: tuple[HoldOutScore, ...],
    training_set: str,
) -> tuple[bytes, Training]:
    """The model to serve: the chosen window on every label known at the as-of, and the record of how it came to be."""
    rows = training_rows(data, table.label, as_of, window)
    _require_both_classes(data, rows, as_of)
    events = data.events[rows]
    training = Training(
        window=window,
        cutoff=as_of,
        train_rows=int(rows.sum()),
        train_from=_aware(events.min()),
        train_to=_aware(events.max()),
        rounds=table.model.rounds,
        params=dict(params),
        windows=windows,
        holdout=holdout,
        training_set=training_set,
    )
    return fit(data, rows, params, table.model.rounds), training


def _scored(task: Task, who: str, labels: npt.NDArray[Any], forecasts: npt.NDArray[np.float64], note: str = "") -> HoldOutScore:
    area = auc(labels, forecasts) if isinstance(task, Binary) else None
    return HoldOutScore(who=who, rows=len(labels), loss=loss(task, labels, forecasts), auc=area, note=note)


def _require_both_classes(data: TrainingData, rows: Mask, cutoff: datetime) -> None:
    if not both_classes(data, rows):
        raise NoData(
            f"training rows known at {cutoff:%Y-%m-%d %H:%M} UTC",
            expected=tasks.outcomes(data.task),
            found=f"{int(rows.sum())} rows with one outcome at most",
            fix="Choose a later as-of, a longer window, or ingest more history.",
        )


def _aware(moment: np.datetime64) -> datetime:
    value: datetime = moment.astype("datetime64[us]").item()
    return value.replace(tzinfo=UTC)
