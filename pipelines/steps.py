"""The steps of a run, as plain functions. The command line and Dagster both call these and nothing else.

    ingest → build_training_set → search → train → score → explain → judge_and_build → publish_version

Each step reads what the one before left in the run's folder and writes its own file there, so that a step can run in a
process of its own and be repeated. ``as_of`` comes with the run; no step reads a clock except for what is stamped
``built_at`` and ``when``, and those moments are arguments.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch_scoring.codec import from_json, to_json
from batch_scoring.declare import Binary
from batch_scoring.domain import EXPLANATIONS, FEATURES, MODEL, PREDICTIONS, Manifest, Release, Skew, Staged
from batch_scoring.errors import GateFailed, NoData
from batch_scoring.gates import GateResult
from pipelines.run import Examples, Run, Search, Trained, alone

if TYPE_CHECKING:
    import polars as pl

    from batch_scoring.store import Store
    from pipelines.features import FeatureSource
    from pipelines.training.cells import Evaluator
    from pipelines.training.continuing import Champion
    from pipelines.training.fit import TrainingData

Progress = Callable[[str], None]
"""Told in a few words what is being done now."""

EXAMPLES, SEARCH, TRAINED = "examples.json", "search.json", "trained.json"
VALIDATION, JUDGED, HOLDOUT = "validation.parquet", "judged.ubj", "holdout.parquet"
"""Out-of-time forecasts of the chosen recipe on the search's blocks; the model that was judged on the hold-out;
what every competitor forecast there."""
TRAINING = "training.parquet"
POPULATION, SCORES, SKEW = "population.parquet", "scores.parquet", "skew.json"
_BATCH_ROWS = 16_384


def quiet(_: str) -> None:
    """The progress of somebody who does not want to hear about it."""


def build_training_set(run: Run, source: FeatureSource) -> Examples:
    """The examples whose labels are known at the as-of, with their features: named, recorded and kept by content.

    Raises:
        NoData: nothing to learn from, or nobody to score at this as-of; the latter is found before anything dear is done.
        DeclarationError: a positional feature that is none.
    """
    import pyarrow.parquet as pq

    from pipelines.delivery import current_delivery, require_current
    from pipelines.features.served import plan_declared
    from pipelines.features.skew import require_positional
    from pipelines.features.training_set import training_set
    from pipelines.files import link_or_copy
    from pipelines.queries import population

    delivery = current_delivery(run.table.name, run.settings).id
    pq.write_table(population(run.product, run.settings, run.as_of), run.file(POPULATION))
    planned = plan_declared(run.product, run.settings, source, run.as_of)
    built = training_set(planned, run.settings)
    require_current(run.table.name, delivery, run.settings)  # each of them followed the link by itself
    columns = source.columns()
    require_positional(run.product, columns)
    path = run.file(TRAINING)
    link_or_copy(built.path, path)  # the set itself may go before this run is over, if many others are made meanwhile
    examples = Examples(
        id=built.record.name,
        path=str(path),
        delivery=delivery,
        columns=columns,
        note=planned.note,
        definitions=built.record.recipe.definitions,
    )
    run.file(EXAMPLES).write_bytes(to_json(examples))
    return examples


def search(run: Run, progress: Progress = quiet) -> Search:
    """Search window, parameters and mode on blocks before the hold-out; one that was interrupted goes on.

    Raises:
        NoData: too little history at this as-of.
    """
    from pipelines.training.folds import plan_blocks
    from pipelines.training.search import search as search_recipes
    from pipelines.training.search import validation

    table = run.table
    evaluator = _evaluator(run, progress)
    blocks = plan_blocks(evaluator.data.events, table.schedule, table.holdout, table.label)[1:]
    found = search_recipes(evaluator, table, blocks, monotonic)
    validation(evaluator, blocks, found.recipe).write_parquet(run.file(VALIDATION))
    run.file(SEARCH).write_bytes(to_json(found))
    return found


def train(run: Run, progress: Progress = quiet) -> Trained:
    """Judge the chosen recipe's model against baseline and live on the hold-out, then refit it on everything known."""
    import polars as pl

    from pipelines.training.contender import judge_on_holdout, refit
    from pipelines.training.folds import plan_blocks
    from pipelines.training.tuning import reported, tune

    table = run.table
    found = from_json(_left(run, SEARCH), Search)
    evaluator = _evaluator(run)
    holdout_block, *blocks = plan_blocks(evaluator.data.events, table.schedule, table.holdout, table.label)
    progress("calibration and threshold")
    tuned = tune(evaluator.data, table, tuple(blocks), pl.read_parquet(run.file(VALIDATION)))
    progress("contender on the hold-out")
    judged = judge_on_holdout(evaluator, table, holdout_block, found.recipe, _champion(run), tuned)
    judged.rows.write_parquet(run.file(HOLDOUT))
    progress("refit")
    examples = _examples(run)
    model, trained = refit(evaluator, table, run.as_of, found, judged.scores, examples.id)
    threshold = reported(tuned.threshold, table, judged.rows)
    training = replace(trained.training, note=examples.note, calibration=tuned.calibration, threshold=threshold)
    trained = replace(trained, training=training)
    run.file(MODEL).write_bytes(model)
    run.file(JUDGED).write_bytes(judged.model)
    run.file(TRAINED).write_bytes(to_json(trained))
    return trained


def score(run: Run, source: FeatureSource) -> int:
    """Score the whole population: its features as served, margins, scores, decisions and ranks. Returns the rows.

    Raises:
        NoData: another delivery became current since the training set was built; the two must not be mixed.
        DeclarationError: a positional feature would be served as a value that training has never seen.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    from batch_scoring.engines.local import map_batches
    from batch_scoring.scoring import Scorer
    from pipelines.features.skew import require_positional, with_constants
    from pipelines.training.thresholds import version_threshold

    table, trained = run.table, _trained(run)
    _require_same_delivery(run)
    require_positional(run.product, trained.features)
    keys = pq.read_table(run.file(POPULATION))
    names = [*table.entity.key_names, *(feature.name for feature in trained.features)]
    served = with_constants(source.population(keys, run.as_of).select(names), table.positional)
    pq.write_table(served, run.file(FEATURES))
    run.file(SKEW).write_bytes(to_json(_skew(run, source, trained, pl.DataFrame(served))))
    calibration = trained.training.calibration
    scorer = Scorer(model=run.file(MODEL).read_bytes(), features=trained.features, task=table.task, calibration=calibration)
    batches = pq.ParquetFile(run.file(FEATURES)).iter_batches(_BATCH_ROWS)
    scored = pa.Table.from_batches(list(map_batches(scorer, batches, threads=run.settings.threads)))
    by = "margin" if isinstance(table.task, Binary) else "score"  # a calibrated score may be shared by different margins
    frame = pl.DataFrame(scored).with_columns(rank=pl.col(by).rank("ordinal", descending=True).cast(pl.Int64))
    if isinstance(table.task, Binary):
        decision = table.decision
        declared = decision.threshold if isinstance(decision.threshold, int | float) else 0.5
        threshold = version_threshold(trained.training.threshold or declared, frame["score"].to_numpy())
        yes = pl.when(pl.col("score") >= threshold).then(pl.lit(decision.yes)).otherwise(pl.lit(decision.no))
        frame = frame.with_columns(decision=yes, threshold=pl.lit(threshold, dtype=pl.Float64))
    keyed = pl.read_parquet(run.file(FEATURES), columns=list(table.entity.key_names))
    keyed.hstack(frame).write_parquet(run.file(SCORES))
    return len(frame)


def explain(run: Run) -> int:
    """Exact contributions for every scored row, and the top reasons in words. Returns the rows."""
    import pyarrow.parquet as pq

    from batch_scoring.engines.local import map_batches
    from explain.batches import ExplainBatch

    table, trained = run.table, _trained(run)
    explainer = ExplainBatch(
        model=run.file(MODEL).read_bytes(),
        keys=table.entity.key_names,
        features=trained.features,
        task=table.task,
        top=table.explain.top,
    )
    scores = pq.read_table(run.file(SCORES))
    batches = pq.ParquetFile(run.file(FEATURES)).iter_batches(_BATCH_ROWS)
    explanations = predictions = None
    done = 0
    try:
        for batch in map_batches(explainer, batches, threads=run.settings.threads):
            reasons = batch.column("reasons")
            contributions = batch.drop_columns(["reasons"])
            part = scores.slice(done, len(batch)).append_column("reasons", [reasons])
            explanations = explanations or pq.ParquetWriter(run.file(EXPLANATIONS), contributions.schema)
            predictions = predictions or pq.ParquetWriter(run.file(PREDICTIONS), part.schema)
            explanations.write_batch(contributions)
            predictions.write_table(part)
            done += len(batch)
    finally:
        for writer in (explanations, predictions):
            if writer is not None:
                writer.close()
    return done


def open_store(run: Run, *, when: datetime) -> Store:
    """The store, made if it is not there yet. Called first, so that one that cannot be written costs nobody a training.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    from batch_scoring.store import Store, create_store

    store = Store(root=run.settings.store)
    create_store(store, who=run.settings.actor(), when=when)
    return store


def judge_and_build(run: Run, *, built_at: datetime) -> Manifest:
    """Judge the run by the table's gates and store it, passed or failed, as an immutable version with its report."""
    from batch_scoring.gates import judge
    from batch_scoring.store import build_version
    from pipelines.evidence import gather
    from pipelines.record import draft_version

    trained = _trained(run)
    store = open_store(run, when=built_at)
    gates = judge(gather(run, trained.training), run.table.gates, run.waivers)
    staged = Staged(draft=draft_version(run, trained, gates, built_at), folder=run.folder)
    manifest = build_version(store, staged, memory_limit=run.settings.memory_limit, threads=run.settings.threads)
    shutil.rmtree(run.folder)
    return manifest


def publish_version(run: Run, manifest: Manifest, *, when: datetime) -> Release:
    """Make a judged version live if it speaks for a later moment than the live one; drop what retention no longer keeps.

    No run goes back in time by itself: an older version is kept, and a person may publish it.

    Raises:
        GateFailed: a gate failed; live is untouched and the version is kept with its report.
        StoreConflict: not newer than live, or rolled back before.
    """
    from batch_scoring.store import Store, prune, publish
    from pipelines.tracking.catch_up import follow

    store, table = Store(root=run.settings.store), run.table.name
    try:
        refuse_failed(table, manifest)
        return publish(store, table, manifest.version, who=run.settings.actor(), when=when, why=run.reason, scheduled=True)
    finally:  # refused versions take space too
        prune(store, table, run.table.retention)
        follow(run.settings)


def version_of(run: Run) -> Manifest:
    """The newest stored version for the run's as-of.

    Raises:
        NoData: none was built.
    """
    from batch_scoring.store import Store, versions

    built = [each for each in versions(Store(root=run.settings.store), run.table.name) if each.draft.as_of == run.as_of]
    if not built:
        raise NoData(
            f"version of '{run.table.name}' as of {run.as_of:%Y-%m-%d %H:%M} UTC",
            expected="one that was built",
            found="none",
            fix="Materialize 'version' for this partition first.",
        )
    return max(built, key=lambda manifest: manifest.version)


def refuse_failed(table: str, manifest: Manifest) -> None:
    """Raise the sentence for a version whose gates failed; nothing for one that passed."""
    failed = failed_gates(manifest.draft.gates)
    if failed:
        raise GateFailed(
            f"version {manifest.version} of '{table}'",
            expected="every gate passed",
            found="; ".join(f"{gate.gate}: {gate.message.rstrip('.')}" for gate in failed),
            fix=f"Live is unchanged. See 'foretable versions {table}'.",
        )


def failed_gates(gates: tuple[GateResult, ...]) -> tuple[GateResult, ...]:
    """The gates that stop a publish: failed, and neither waived nor there to warn only."""
    return tuple(gate for gate in gates if gate.stops)


def run_all(
    run: Run, source: FeatureSource, *, clock: Callable[[], datetime], progress: Progress = quiet
) -> tuple[Manifest, Release]:
    """A whole run, every step in order, from the current delivery to a published version.

    Args:
        clock: gives the wall-clock moments that are recorded; nothing is computed from them.

    Raises:
        NoData, GateFailed, StoreError: live is unchanged. Among them StoreLocked if the same run is already being made.
    """
    with alone(run):
        open_store(run, when=clock())
        progress("training set")
        build_training_set(run, source)
        search(run, progress)
        train(run, progress)
        progress("scores")
        score(run, source)
        progress("explanations")
        explain(run)
        progress("gates and version")
        manifest = judge_and_build(run, built_at=clock())
        progress("publish")
        return manifest, publish_version(run, manifest, when=clock())


def _trained(run: Run) -> Trained:
    return from_json(_left(run, TRAINED), Trained)


def _left(run: Run, name: str) -> bytes:
    """A file that an earlier step of the run left."""
    try:
        return run.file(name).read_bytes()
    except FileNotFoundError:
        raise NoData(
            f"run of '{run.table.name}' as of {run.as_of:%Y-%m-%d %H:%M} UTC",
            expected=f"{name}, left by an earlier step",
            found="none; a finished run keeps no files",
            fix="Run it again from the training set on.",
        ) from None


def _require_same_delivery(run: Run) -> None:
    from pipelines.delivery import current_delivery

    began, now = _examples(run).delivery, current_delivery(run.table.name, run.settings).id
    if began != now:
        raise NoData(
            f"run of '{run.table.name}' as of {run.as_of:%Y-%m-%d %H:%M} UTC",
            expected=f"delivery {began} to stay current",
            found=f"{now}, ingested meanwhile",
            fix="Run it again from the training set on.",
        )


def _skew(run: Run, source: FeatureSource, trained: Trained, served: pl.DataFrame) -> Skew:
    from pipelines.features.skew import measure, read_trained

    record = trained.training
    return measure(
        served,
        source,
        product=run.product,
        as_of=run.as_of,
        features=trained.features,
        trained=read_trained(Path(_examples(run).path), record.train_from, record.train_to),
    )


def _examples(run: Run) -> Examples:
    return from_json(_left(run, EXAMPLES), Examples)


@lru_cache(maxsize=1)  # the search and the training of one run read the same rows
def _load(run: Run, examples: Examples) -> TrainingData:
    """The run's training set, encoded. No later label is in its file."""
    import polars as pl

    from pipelines.training.fit import encode_training

    table = run.table
    encoded = encode_training(pl.read_parquet(examples.path), examples.columns, table.task)
    return replace(encoded, keys=table.entity.key_names, segments=table.segments, timezone=table.schedule.timezone)


def _evaluator(run: Run, progress: Progress = quiet) -> Evaluator:
    """What fits this run's models, with everything that it fitted before; no more threads than there are cores."""
    from pipelines.training.cells import Evaluator
    from pipelines.training.continuing import continuation

    examples = _examples(run)
    data = _load(run, examples)
    return Evaluator(
        data=data,
        label=run.table.label,
        fingerprint=f"{examples.id} {run.as_of:%Y%m%dT%H%M}",
        continuation=continuation(data, _champion(run), run.as_of, run.table.search.modes),
        threads=min(run.settings.threads, _cores()),
        folder=run.folder / "search",
        progress=progress,
    )


def _cores() -> int:
    """Cores that this process may use; macOS does not say, and has them all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _champion(run: Run) -> Champion | None:
    """The live version, if it answers the question that the table asks now; its gates say so when it does not."""
    from pipelines.against_live import live_version, why_apart
    from pipelines.training.continuing import Champion

    live = live_version(run)
    if live is None or why_apart(live[0], run.table):
        return None
    manifest, folder = live
    return Champion(
        model=(folder / MODEL).read_bytes(),
        features=tuple(column for column in manifest.draft.columns if column.role == "feature"),
        training=manifest.draft.training,
        version=manifest.version,
    )
