"""A catalog that is carried on from release to release says just what one made from nothing says."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drafts import FAILED, LEG, PASSED
from support.stores import FLIGHTS, build, build_and_publish, erase_one, new_store, put_live, roll_back

from batch_scoring.declare import Entity, Key
from batch_scoring.domain import VersionId
from batch_scoring.errors import ForetableError
from batch_scoring.store import Store, history, publish, release_folder, version_folder, versions, write_catalog
from batch_scoring.store import catalog as catalog_module
from batch_scoring.store.layout import read_current
from batch_scoring.store.meta import _TABLES

CONTENT = (
    *(f"FROM meta.{name} ORDER BY ALL" for name in _TABLES),
    "SELECT schema_name, view_name, sql, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
    "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
    "SELECT function_name, macro_definition, comment FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
)


def content(path: Path) -> list[Any]:
    """Everything that a catalog holds, and what its views find."""
    with duckdb.connect(path, read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        found: list[Any] = [con.execute(query).fetchall() for query in CONTENT]
        for (view,) in con.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' ORDER BY ALL"
        ).fetchall():
            try:
                found.append((view, con.execute(f'FROM "{view}" ORDER BY ALL').fetchall()))
            except duckdb.Error as error:
                found.append((view, str(error)))
    return found


def carried_and_fresh(store: Store, folder: Path) -> tuple[list[Any], list[Any]]:
    """The catalog of the current release as it is, and made from nothing."""
    release = read_current(store.root)
    assert release.previous is not None
    before = release_folder(store.root, release.previous) / "predictions.duckdb"
    before.rename(before.with_suffix(".hidden"))
    fresh = folder / f"fresh-{release.id}.duckdb"
    write_catalog(fresh, store.root, release)
    before.with_suffix(".hidden").rename(before)
    return content(release_folder(store.root, release.id) / "predictions.duckdb"), content(fresh)


WIDER = Entity(name="leg", keys=(*LEG.keys, Key(name="origin", type="string")))


def step(store: Store, verb: str, table: str, n: int) -> None:
    """One change of a store, which may be refused."""
    day = len(list((store.root / "tables" / table / "versions").glob("[0-9]*"))) if table else 0
    match verb:
        case "build":
            build(store, day, table)
        case "fail":
            build(store, day, table, gates=(FAILED,))
        case "new keys":
            build(store, day, table, keys=[("UA", 1, "EWR")], entity=WIDER, gates=(PASSED,))
        case "publish":
            put_live(store, 1 + n % max(day, 1), table, force=n % 2 == 0)
        case "shadow":
            put_live(store, 1 + n % max(day, 1), table, channel="shadow")
        case "rollback":
            roll_back(store, table)
        case "erase":
            erase_one(store, table)
        case _:
            (version_folder(store.root, table, VersionId(1 + n % max(day, 1))) / "features.parquet").unlink(missing_ok=True)  # type: ignore[arg-type]


VERBS = ("build", "publish", "publish", "rollback", "shadow", "fail", "new keys", "erase", "damage")
STEPS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(["flight_delays", "customers"]), st.integers(0, 5)), min_size=2, max_size=9
)


@settings(max_examples=6, deadline=None)
@given(steps=STEPS)
def test_after_any_changes_it_says_what_one_made_from_nothing_says(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = new_store(Path(folder))
        for table in ("flight_delays", "customers"):
            build_and_publish(store, 0, table)
        for verb, table, n in steps:
            try:
                step(store, verb, table, n)
            except ForetableError:
                continue
        build(store, 90)
        put_live(store, versions(store, FLIGHTS)[-1].version)
        carried, fresh = carried_and_fresh(store, Path(folder))
        assert carried == fresh


@pytest.fixture
def made_from_nothing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the catalogs that were made from nothing."""
    made: list[int] = []
    create = catalog_module._create

    def counted(path: Path, root: Path, releases: Any, facts: Any) -> None:
        made.append(releases[0].id)
        create(path, root, releases, facts)

    monkeypatch.setattr(catalog_module, "_create", counted)
    return made


def test_a_flip_changes_only_what_changed(store: Store, made_from_nothing: list[int]) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1, "customers")
    build_and_publish(store, 1)
    roll_back(store)
    put_live(store, 2, channel="shadow", force=True)
    assert made_from_nothing == []


@pytest.mark.parametrize("harm", ["gone", "flipped"])
def test_a_catalog_that_is_gone_or_damaged_is_not_carried_on(
    store: Store, tmp_path: Path, made_from_nothing: list[int], harm: str
) -> None:
    build_and_publish(store, 0)
    path = release_folder(store.root, read_current(store.root).id) / "predictions.duckdb"
    if harm == "gone":
        path.unlink()
    else:
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[-5000] ^= 1
        path.write_bytes(data)
    build_and_publish(store, 1)
    assert made_from_nothing == [3]


def test_nothing_is_carried_on_when_the_record_of_the_release_before_is_gone(store: Store, made_from_nothing: list[int]) -> None:
    release = build_and_publish(store, 0)
    (release_folder(store.root, release.id) / "release.json").unlink()
    (store.root / "current").unlink()
    (store.root / "current").symlink_to("releases/000001")
    build_and_publish(store, 1)
    assert history(store)[0].id == 3
    assert made_from_nothing == []
    write_catalog(store.root.parent / "again.duckdb", store.root, release_after(store, release.id))
    assert made_from_nothing == [3]


def release_after(store: Store, previous: int) -> Any:
    from dataclasses import replace

    return replace(read_current(store.root), previous=previous)


def test_a_store_that_was_moved_gets_views_of_its_new_place(store: Store, tmp_path: Path) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 0, "customers")
    moved = Store(store.root.rename(tmp_path / "moved"))
    build_and_publish(moved, 1)
    carried, fresh = carried_and_fresh(moved, tmp_path)
    assert carried == fresh
    assert str(store.root) + "/" not in str(carried)


def test_a_table_that_was_taken_away_by_hand_leaves_the_catalog(store: Store, tmp_path: Path) -> None:
    build(store, 0, "customers")
    build_and_publish(store, 0)
    (store.root / "tables" / "customers").rename(tmp_path / "customers")
    build_and_publish(store, 1)
    carried, fresh = carried_and_fresh(store, tmp_path)
    assert carried == fresh
    assert "customers" not in str(carried)


def test_publishing_by_hand_in_a_process_that_was_forked_uses_a_database_of_its_own(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from support.drafts import DAY_ONE

            code = 0 if publish(store, FLIGHTS, VersionId(2), who="child", when=DAY_ONE, why="test").id == 3 else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read_current(store.root).tables[FLIGHTS].live == 2
