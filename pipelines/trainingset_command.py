"""``foretable trainingset``: what the versions of a table were trained on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_scoring.domain import Manifest, Skew
    from batch_scoring.settings import Settings
    from pipelines.features import TrainingSet

app = typer.Typer(help="What versions were trained on: list, show, and compare with what they were served.", no_args_is_help=True)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


@app.command("list")
def list_sets(table: Table, json: Json = False) -> None:
    """The training sets of a table, oldest as-of first."""
    from pipelines.cli import _product, _settings
    from pipelines.console import show_json, show_table
    from pipelines.features.training_set import list_records

    settings = _settings()
    records = list_records(settings, _product(settings, table).table.name)
    versions = _versions(settings, table)
    trained = {
        record.name: [each.version for each in versions if each.draft.training.training_set == record.name] for record in records
    }
    if json:
        show_json([{"record": record, "versions": trained[record.name]} for record in records])
        return
    rows = [
        [
            record.name[:12],
            f"{record.recipe.as_of:%Y-%m-%d %H:%M}",
            record.recipe.train_on,
            record.rows,
            record.label_mean,
            record.delivery,
            ", ".join(str(version) for version in trained[record.name]) or "none kept",
        ]
        for record in records
    ]
    heads = ["training set", "as of (UTC)", "from", "rows", "mean label", "delivery", "versions"]
    show_table(heads, rows, right=["rows", "mean label"])


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="HASH", help="Name of a training set, or how it begins.")], json: Json = False
) -> None:
    """What went into a training set, what came out, and which versions were trained on it."""
    from pipelines.cli import _settings
    from pipelines.console import show_json
    from pipelines.features.training_set import find_record, is_whole

    settings = _settings()
    found = find_record(settings, name)
    trained = [
        each.version
        for each in _versions(settings, found.record.recipe.table)
        if each.draft.training.training_set == found.record.name
    ]
    whole = is_whole(found.record, found.path)
    if json:
        show_json({"record": found.record, "definitions": found.record.recipe.definitions, "on_disk": whole, "versions": trained})
        return
    _show(found, whole, trained)


@app.command()
def compare(
    table: Table,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="A kept version.")],
    json: Json = False,
) -> None:
    """Compare a version's served features with what training would see for the same rows in today's delivery."""
    from batch_scoring.domain import VersionId
    from batch_scoring.store.layout import read_manifest
    from pipelines.cli import _product, _settings
    from pipelines.console import show_json, steps
    from pipelines.features import FeastFeatures
    from pipelines.features.skew import compare_again

    settings = _settings()
    product = _product(settings, table)
    manifest = read_manifest(settings.store, product.table.name, VersionId(version))
    with steps(f"comparing version {version}") as (doing, _):
        source = FeastFeatures(product=product, settings=settings)
        doing("feast apply")
        source.apply()
        doing("features as training sees them")
        found = compare_again(product, settings, source, manifest)
    if json:
        show_json(found)
    else:
        _show_skew(found)
    if found.differing:
        raise typer.Exit(3)


def _versions(settings: Settings, table: str) -> tuple[Manifest, ...]:
    from batch_scoring.declare import TableName
    from batch_scoring.store.layout import readable_versions

    return readable_versions(settings.store, TableName(table))


def _show(found: TrainingSet, whole: bool, trained: Sequence[int]) -> None:
    from pipelines.console import out, show_table

    record, recipe = found.record, found.record.recipe
    newest = recipe.as_of - timedelta(seconds=recipe.horizon + recipe.delay)
    shares = ", ".join(f"{value}: {share:.1%}" for value, share in record.label_shares.items())
    facts = [
        ("name", record.name),
        ("table", recipe.table),
        ("as of", f"{recipe.as_of:%Y-%m-%d %H:%M} UTC; labels of moments up to {newest:%Y-%m-%d %H:%M} UTC can be known"),
        ("trained from", "features as of each example's moment" if recipe.train_on == "history" else "features as served"),
        ("rows", f"{record.rows:,}, {record.first:%Y-%m-%d %H:%M} to {record.last:%Y-%m-%d %H:%M} UTC"),
        ("label", f"query {recipe.label[:12]}, horizon {_span(recipe.horizon)}, delay {_span(recipe.delay)}"),
        ("mean label", "–" if record.label_mean is None else f"{record.label_mean:.4f}{f' ({shares})' if shares else ''}"),
        ("delivery", record.delivery),
        ("definitions", recipe.definitions[:12]),
        *(
            (f"  view {view.name}", f"{len(view.features)} features, ttl {_span(view.ttl)}, from {view.source}")
            for view in recipe.views
        ),
        *((f"  {source.name}", f"sha256 {source.sha256}") for source in recipe.sources),
        ("entity rows", recipe.entities[:12]),
        ("labels", recipe.labels[:12]),
        ("file", f"{found.path}" if whole else "not kept; the next run as of this moment makes the same bytes again"),
        ("versions", ", ".join(str(version) for version in trained) or "none kept"),
    ]
    for name, value in facts:
        out.print(f"{name:<14}  {value}", markup=False)
    rows = [[column.name, column.type, f"{column.null_share:.1%}"] for column in record.columns]
    show_table(["column", "type", "nulls"], rows, right=["nulls"])


def _show_skew(found: Skew) -> None:
    from pipelines.console import out, show_table

    differing = [feature for feature in found.features if feature.differing]
    if differing:
        show_table(
            ["feature", "differing cells"], [[each.feature, each.differing] for each in differing], right=["differing cells"]
        )
    out.print(
        f"{found.differing:,} of {found.compared * len(found.features):,} cells are not what training would see today.",
        markup=False,
    )


def _span(seconds: float | None) -> str:
    return "for ever" if seconds is None else str(timedelta(seconds=seconds))
