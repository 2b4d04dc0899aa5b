"""``foretable decay`` and ``foretable importance``: how models age, and what their features are worth. Nothing is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.study import Material

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")]
AsOf = Annotated[str, typer.Option("--as-of", metavar="DATE", help="Local day of the table's schedule, YYYY-MM-DD.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def decay(
    table: Table,
    as_of: AsOf,
    ages: Annotated[int, typer.Option("--ages", min=1, help="Largest age of a model, in periods of the schedule.")] = 14,
    days: Annotated[int, typer.Option("--days", min=2, help="As-of moments that every age is asked about.")] = 14,
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=1.0, help="Share of the gain over the naive forecast not to be lost.")
    ] = 0.2,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Also draw the curve, as PNG.")] = None,
    json: Json = False,
) -> None:
    """How models of growing age would have done on the same days, and when to train anew; publishes nothing."""
    from pipelines.console import out, show_json, show_table, steps
    from pipelines.study import study_decay
    from pipelines.training.decay import plot_decay

    with steps(f"ageing models of {table}") as (doing, _):
        study = study_decay(_material(table, as_of, doing), ages=ages, days=days, share=share, progress=doing)
    if plot is not None:
        plot.write_bytes(plot_decay(study.curve, study.period))
    if json:
        show_json(study)
        return
    rows = [
        [each.age, each.loss, f"{each.excess:+.4f}", each.error, "–" if each.lost is None else f"{each.lost:.0%}"]
        for each in study.curve.ages
    ]
    heads = [f"age, {study.period}s", "mean loss", "over a fresh model", "error", "gain lost"]
    show_table(heads, rows, right=heads)
    curve = study.curve
    out.print(f"Naive forecast {curve.baseline:.4f}, fresh model {curve.fresh:.4f}, on {curve.rows:,} rows.", markup=False)
    out.print(study.says, markup=False)


def importance(
    table: Table,
    as_of: AsOf,
    repeats: Annotated[int, typer.Option("--repeats", min=2, help="Shuffles of each feature.")] = 5,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fits without each feature.")] = 2,
    json: Json = False,
) -> None:
    """What each feature is worth on the hold-out, which can go, and what the model costs without them; publishes nothing."""
    from pipelines.console import out, show_json, show_table, steps
    from pipelines.study import study_features

    with steps(f"weighing features of {table}") as (doing, _):
        report = study_features(_material(table, as_of, doing), repeats=repeats, seeds=seeds, progress=doing)
    if json:
        show_json(report)
        return
    rows = [
        [
            each.feature,
            f"{each.dropped:+.5f}",
            f"{each.dropped_error:.5f}",
            f"{each.permuted:+.5f}",
            f"{each.permuted_error:.5f}",
            "can go" if each.feature in report.can_go else "",
        ]
        for each in report.features
    ]
    heads = ["left out", "± left out", "shuffled", "± shuffled"]
    show_table(["feature", *heads, ""], rows, right=heads)
    out.print(f"Mean row loss of the whole model {report.loss:.4f} on {report.rows:,} rows of the hold-out.", markup=False)
    if report.can_go:
        out.print(
            f"Without {len(report.can_go)} of {len(report.features)} features it loses {report.excess:+.5f} ± {report.error:.5f} "
            f"more, no more than noise: {', '.join(report.can_go)}.",
            markup=False,
        )
    else:
        out.print("No feature can go: leaving any of them out costs more than noise.", markup=False)


def _material(table: str, as_of: str, doing: Callable[[str], None]) -> Material:
    from pipelines.cli import _day, _prepare, _product, _settings
    from pipelines.run import plan_run
    from pipelines.study import gather_material

    settings = _settings()
    product = _product(settings, table)
    moment = plan_run(product, settings, _day(as_of), "study").as_of
    source = _prepare(product, settings, doing)
    doing("training set")
    return gather_material(product, settings, source, moment)
