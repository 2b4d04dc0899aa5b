"""The numbers that the gates of a run are judged by, gathered from its files and from what is live."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batch_scoring import tasks
from batch_scoring.codec import from_json
from batch_scoring.domain import EXPLANATIONS, FEATURES, MODEL, PREDICTIONS, Skew, Training
from batch_scoring.gates import Evidence
from pipelines.run import Run, Trained
from pipelines.training.contender import BASELINE, CONTENDER, LIVE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batch_scoring.measured import Agreement


def gather(run: Run, training: Training) -> Evidence:
    """Look at what the run wrote: predictions against population, contributions against margins, scores against live."""
    import numpy as np
    import polars as pl

    from pipelines.training.metrics import population_stability

    keys = list(run.table.entity.key_names)
    population = pl.read_parquet(run.file("population.parquet"), columns=keys)
    predictions = pl.read_parquet(run.file(PREDICTIONS), columns=[*keys, "score", "margin"])
    scores, margins = predictions["score"], predictions["margin"].to_numpy()
    distinct = predictions.select(keys).unique()
    skew = from_json(run.file("skew.json").read_bytes(), Skew)
    losses = {score.who: score.loss for score in training.holdout}
    notes = {score.who: score.note for score in training.holdout}
    live = live_scores(run)
    return Evidence(
        population=len(population),
        rows=len(predictions),
        matched=len(distinct.join(population.unique(), on=keys, how="semi", nulls_equal=True)),
        duplicates=len(predictions) - len(distinct),
        invalid_scores=tasks.invalid(run.table.task, scores.fill_null(float("nan")).to_numpy()),
        contributions_error=_contributions_error(run, margins) / tasks.contribution_scale(run.table.task, margins),
        loss=losses[CONTENDER],
        baseline_loss=losses[BASELINE],
        live_loss=losses.get(LIVE),
        live_note=notes.get(LIVE, ""),
        skewed={feature.feature: feature.differing for feature in skew.features if feature.differing},
        label_age=(run.as_of - training.train_to - run.table.label.matures_after) / timedelta(days=1),
        refit=_refit(run),
        score_psi=None if live is None else population_stability(live, np.asarray(scores.drop_nulls().to_numpy())),
    )


def _refit(run: Run) -> Agreement | None:
    """The model that was judged beside the one that is released, on what is served; None when the judged one is not there."""
    from pipelines.training.refit import compare_models

    judged = run.file("judged.ubj")
    if not judged.exists():
        return None
    trained = from_json(run.file("trained.json").read_bytes(), Trained)
    released = run.file(MODEL).read_bytes()
    return compare_models(judged.read_bytes(), released, run.file(FEATURES), trained.features, run.table.task)


def live_scores(run: Run) -> npt.NDArray[np.float64] | None:
    """Scores of the live version, any order; None when nothing is live."""
    import polars as pl

    from batch_scoring.store import Reader, version_folder

    if not (run.settings.store / "current").exists():
        return None
    live = Reader(run.settings.store).snapshot().served(run.table.name).live
    if live is None:
        return None
    path = version_folder(run.settings.store, run.table.name, live) / PREDICTIONS
    return pl.read_parquet(path, columns=["score"])["score"].to_numpy()


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
