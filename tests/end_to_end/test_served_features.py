"""Served features beside training, on a real shop: equal cell by cell, fixed where declared, and learned from."""

import logging
import shutil
from datetime import date
from pathlib import Path

import msgspec
import polars as pl
import pytest
from support.workspace import Workspace, open_workspace

from batch_scoring.domain import EXPLANATIONS, FEATURES
from batch_scoring.errors import DeclarationError
from batch_scoring.store import Reader, release_folder, version_folder
from pipelines.features.skew import compare_again
from pipelines.features.training_set import find_record
from pipelines.ingest import ingest
from pipelines.repository import check_repository, load_repository
from pipelines.run import plan_run
from pipelines.steps import build_training_set

ORDERS = "orders"
MODEL = "    model=Model(rounds=40, depth=3),"
LIGHT = """    windows=("all",),
    holdout=HoldOut(days=1, folds=1),
    model=Model(rounds=5, depth=2),
    gates=(),
"""


def changed(orders: Workspace, folder: Path, *edits: tuple[str, str]) -> Workspace:
    """The shop with its deliveries, its declaration edited, and a store of its own with nothing in it."""
    shutil.copytree(orders.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("store"))
    declaration = folder / "feature_repo" / ORDERS / "table.py"
    text = declaration.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    declaration.write_text(text)
    workspace = open_workspace(folder, ORDERS)
    workspace.source.apply()  # the copied registry names the folder it was copied from
    return workspace


def test_what_was_served_is_what_training_would_see(orders: Workspace) -> None:
    snapshot = Reader(orders.settings.store).snapshot()
    manifest = snapshot.manifest(ORDERS)
    skew = manifest.draft.skew
    assert skew is not None
    assert (skew.compared, skew.differing) == (manifest.draft.rows, 0)
    assert [feature.feature for feature in skew.features] == [
        column.name for column in manifest.draft.columns if column.role == "feature"
    ]
    assert all(feature.psi is not None and feature.psi >= 0 for feature in skew.features)
    (gate,) = (gate for gate in manifest.draft.gates if gate.gate == "served_as_trained")
    assert (gate.passed, gate.observed) == (True, 0)
    again = compare_again(orders.product, orders.settings, orders.source, manifest)
    assert (again.compared, again.differing) == (manifest.draft.rows, 0)


def test_the_catalog_tells_how_far_each_feature_has_moved(orders: Workspace) -> None:
    import duckdb

    release = Reader(orders.settings.store).snapshot().release
    with duckdb.connect(release_folder(orders.settings.store, release.id) / "predictions.duckdb", read_only=True) as con:
        rows = con.execute("SELECT version, count(*), sum(differing), count(psi) FROM meta.skew GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [(1, 7, 0, 7), (2, 7, 0, 7), (3, 7, 0, 7)]


def test_a_source_that_was_corrected_afterwards_shows_cell_by_cell(orders: Workspace, tmp_path: Path) -> None:
    manifest = Reader(orders.settings.store).snapshot().manifest(ORDERS)
    shop = changed(orders, tmp_path / "shop")
    book = shop.settings.landing / "orders.csv"
    lines = book.read_text().splitlines()
    doubled = [line.split(",") for line in lines[1:]]
    corrected = [
        ",".join([*row[:3], f"{float(row[3]) * 2:.2f}", row[4]]) if row[1] == "C0001" else ",".join(row) for row in doubled
    ]
    book.write_text("\n".join([lines[0], *corrected]) + "\n")
    ingest(shop.product, shop.settings)
    settings = shop.settings.model_copy(update={"store": orders.settings.store})
    found = compare_again(shop.product, settings, shop.source, manifest)
    assert {feature.feature: feature.differing for feature in found.features if feature.differing} == {"mean_amount": 1}


def test_a_positional_feature_is_learned_as_observed_and_served_as_declared(orders: Workspace, tmp_path: Path) -> None:
    fixed = 'positional=(Positional(feature="orders_28d", serve_as=3),),'
    shop = changed(orders, tmp_path / "shop", (MODEL, f"{MODEL}\n    {fixed}"), ("    Model,\n", "    Model,\n    Positional,\n"))
    manifest, _ = shop.run(date(2024, 4, 10))
    folder = version_folder(shop.settings.store, ORDERS, manifest.version)
    assert pl.read_parquet(folder / FEATURES)["orders_28d"].unique().to_list() == [3]
    trained = pl.read_parquet(find_record(shop.settings, manifest.draft.training.training_set).path)
    assert trained["orders_28d"].n_unique() > 3
    assert pl.read_parquet(folder / EXPLANATIONS)["orders_28d"].abs().max() > 0  # the model learned from it
    snapshot = Reader(shop.settings.store).snapshot()
    key = pl.read_parquet(folder / FEATURES)["key"][0]
    parts = msgspec.json.decode(snapshot.explanation(ORDERS, key))["contributions"]
    assert {part["feature"]: part["value"] for part in parts}["orders_28d"] in (3, "3")
    assert manifest.draft.skew is not None
    skew = {feature.feature: feature for feature in manifest.draft.skew.features}
    assert (skew["orders_28d"].serve_as, skew["orders_28d"].differing) == ("3", 0)
    assert skew["orders_28d"].psi > skew["web_share"].psi
    assert all(skew[name].serve_as is None for name in skew if name != "orders_28d")


def test_a_positional_feature_that_is_none_stops_the_run_before_it_begins(orders: Workspace, tmp_path: Path) -> None:
    fixed = 'positional=(Positional(feature="position", serve_as=1),),'
    shop = changed(orders, tmp_path / "shop", (MODEL, f"    {fixed}"), ("    Model,\n", "    Positional,\n"))
    run = plan_run(shop.product, shop.settings, date(2024, 4, 10), reason="test")
    with pytest.raises(DeclarationError, match=r"orders/table\.py: PredictionTable\.positional.*position, which is no feature"):
        build_training_set(run, shop.source)
    (problem,) = check_repository(load_repository(shop.settings.repo), shop.settings)
    assert problem.startswith("orders/table.py: positional names position, which is no feature; there are days_since_last")


def light(orders: Workspace, folder: Path) -> Workspace:
    declared = (orders.product.folder / "table.py").read_text()
    begin, end = declared.index("    windows="), declared.index("    decision=")
    return changed(orders, folder, (declared[begin:end], LIGHT + '    train_on="served",\n'), ("    Baseline,\n", ""))


def test_too_few_served_versions_are_trained_on_history_and_it_is_said_aloud(
    orders: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = light(orders, tmp_path / "shop")
    with caplog.at_level(logging.WARNING):
        manifest, _ = shop.run(date(2024, 4, 1))
    note = manifest.draft.training.note
    assert note.startswith("train_on='served': 0 usable versions are too few")
    assert note.endswith("trained on history instead")
    assert note in caplog.text
    record = find_record(shop.settings, manifest.draft.training.training_set).record
    assert record.recipe.train_on == "history"


def test_served_features_are_trained_on_once_there_are_enough(orders: Workspace, tmp_path: Path) -> None:
    shop = light(orders, tmp_path / "shop")
    served = [shop.run(date(2024, 4, day))[0] for day in (1, 8, 15)]  # fit, search, hold-out: a week apart, as the label asks
    manifest, _ = shop.run(date(2024, 4, 22))
    assert manifest.draft.training.note == ""
    found = find_record(shop.settings, manifest.draft.training.training_set)
    assert found.record.recipe.train_on == "served"
    assert [source.name for source in found.record.recipe.sources] == [f"version {each.version}" for each in served]
    rows = pl.read_parquet(found.path)
    assert rows["event_timestamp"].unique().sort().to_list() == [each.draft.as_of for each in served]
    features = [column.name for column in manifest.draft.columns if column.role == "feature"]
    for each in served:
        table = pl.read_parquet(version_folder(shop.settings.store, ORDERS, each.version) / FEATURES)
        trained = rows.filter(pl.col("event_timestamp") == each.draft.as_of)
        assert trained.select("customer", *features).sort("customer").equals(table.select("customer", *features).sort("customer"))
        assert len(trained) == each.draft.rows


def test_a_sampled_window_and_fixed_cut_offs_go_the_whole_way(orders: Workspace, tmp_path: Path) -> None:
    windows = (
        '    windows=(14, Sampled(rows=500, bucket="day")),\n    segments=("orders_7d",),\n'
        "    holdout=FixedCutOffs(cutoffs=(date(2024, 3, 4), date(2024, 3, 18)), days=7),"
    )
    shop = changed(
        orders,
        tmp_path / "shop",
        ('    windows=(14, 30, "all"),\n    holdout=HoldOut(days=7, folds=2),', windows),
        ("    HoldOut,\n", "    FixedCutOffs,\n"),
        ("    Schedule,\n", "    Sampled,\n    Schedule,\n"),
    )
    manifest, _ = shop.run(date(2024, 4, 10))
    cells = {(str(cell.window), cell.cutoff.date(), cell.train_rows) for cell in manifest.draft.training.windows}
    assert {cutoff for _, cutoff, _ in cells} == {date(2024, 3, 4)}
    assert {rows for window, _, rows in cells if window == "all, 500 rows"} == {500}
    assert Reader(shop.settings.store).snapshot().manifest(ORDERS) == manifest


def test_a_run_keeps_its_training_set_however_many_others_are_made(orders: Workspace, tmp_path: Path) -> None:
    shop = changed(orders, tmp_path / "shop")
    runs = [plan_run(shop.product, shop.settings, date(2024, 4, 1 + day), reason="test") for day in range(9)]
    built = [build_training_set(run, shop.source) for run in runs]
    assert not find_record(shop.settings, built[0].id).path.exists()
    for run, examples in zip(runs, built, strict=True):
        rows = pl.read_parquet(examples.path)
        assert rows["label_known_at"].max() <= run.as_of
        assert rows["event_timestamp"].max() + shop.product.table.label.matures_after <= run.as_of
