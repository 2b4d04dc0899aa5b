"""``--expected RELEASE`` makes publish and rollback a compare-and-swap at the command line."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from support.stores import build, build_and_publish, new_store
from support.workspace import Workspace
from typer.testing import CliRunner

from batch_scoring.errors import StoreConflict
from batch_scoring.store import history
from pipelines.cli import app


def test_what_somebody_else_changed_first_is_refused_and_a_lost_answer_may_be_asked_for_again(
    orders: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path)
    for day in range(3):
        build_and_publish(store, day, "orders")
    build(store, 3, "orders")
    monkeypatch.chdir(orders.folder)
    monkeypatch.setenv("FORETABLE_STORE", str(store.root))

    def run(*command: str) -> Result:
        return CliRunner().invoke(app, [*command, "--reason", "a test", "--json"])

    for command in (["publish", "orders", "4"], ["rollback", "orders"]):
        refused = run(*command, "--expected", "3").exception
        assert isinstance(refused, StoreConflict)
        assert "expected release 3, found 4" in str(refused)
    assert json.loads(run("publish", "orders", "4", "--expected", "4").stdout)["id"] == 5
    for _ in range(2):
        assert json.loads(run("rollback", "orders", "--expected", "5").stdout)["tables"]["orders"]["live"] == 3
    assert [release.action.kind for release in history(store)][:2] == ["rollback", "publish"]
