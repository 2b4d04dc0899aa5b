"""What the search is worth and what it costs, on a year of real flights.

    python benchmarks/training.py [--quick] [--no-gates] [--workspace DIR]

At six as-of dates the table's search (windows, and eight parameter sets drawn from a small space) chooses a recipe from what
was known then. Its model, a model of all data and one of the last 30 days (both with the declared parameters) and the naive
forecasts then answer for every flight of the 14 days after, which nobody had seen. ``best baseline`` is the one that turned out
best: a bar that no forecast could have known. Intervals and differences are bootstrapped over days; *significantly worse* is a
one-sided 95 % bound above zero.

At two of the dates (all with ``--grid-dates 6``) the exhaustive grid over ends and middles of the same space is fitted on
every block as well, by the same code on the same threads. ``wall_vs_grid`` is the search's time over the grid's, and
``cpu_vs_grid`` the same of processor time, which a busy machine disturbs less; the choice is the same within noise when the loss
of the search's choice on the blocks exceeds that of the grid's, taken by the same rule, by no more than one standard error.

Planted faults and false alarms are those of benchmarks/gates.py. Prints one JSON object; the tables go to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import polars as pl

from batch_scoring import SearchPlan, Space
from batch_scoring.declare import PredictionTable
from batch_scoring.domain import Column
from batch_scoring.gates.bounds import lower_bound
from batch_scoring.scoring import encode
from batch_scoring.settings import load_settings
from pipelines.training.baseline import naive_forecasts
from pipelines.training.cells import Cell, Evaluator
from pipelines.training.choice import choose, excess, tolerance
from pipelines.training.fit import TrainingData, encode_training, fit, parameters, predict
from pipelines.training.folds import Block, judged_on, plan_blocks
from pipelines.training.intervals import Resamples, cluster_rows, paired, resample
from pipelines.training.measures import measure
from pipelines.training.metrics import row_losses
from pipelines.training.recipe import Recipe, Search
from pipelines.training.samples import training_rows
from pipelines.training.search import score_block, search

ROOT = Path(__file__).parents[1]
DATES = tuple(date(2013, month, day) for month, day in ((4, 8), (5, 27), (7, 15), (9, 2), (10, 21), (12, 9)))
GRID_DATES = 2
AFTER = timedelta(days=14)
DEPTHS, RATES, ROUNDS = (3, 4, 6), (0.05, 0.1), (80, 160)
METRICS = ("log-loss", "auc", "brier")


def plan_of(table: PredictionTable) -> SearchPlan:
    """Eight draws from the space that the grid exhausts; what is not in it stays as declared."""
    model = table.model
    space = Space(
        depth=(min(DEPTHS), max(DEPTHS)), learning_rate=(min(RATES), max(RATES)), rounds=(min(ROUNDS), max(ROUNDS)),
        min_child_weight=(model.min_child_weight,) * 2, subsample=(model.subsample,) * 2, colsample=(model.colsample,) * 2,
    )  # fmt: skip
    return SearchPlan(trials=8, batch=4, space=space)


def grid_of(table: PredictionTable) -> list[Recipe]:
    models = [
        replace(table.model, depth=depth, learning_rate=rate, rounds=rounds)
        for depth, rate, rounds in product(DEPTHS, RATES, ROUNDS)
    ]
    return [Recipe(window=window, model=model) for window in table.windows for model in models]


def examples_of(folder: Path) -> tuple[PredictionTable, pl.DataFrame, tuple[Column, ...]]:
    """All labelled flights with their features, in a workspace of their own."""
    from pipelines.features import FeastFeatures, retrieved_examples
    from pipelines.ingest import ingest
    from pipelines.repository import load_repository

    if not (folder / "foretable.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / "feature_repo", folder / "feature_repo", ignore=shutil.ignore_patterns("__pycache__", "*.db"))
        shutil.copy(ROOT / "foretable.toml", folder)
    settings = load_settings(folder)
    flights = load_repository(settings.repo).product("flights")
    ingest(flights, settings)
    source = FeastFeatures(product=flights, settings=settings)
    source.apply()
    table = replace(flights.table, search=plan_of(flights.table))
    keys = table.entity.key_names
    frame = pl.read_parquet(retrieved_examples(flights, settings, source)).sort("event_timestamp", *keys)
    return table, frame, source.columns()


def known_at(table: PredictionTable, frame: pl.DataFrame, columns: tuple[Column, ...], as_of: datetime) -> TrainingData:
    matured = pl.col("event_timestamp") + table.label.matures_after <= as_of
    encoded = encode_training(frame.filter(matured & (pl.col("label_known_at") <= as_of)), columns, table.task)
    return replace(encoded, keys=table.entity.key_names, segments=table.segments, timezone=table.schedule.timezone)


def searched(
    table: PredictionTable, data: TrainingData, blocks: tuple[Block, ...], threads: int
) -> tuple[Search, dict[str, Any]]:
    evaluator = Evaluator(data=data, label=table.label, threads=threads)
    begun, cpu = time.perf_counter(), time.process_time()
    found = search(evaluator, table, blocks, time.monotonic)
    return found, {"seconds": since(begun), "cpu": round(time.process_time() - cpu, 1), "fits": evaluator.fits}


def since(begun: float) -> float:
    return round(time.perf_counter() - begun, 1)


def exhausted(
    table: PredictionTable, data: TrainingData, blocks: tuple[Block, ...], threads: int, chosen: Recipe
) -> dict[str, Any]:
    """The grid's time and its choice by the same rule, beside the loss of what the search chose."""
    evaluator = Evaluator(data=data, label=table.label, threads=threads)
    recipes = grid_of(table)
    begun, cpu = time.perf_counter(), time.process_time()
    forecasts = evaluator.forecasts([Cell(recipe=recipe, block=block) for recipe in recipes for block in blocks])
    seconds, cpu = since(begun), round(time.process_time() - cpu, 1)
    fits = evaluator.fits
    own = evaluator.forecasts([Cell(recipe=chosen, block=block) for block in blocks])

    def scores(recipe: Recipe, found: dict[Cell, Any]) -> list[Any]:
        return [score_block(data, block, found[Cell(recipe=recipe, block=block)]) for block in blocks]

    scored = {recipe: scores(recipe, forecasts) for recipe in recipes}
    picked = choose(scored, table.model, tolerance(len(recipes) - 1))
    over = excess(scores(chosen, own), scored[picked])
    return {
        "seconds": seconds, "cpu": cpu, "fits": fits, "window": str(picked.window), "depth": picked.model.depth,
        "rounds": picked.model.rounds, "excess": round(over.mean, 5), "error": round(over.error, 5),
        "same_within_noise": over.is_noise(1.0),
    }  # fmt: skip


def realised(table: PredictionTable, frame: pl.DataFrame, data: TrainingData, as_of: datetime, chosen: Recipe) -> dict[str, Any]:
    """Every competitor on the flights of the days after, each metric with its interval."""
    rows = frame.filter((pl.col("event_timestamp") >= as_of) & (pl.col("event_timestamp") < as_of + AFTER))
    later = replace(
        encode_training(rows, data.features, table.task),
        matrix=encode(rows.select(feature.name for feature in data.features).to_arrow(), data.features),
        features=data.features,  # the model's own codes: the later rows alone would number their categories anew
    )
    everything = np.ones(len(rows), dtype=bool)
    competitors = {
        "chosen": chosen,
        "always all": Recipe(window="all", model=table.model),
        "always 30 days": Recipe(window=30, model=table.model),
    }
    forecasts = {}
    for name, recipe in competitors.items():
        model = fit(
            data,
            training_rows(data, table.label, as_of, recipe.window),
            parameters(recipe.model, table.task),
            recipe.model.rounds,
        )
        forecasts[name] = predict(model, later, everything)
    labels = later.labels
    naive = naive_forecasts(data.frame, rows, table, as_of)
    losses = {name: row_losses(table.task, labels, found) for name, found in (forecasts | dict(naive)).items()}
    best = min(naive, key=lambda name: float(losses[name].mean()))
    forecasts["best baseline"] = naive[best]
    losses["best baseline"] = losses[best]
    draws = resample(cluster_rows(rows, table.entity.key_names), seed=7)
    measured = {name: measured_of(table, labels, found, draws) for name, found in forecasts.items()}
    return {"rows": len(rows), "baseline": best, "metrics": measured, "against": against(losses, draws)}


def measured_of(table: PredictionTable, labels: Any, found: Any, draws: Resamples) -> dict[str, Any]:
    return {
        each.name: [None if value is None else round(value, 4) for value in (each.value, each.low, each.high)]
        for each in measure(table.task, labels, found, draws)
        if each.name in METRICS
    }


def against(losses: dict[str, Any], draws: Resamples) -> dict[str, Any]:
    """The chosen recipe's excess loss over each fixed choice and over the better of them, with its error."""
    fixed = ("always all", "always 30 days")
    better = min(fixed, key=lambda name: float(losses[name].mean()))
    found = {}
    for name in (*fixed, "best baseline"):
        over = paired(losses["chosen"], losses[name], draws)
        worse = lower_bound(over, 0.95) > 0
        found[name] = {"excess": round(over.mean, 5), "error": round(over.error, 5), "significantly_worse": bool(worse)}
    return found | {"better_fixed": better, "worse_than_better_fixed": found[better]["significantly_worse"]}


def at(
    day: date, table: PredictionTable, frame: pl.DataFrame, columns: tuple[Column, ...], threads: int, grid: bool
) -> dict[str, Any]:
    as_of = table.schedule.as_of(day)
    data = known_at(table, frame, columns, as_of)
    blocks = plan_blocks(data.events, table.schedule, table.holdout, table.label)[1:]
    found, spent = searched(table, data, blocks, threads)
    recipe = found.recipe
    result = {
        "as_of": str(day), "window": str(recipe.window), "depth": recipe.model.depth, "rounds": recipe.model.rounds,
        "rate": round(recipe.model.learning_rate, 3), "verdict": found.verdict, "search": spent,
        "rows_on_blocks": int(sum(judged_on(data.events, data.known_at, block).sum() for block in blocks)),
        "grid": exhausted(table, data, blocks, threads, recipe) if grid else None,
        "after": realised(table, frame, data, as_of, recipe),
    }  # fmt: skip
    show(result)
    return result


def show(result: dict[str, Any]) -> None:
    """A table of one date, for people."""
    after = result["after"]
    print(f"\n{result['as_of']}: {result['verdict']} ({result['search']})", file=sys.stderr)
    for name, metrics in after["metrics"].items():
        cells = "  ".join(f"{metric} {value:.4f} [{low:.4f}, {high:.4f}]" for metric, (value, low, high) in metrics.items())
        note = f" ({after['baseline']})" if name == "best baseline" else ""
        print(f"  {name + note:<32}{cells}", file=sys.stderr)
    if result["grid"]:
        print(f"  grid: {result['grid']}", file=sys.stderr)


def ratio(grids: list[dict[str, Any]], spent: str) -> float | None:
    """What the searches took over what the grids took, together."""
    if not grids:
        return None
    return round(sum(result["search"][spent] for result in grids) / sum(result["grid"][spent] for result in grids), 3)


def gates_of(asked: bool) -> dict[str, Any]:
    """Planted faults and false alarms, where benchmarks/gates.py is asked for."""
    if not asked:
        return {"planted": None, "caught": None, "false_alarm_rate": None}
    sys.path.insert(0, str(Path(__file__).parent))
    from gates import run

    found: dict[str, Any] = run()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first date alone, with its grid, no gates")
    parser.add_argument("--only", choices=[str(day) for day in DATES], help="this date alone")
    parser.add_argument("--no-gates", action="store_true", help="leave out planted faults and false alarms")
    parser.add_argument("--grid-dates", type=int, default=GRID_DATES, metavar="N", help="dates at which the grid is fitted too")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--workspace", type=Path, help="keep the retrieved examples here")
    given = parser.parse_args()
    dates = DATES[:1] if given.quick else tuple(day for day in DATES if given.only in (None, str(day)))
    every = max(1, len(dates) // max(1, min(given.grid_dates, len(dates))))
    with tempfile.TemporaryDirectory() as folder:
        table, frame, columns = examples_of(given.workspace or Path(folder))
        results = [
            at(day, table, frame, columns, given.threads, grid=given.grid_dates > 0 and n % every == every - 1)
            for n, day in enumerate(dates)
        ]
    gates = gates_of(not (given.quick or given.no_gates))
    grids = [result for result in results if result["grid"]]
    summary = {
        "wall_vs_grid": ratio(grids, "seconds"),
        "cpu_vs_grid": ratio(grids, "cpu"),
        "same_choice_within_noise": all(result["grid"]["same_within_noise"] for result in grids) if grids else None,
        "worse_than_best_fixed": sum(result["after"]["against"]["worse_than_better_fixed"] for result in results),
        **{name: gates[name] for name in ("planted", "caught", "false_alarm_rate")},
    }
    print(json.dumps({"dates": results, "gates": gates, "threads": given.threads, "summary": summary}, default=str))


if __name__ == "__main__":
    main()
