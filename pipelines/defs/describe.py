"""What the Dagster UI shows beside each asset: numbers, tables and pictures as metadata."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from batch_scoring.declare import Task
from batch_scoring.domain import EXPLANATIONS, FEATURES, Column, Manifest, Release, Skew, Training
from batch_scoring.errors import DataRejected
from batch_scoring.gates import GateResult
from batch_scoring.tasks import metric, unit
from explain.card import model_card, to_markdown
from pipelines.run import Examples, Run, Search

if TYPE_CHECKING:
    from pipelines.ingest import Delivery

Metadata = dict[str, dg.MetadataValue | str | int | float]


def rejection(error: DataRejected) -> Metadata:
    """The failed checks of a refused delivery."""
    return {"failed checks": markdown(["file", "column", "check", "rows"], error.report)}


def delivery(found: Delivery) -> Metadata:
    """Rows per dataset of a delivery."""
    return {
        "delivery": found.id,
        "dagster/row_count": sum(dataset.rows for dataset in found.datasets),
        "datasets": markdown(["dataset", "rows"], [(dataset.name, f"{dataset.rows:,}") for dataset in found.datasets]),
    }


def features(columns: tuple[Column, ...]) -> Metadata:
    """The served features and what they mean."""
    rows = [(column.name, column.type, column.description) for column in columns]
    return {"features": len(columns), "columns": markdown(["feature", "type", "meaning"], rows)}


def examples(found: Examples) -> Metadata:
    """The training set's name, how to look into it, and why it is not the one that was asked for, if so."""
    return {
        "training set": found.id,
        "look into it": f"foretable trainingset show {found.id[:12]}",
        "features": len(found.columns),
        **({"note": found.note} if found.note else {}),
    }


def windows(found: Search, task: Task) -> Metadata:
    """The search: windows down, folds across, what decided between them, and everything that was tried."""
    folds = sorted({score.fold for score in found.windows}, reverse=True)
    cells = {(score.window, score.fold): score for score in found.windows}
    rows = [
        [
            f"**{each.window}**" if each.window == found.window else str(each.window),
            *(f"{cells[each.window, fold].loss:.4f} ({cells[each.window, fold].train_rows:,} rows)" for fold in folds),
            f"{each.mean:.4f}",
            f"{each.spread:.4f}",
            f"{each.excess:+.4f} ± {each.error:.4f}, {'no more than noise' if each.ties else 'beyond noise'}",
        ]
        for each in found.verdicts
    ]
    heads = ["window", *(f"fold {fold}" for fold in folds), f"mean {metric(task)}", "spread", "over the best"]
    tried = [
        (
            f"**{trial.window}**" if trial.chosen else trial.window,
            trial.mode,
            *(getattr(trial.model, name) for name in ("depth", "learning_rate", "rounds", "min_child_weight")),
            ", ".join(f"{loss:.4f}" for loss in trial.losses),
            "pruned" if trial.pruned else "",
        )
        for trial in found.trials
    ]
    columns = ["window", "mode", "depth", "rate", "rounds", "child weight", "losses, newest block first", ""]
    return {
        "window": str(found.window),
        "verdict": found.verdict,
        "windows": markdown(heads, rows),
        "trials": markdown(columns, tried),
    }


def training(record: Training, task: Task) -> Metadata:
    """The hold-out comparison and the refit."""
    loss = metric(task)
    rows = [(score.who, f"{score.loss:.4f}", _number(score.auc), score.rows, score.note) for score in record.holdout]
    return {
        "training rows": record.train_rows,
        "trained on": f"{record.train_from:%Y-%m-%d} to {record.train_to:%Y-%m-%d}",
        "hold-out": markdown(["who", loss, "AUC", "rows", "note"], rows),
        **{f"hold-out {loss} {score.who}": score.loss for score in record.holdout},
    }


def skew(found: Skew) -> Metadata:
    """Served features beside training, the most shifted first."""
    rows = [
        (each.feature, _number(each.psi), each.differing, f"{each.served_nulls:.1%}", each.serve_as or "")
        for each in sorted(found.features, key=lambda each: -(each.psi or 0.0))
    ]
    return {
        "cells that training would see otherwise": found.differing,
        "served features": markdown(["feature", "PSI against training", "differing cells", "nulls", "served as"], rows),
    }


def importance(run: Run) -> Metadata:
    """The summary plot of the run's explanations, and the strongest features."""
    from explain.summary import mean_contributions, plot_summary

    keys = run.table.entity.key_names
    strongest = mean_contributions(run.file(EXPLANATIONS), keys)[:15]
    picture = base64.b64encode(plot_summary(run.file(EXPLANATIONS), run.file(FEATURES), keys, unit(run.table.task))).decode()
    return {
        "summary": dg.MetadataValue.md(f"![SHAP summary](data:image/png;base64,{picture})"),
        "importance": markdown(["feature", "mean |contribution|"], [(name, f"{mean:.4f}") for name, mean in strongest]),
    }


def version(manifest: Manifest) -> Metadata:
    """A stored version: its number, rows and gate report."""
    rows = [
        (gate.gate, "**FAIL**" if gate.stops else gate.verdict, _number(gate.observed), gate.limit, _said(gate))
        for gate in manifest.draft.gates
    ]
    return {
        "version": manifest.version,
        "dagster/row_count": manifest.draft.rows,
        "model card": dg.MetadataValue.md(to_markdown(model_card(manifest))),
        "gates": markdown(["gate", "verdict", "observed", "limit", "message"], rows),
        **({} if manifest.draft.skew is None else skew(manifest.draft.skew)),
        **({"note": manifest.draft.training.note} if manifest.draft.training.note else {}),
    }


def gates(manifest: Manifest) -> list[dg.AssetCheckResult]:
    """A check result per gate."""
    return [
        dg.AssetCheckResult(
            check_name=gate.gate,
            passed=gate.passed,
            severity=dg.AssetCheckSeverity.ERROR if gate.severity == "error" and not gate.waived else dg.AssetCheckSeverity.WARN,
            description=_said(gate),
            metadata={"limit": gate.limit} | ({} if gate.observed is None else {"observed": gate.observed}),
        )
        for gate in manifest.draft.gates
    ]


def _said(gate: GateResult) -> str:
    return f"{gate.message} Waived: {gate.waived}" if gate.waived else gate.message


def release(made: Release, run: Run) -> Metadata:
    """Where to read what has just been published."""
    settings = run.settings
    table = run.table.name
    return {
        "release": made.id,
        "version": made.tables[table].live or 0,
        "catalog": dg.MetadataValue.path(settings.store / "current" / "predictions.duckdb"),
        "lookup API": dg.MetadataValue.url(f"http://{settings.host}:{settings.port}/v1/tables/{table}"),
    }


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """A table, as the UI shows it."""
    lines = [heads, ["---"] * len(heads), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
