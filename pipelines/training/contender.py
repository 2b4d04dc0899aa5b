"""The contender: fitted on the chosen window, judged on the hold-out, then refitted on everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from batch_scoring import tasks
from batch_scoring.declare import PredictionTable
from batch_scoring.domain import Column, HoldOutScore, Training
from batch_scoring.errors import NoData
from batch_scoring.scoring import Scorer, encode
from pipelines.training.baseline import naive_forecasts
from pipelines.training.calibration import recalibrated
from pipelines.training.cells import Cell, Evaluator
from pipelines.training.continuing import Champion
from pipelines.training.fit import TrainingData, both_classes, fit, fit_matrix, predict, training_matrix
from pipelines.training.folds import Block, in_block, known, to_aware
from pipelines.training.measures import score_rows
from pipelines.training.recipe import Recipe, Search, Trained, plan_id
from pipelines.training.samples import training_rows
from pipelines.training.tuning import Tuned, judged_columns, naive_columns

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.training.folds import Mask

CONTENDER, BASELINE, LIVE = "contender", "baseline", "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the hold-out said: every competitor's score, and the contender's model that was judged there.

    Attributes:
        rows: the keys, ``event_timestamp``, ``label`` and the columns that results are broken down by, with the forecasts of
            ``contender``, ``baseline``, ``constant`` and, if there is one, ``live``; of classes a list in each row.
    """

    scores: tuple[HoldOutScore, ...]
    model: bytes
    features: tuple[Column, ...]
    rows: pl.DataFrame


def judge_on_holdout(
    evaluator: Evaluator,
    table: PredictionTable,
    block: Block,
    recipe: Recipe,
    champion: Champion | None,
    tuned: Tuned | None = None,
) -> Judged:
    """Contender, baseline and, if there is one, the live version on the same rows; each knew only what was known at the cut-off.

    Args:
        tuned: the calibration that the contender is served with, and the naive forecast that is the bar.

    Raises:
        NoData: the window holds only one class at the hold-out's cut-off, or what the recipe goes on from is gone.
    """
    data = evaluator.data
    test = in_block(data.events, block)
    labels = data.labels[test]
    past = known(data.events, data.known_at, table.label, block.cutoff)
    _require_both_classes(data, training_rows(data, table.label, block.cutoff, recipe.window, block), block.cutoff)
    material = evaluator.material(recipe)
    model = evaluator.fit(Cell(recipe=recipe, block=block))
    if model is None:
        raise _nothing_to_go_on_from(recipe)
    tuned = tuned or Tuned()
    frame = data.frame.select(naive_columns(table))
    naive = naive_forecasts(frame.filter(pl.Series(past)), frame.filter(pl.Series(test)), table, block.cutoff)
    said = {CONTENDER: (recalibrated(tuned.calibration, predict(model, material, test)), "")}
    said[BASELINE] = (naive[tuned.naive], tuned.naive)
    live = None if champion is None else _judge_champion(data, table, block, champion, test)
    if live is not None:
        said[LIVE] = live
    wanted = [name for name in judged_columns(table) if name in data.frame.columns]
    columns = dict.fromkeys([*table.entity.key_names, "event_timestamp", *wanted])
    rows = data.frame.filter(pl.Series(test)).select(list(columns)).with_columns(label=pl.Series(labels))
    forecasts = [pl.Series(name, values) for name, (values, _) in said.items()]
    rows = rows.with_columns(*forecasts, pl.Series("constant", naive["constant"]))
    return Judged(scores=score_rows(table, rows, said), model=model, features=material.features, rows=rows)


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
        calibration = champion.training.calibration
        live = Scorer(model=champion.model, features=champion.features, task=table.task, calibration=calibration)
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
    return recalibrated(champion.training.calibration, predict(fitted, recipe, test)), note


def refit(
    evaluator: Evaluator,
    table: PredictionTable,
    as_of: datetime,
    found: Search,
    holdout: tuple[HoldOutScore, ...],
    training_set: str,
) -> tuple[bytes, Trained]:
    """The model to serve: the chosen recipe on every label known at the as-of, and the record of how it came to be.

    Raises:
        NoData: the window holds only one class, or what the recipe goes on from is gone.
    """
    recipe, data, live = found.recipe, evaluator.material(found.recipe), evaluator.continuation
    rows = training_rows(data, table.label, as_of, recipe.window)
    _require_both_classes(data, rows, as_of)
    if recipe.mode != "scratch" and live is None:
        raise _nothing_to_go_on_from(recipe)
    base = live.champion if live is not None and recipe.mode != "scratch" else None
    params = evaluator.parameters(recipe)
    matrix = training_matrix(data, rows, recipe.mode)
    model = fit_matrix(matrix, params, recipe.model.rounds, mode=recipe.mode, base=None if base is None else base.model)
    events = data.events[rows]
    training = Training(
        window=recipe.window,
        cutoff=as_of,
        train_rows=int(rows.sum()),
        train_from=to_aware(events.min()),
        train_to=to_aware(events.max()),
        rounds=_trees(recipe, base),
        params=dict(params),
        windows=found.windows,
        holdout=holdout,
        training_set=training_set,
        mode=recipe.mode,
        base=0 if base is None else base.version,
        verdict=found.verdict,
        verdicts=found.verdicts,
        trials=found.trials,
        plan=plan_id(table),
    )
    return model, Trained(training=training, features=data.features)


def _trees(recipe: Recipe, base: Champion | None) -> int:
    before = 0 if base is None else base.training.rounds
    return before if recipe.mode == "refresh" else before + recipe.model.rounds


def _nothing_to_go_on_from(recipe: Recipe) -> NoData:
    return NoData(
        f"training by {'a warm start' if recipe.mode == 'warm' else 'a refresh'}",
        expected="the live model that the search went on from",
        found="none that fits",
        fix="Search again.",
    )


def _require_both_classes(data: TrainingData, rows: Mask, cutoff: datetime) -> None:
    if not both_classes(data, rows):
        raise NoData(
            f"training rows known at {cutoff:%Y-%m-%d %H:%M} UTC",
            expected=tasks.outcomes(data.task),
            found=f"{int(rows.sum())} rows with one outcome at most",
            fix="Choose a later as-of, a longer window, or ingest more history.",
        )
