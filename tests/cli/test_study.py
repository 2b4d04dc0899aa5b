"""``foretable decay`` and ``foretable importance`` say what they found, and publish nothing."""

import json
from pathlib import Path

import pytest
from support.workspace import Workspace, second_store
from typer.testing import CliRunner

from batch_scoring.store import Reader
from pipelines.cli import app
from pipelines.study import last_decay, recipe_of


@pytest.fixture
def said(orders: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(orders.folder)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--as-of", "2024-04-12"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_the_age_of_models_is_shown_drawn_and_kept(said, orders: Workspace, tmp_path: Path) -> None:
    before = Reader(orders.settings.store).snapshot().release
    picture = tmp_path / "decay.png"
    text = said("decay", "orders", "--ages", "3", "--days", "5", "--plot", str(picture))
    assert "age, days" in text
    assert "Naive forecast" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept = last_decay(orders.settings, orders.product.table.name)
    assert kept is not None
    assert (len(kept.curve.ages), kept.curve.days, kept.period) == (4, 5, "day")
    assert kept.says in text
    assert Reader(orders.settings.store).snapshot().release == before


def test_the_worth_of_features_is_printed_as_json(said, orders: Workspace) -> None:
    report = json.loads(said("importance", "orders", "--repeats", "2", "--seeds", "1", "--json"))
    features = {each["feature"] for each in report["features"]}
    manifest = Reader(orders.settings.store).snapshot().manifest(orders.product.table.name)
    assert features == {column.name for column in manifest.draft.columns if column.role == "feature"}
    assert set(report["can_go"]) < features


def test_a_study_is_of_the_live_recipe_or_else_of_the_declared_one(orders: Workspace, tmp_path: Path) -> None:
    table = orders.product.table
    live = Reader(orders.settings.store).snapshot().manifest(table.name).draft.training
    assert recipe_of(table, orders.settings).window == live.window
    empty = second_store(orders, tmp_path / "store")
    assert recipe_of(table, empty.settings).model == table.model
