"""The numbers that the gates of a run are judged by, gathered from its files and from what is live."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring import tasks
from batch_scoring.codec import from_json
from batch_scoring.declare import Number
from batch_scoring.domain import EXPLANATIONS, FEATURES, MODEL, PREDICTIONS, Column, Skew, Training
from batch_scoring.gates import Evidence
from pipelines.run import Examples, Run, Trained
from pipelines.training.contender import BASELINE, CONTENDER, LIVE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batch_scoring.measured import Agreement


def gather(run: Run, training: Training) -> Evidence:
    """Look at what the run wrote, and at what is live."""
    import polars as pl

    from pipelines.against_live import look
    from pipelines.feature_facts import new_nulls, out_of_range
    from pipelines.holdout import compare

    keys = list(run.table.entity.key_names)
    population = pl.read_parquet(run.file("population.parquet"), columns=keys)
    predictions = pl.read_parquet(run.file(PREDICTIONS), columns=[*keys, "score", "margin"])
    scores, margins = predictions["score"], predictions["margin"].to_numpy()
    distinct = predictions.select(keys).unique()
    skew = from_json(run.file("skew.json").read_bytes(), Skew)
    trained = from_json(run.file("trained.json").read_bytes(), Trained)
    examples = Path(from_json(run.file("examples.json").read_bytes(), Examples).path)
    said = {score.who: score for score in training.holdout}
    judged = compare(run.table, training, pl.read_parquet(run.file("holdout.parquet")))
    live = look(run, predictions, [feature.name for feature in trained.features])
    return Evidence(
        population=len(population),
        rows=len(predictions),
        matched=len(distinct.join(population.unique(), on=keys, how="semi", nulls_equal=True)),
        duplicates=len(predictions) - len(distinct),
        invalid_scores=tasks.invalid(run.table.task, scores.fill_null(float("nan")).to_numpy()),
        contributions_error=_contributions_error(run, margins) / tasks.contribution_scale(run.table.task, margins),
        loss=judged.loss,
        baseline_loss=judged.baseline,
        live_loss=judged.live,
        live_note=said[LIVE].note if LIVE in said else "",
        apart=live.apart,
        squared=isinstance(run.table.task, Number) and run.table.task.quantile is None,
        baseline=said[BASELINE].note,
        gain=judged.gain,
        excess=judged.excess,
        segments=judged.segments,
        groups=judged.groups,
        metrics=said[CONTENDER].metrics,
        skewed={feature.feature: feature.differing for feature in skew.features if feature.differing},
        label_age=(run.as_of - training.train_to - run.table.label.matures_after) / timedelta(days=1),
        refit=_refit(run),
        score_psi=live.score_psi,
        score_distance=live.score_distance,
        rank_moves=live.rank_moves,
        live_rows=live.live_rows,
        importance=live.importance,
        live_importance=live.live_importance,
        new_nulls=new_nulls(skew),
        out_of_range=out_of_range(run.file(FEATURES), examples, _observed(run, trained), training.train_from, training.train_to),
    )


def _observed(run: Run, trained: Trained) -> list[Column]:
    """The features that are served as they are found."""
    fixed = {each.feature for each in run.table.positional}
    return [feature for feature in trained.features if feature.name not in fixed]


def _refit(run: Run) -> Agreement | None:
    """The model that was judged beside the one that is released, on what is served; None when the judged one is not there."""
    from pipelines.training.refit import compare_models

    judged = run.file("judged.ubj")
    if not judged.exists():
        return None
    trained = from_json(run.file("trained.json").read_bytes(), Trained)
    released = run.file(MODEL).read_bytes()
    return compare_models(judged.read_bytes(), released, run.file(FEATURES), trained.features, run.table.task)


def _contributions_error(run: Run, margins: npt.NDArray[np.float64]) -> float:
    import numpy as np
    import pyarrow.parquet as pq

    file = pq.ParquetFile(run.file(EXPLANATIONS))
    parts = [name for name in file.schema_arrow.names if name not in run.table.entity.key_names]
    worst, done = 0.0, 0
    for batch in file.iter_batches(columns=parts):
        total = np.sum([np.asarray(batch.column(name), dtype=np.float64) for name in parts], axis=0)
        worst = max(worst, float(np.abs(total - margins[done : done + len(batch)]).max(initial=0.0)))
        done += len(batch)
    return worst if done == len(margins) else float("inf")
