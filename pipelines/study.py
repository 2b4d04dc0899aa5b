"""Studies of a table's models that change nothing that is served: how they age, and what their features are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.domain import Training
from batch_scoring.settings import Settings
from pipelines.repository import Product
from pipelines.training.decay import Decay

if TYPE_CHECKING:
    from pathlib import Path

    from batch_scoring.declare import PredictionTable
    from pipelines.features import FeatureSource
    from pipelines.training.fit import TrainingData
    from pipelines.training.importance import Pruning
    from pipelines.training.recipe import Recipe

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a study works on: the examples known at an as-of, and the recipe whose models are studied."""

    product: Product
    settings: Settings
    data: TrainingData
    recipe: Recipe
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayStudy:
    """A decay curve with what it is about. ``period``: the schedule's, ``day`` or ``week``; ages are counted in it."""

    table: TableName
    as_of: datetime
    period: str
    curve: Decay
    says: str


def gather_material(product: Product, settings: Settings, source: FeatureSource, as_of: datetime) -> Material:
    """The training set of an as-of, in memory; and the live version's recipe, or the declared one on the longest window.

    Raises:
        NoData: there is nothing to learn from at this as-of.
    """
    import polars as pl

    from pipelines.features import training_set
    from pipelines.features.served import plan_declared
    from pipelines.training.fit import encode_training

    table = product.table
    built = training_set(plan_declared(product, settings, source, as_of), settings)
    encoded = encode_training(pl.read_parquet(built.path), source.columns(), table.task)
    data = replace(encoded, keys=table.entity.key_names, segments=table.segments, timezone=table.schedule.timezone)
    return Material(product=product, settings=settings, data=data, recipe=recipe_of(table, settings), as_of=as_of)


def recipe_of(table: PredictionTable, settings: Settings) -> Recipe:
    """The recipe of the live version, as a fit from scratch; without one, the declared model on the longest window."""
    from batch_scoring.store import Reader
    from pipelines.training.recipe import Recipe, window_length

    if (settings.store / "current").exists():
        snapshot = Reader(settings.store).snapshot()
        live = snapshot.served(table.name).live
        if live is not None:
            return _scratch(snapshot.manifest(table.name, live).draft.training, table)
    return Recipe(window=max(table.windows, key=window_length), model=table.model)


def _scratch(training: Training, table: PredictionTable) -> Recipe:
    from pipelines.training.recipe import Recipe

    drawn = next((trial.model for trial in training.trials if trial.chosen and trial.mode != "refresh"), table.model)
    return Recipe(window=training.window, model=replace(drawn, rounds=training.rounds))


def study_decay(material: Material, *, ages: int, days: int, share: float, progress: Progress) -> DecayStudy:
    """The decay curve of the recipe's models over the last days, kept in the table's data folder for whoever schedules runs.

    Args:
        ages: the largest age in periods of the schedule. days: as-of moments that every age is asked about.
        share: of the gain over the naive forecast whose loss is not accepted.

    Raises:
        NoData: the history is too short.
    """
    from pipelines.training.cells import Evaluator
    from pipelines.training.decay import decay_curve, describe_decay, measure_decay

    table = material.product.table
    evaluator = Evaluator(data=material.data, label=table.label, threads=material.settings.threads, progress=progress)
    curve = decay_curve(measure_decay(evaluator, table, material.recipe, ages, days), share)
    period = table.schedule.every
    study = DecayStudy(table=table.name, as_of=material.as_of, period=period, curve=curve, says=describe_decay(curve, period))
    file = _decay_file(material.settings, table.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    unfinished.write_bytes(to_pretty_json(study))
    unfinished.replace(file)
    return study


def last_decay(settings: Settings, table: TableName) -> DecayStudy | None:
    """The newest decay study of a table; None when there is none that can be read."""
    try:
        return from_json(_decay_file(settings, table).read_bytes(), DecayStudy)
    except (OSError, ValueError):
        return None


def study_features(material: Material, *, repeats: int, seeds: int, progress: Progress) -> Pruning:
    """What each feature is worth on the hold-out, and which can go.

    Raises:
        NoData: too little history at this as-of.
    """
    from pipelines.training.folds import plan_blocks
    from pipelines.training.importance import weigh_features

    table, data = material.product.table, material.data
    return weigh_features(
        data,
        table,
        plan_blocks(data.events, table.schedule, table.holdout, table.label)[0],
        material.recipe,
        repeats=repeats,
        seeds=seeds,
        threads=material.settings.threads,
        progress=progress,
    )


def _decay_file(settings: Settings, table: TableName) -> Path:
    return settings.data / table / "decay.json"
