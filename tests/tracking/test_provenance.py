"""What is remembered of how a version came about: in its manifest and in the analysts' catalog."""

import json
import subprocess
from pathlib import Path

import duckdb
import pytest
from support.workspace import Workspace

from batch_scoring.store import Reader, release_folder
from pipelines.code_version import CodeVersion, code_version


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "table.py").write_text("windows = (30,)\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Declare")
    return tmp_path


def test_a_clean_repository_is_named_by_its_commit(repository: Path) -> None:
    assert code_version(repository) == CodeVersion(commit=git(repository, "rev-parse", "HEAD"), dirty=False)


@pytest.mark.parametrize("name", ["table.py", "new.py"])
def test_a_changed_or_new_file_makes_the_code_dirty(repository: Path, name: str) -> None:
    (repository / name).write_text("windows = (60,)\n")
    assert code_version(repository).dirty


def test_what_lies_beside_the_declarations_does_not_make_them_dirty(repository: Path) -> None:
    inner = repository / "feature_repo"
    inner.mkdir()
    (repository / "notes.txt").write_text("scratch")
    assert not code_version(inner).dirty


def test_a_folder_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_version(tmp_path) == CodeVersion(commit="", dirty=False)
    monkeypatch.setenv("PATH", "")
    assert code_version(tmp_path) == CodeVersion(commit="", dirty=False)


def test_a_manifest_says_what_set_the_run_off_how_long_it_took_and_what_it_was_made_of(orders: Workspace) -> None:
    draft = Reader(orders.settings.store).snapshot().manifest("orders").draft
    how = draft.provenance
    assert how is not None
    assert how.trigger == "manual"
    assert how.started_at is not None
    assert how.seconds is not None
    assert 0 < how.seconds == pytest.approx((draft.built_at - how.started_at).total_seconds(), abs=0.001)
    assert len(how.definitions) == 64


def test_the_catalog_lists_runs_and_models(orders: Workspace) -> None:
    release = Reader(orders.settings.store).snapshot().release
    with duckdb.connect(release_folder(orders.settings.store, release.id) / "predictions.duckdb", read_only=True) as catalog:
        runs = catalog.sql("SELECT version, run_trigger, reason, seconds > 0, passed FROM meta.runs ORDER BY ALL").fetchall()
        models = catalog.sql(
            "SELECT version, task, metric, loss < baseline_loss, params, metrics FROM meta.models ORDER BY ALL"
        ).fetchall()
        packages = catalog.sql("SELECT packages->>'xgboost-cpu' FROM meta.runs LIMIT 1").fetchall()
    assert runs == [(version, "manual", "test", True, True) for version in (1, 2, 3)]
    assert [row[:4] for row in models] == [(version, "binary", "log-loss", True) for version in (1, 2, 3)]
    assert all(json.loads(params)["objective"] == "binary:logistic" for *_, params, _ in models)
    assert all("log-loss" in {each["name"] for each in json.loads(metrics)} for *_, metrics in models)
    assert packages[0][0].startswith("3.")
