"""``foretable prune`` says what retention removes, or would."""

import json
from pathlib import Path

import pytest
from support.stores import build_and_publish, new_store
from support.workspace import Workspace
from typer.testing import CliRunner

from batch_scoring.declare import TableName
from batch_scoring.store import Reader, version_folder, versions
from pipelines.cli import app


def test_prune_says_what_it_freed_and_what_readers_keep(
    orders: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path)
    for day in range(9):
        build_and_publish(store, day, "orders")
    monkeypatch.chdir(orders.folder)
    monkeypatch.setenv("FORETABLE_STORE", str(store.root))

    def said(*options: str) -> str:
        return CliRunner().invoke(app, ["prune", "orders", *options], catch_exceptions=False).stdout

    table = TableName("orders")
    size = sum(path.stat().st_size for path in version_folder(store.root, table, versions(store, table)[0].version).iterdir())
    held = Reader(store.root).snapshot()._version("orders", 2)
    kept = "Kept because a reader has them open: 2.\n"
    assert said("--dry-run") == f"Would remove versions: 1. Bytes freed: {size:,}.\n{kept}"
    assert json.loads(said("--json")) == {"versions": [1], "bytes": size, "leased": [2]}
    del held
    assert "Removed versions: 2. Bytes freed: " in said()
    assert said() == "Removed versions: none. Bytes freed: 0.\n"
    assert [each.version for each in versions(store, table)] == list(range(3, 10))
