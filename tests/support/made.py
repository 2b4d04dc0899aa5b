"""Made examples whose right answers are known, and a table that fits them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from batch_scoring import Baseline, Dataset, Entity, HoldOut, Key, Label, Model, PredictionTable, Schedule
from batch_scoring.domain import Column
from pipelines.training.fit import TrainingData, encode_training

LABEL = Label(sql="label.sql", horizon=timedelta(days=1), delay=timedelta(0))
DAILY = Schedule(every="day", at="00:00")
MODEL = Model(rounds=20, depth=3, min_child_weight=1.0)
FEATURES = (Column(name="x", type="DOUBLE", role="feature"), Column(name="kind", type="VARCHAR", role="feature"))


def made(days: int = 60, per_day: int = 60, flip_at: int | None = None, seed: int = 0) -> TrainingData:
    """Examples in which x > 0 makes the label likely; from day ``flip_at`` on it makes it unlikely instead."""
    rng = np.random.default_rng(seed)
    rows = []
    for day in range(days):
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
        x = rng.normal(size=per_day)
        sign = -1 if flip_at is not None and day >= flip_at else 1
        label = rng.random(per_day) < 1 / (1 + np.exp(-3 * sign * x))
        rows.append(
            pl.DataFrame(
                {
                    "id": np.arange(per_day),
                    "event_timestamp": [moment] * per_day,
                    "label_known_at": [moment + timedelta(days=1)] * per_day,
                    "label": label.astype(np.int64),
                    "x": x,
                    "kind": rng.choice(["a", "b"], per_day),
                }
            )
        )
    return replace(encode_training(pl.concat(rows), FEATURES), keys=("id",))


def table(**changes: object) -> PredictionTable:
    """A daily table of those examples."""
    declared = {
        "name": "made",
        "description": "A made table.",
        "entity": Entity(name="thing", keys=(Key(name="id", type="integer"),)),
        "feature_service": "made",
        "population": "population.sql",
        "label": LABEL,
        "schedule": DAILY,
        "sources": (),
        "datasets": (Dataset(name="rows", sql="rows.sql", keys=("id",)),),
        "windows": (7, 30, "all"),
        "holdout": HoldOut(days=5, folds=2),
        "baseline": Baseline(groups=(("id",),), days=30, min_rows=5),
        "model": MODEL,
    }
    return PredictionTable(**(declared | changes))  # type: ignore[arg-type]
