"""What an erasure promises: the entity is nowhere, everything else is what it was, and it stays that way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.drafts import DAY_ONE, legs
from support.stores import FLIGHTS, build, build_across, build_and_publish, new_store, put_live, roll_back

from batch_scoring.declare import Entity, Key, TableName
from batch_scoring.errors import BadKey, StoreConflict, StoreCorrupt, UnknownTable
from batch_scoring.store import (
    Erasure,
    Files,
    Reader,
    Store,
    erase,
    find_erased,
    history,
    release_folder,
    repair,
    verify,
    version_folder,
    versions,
)

FILES = ("predictions.parquet", "explanations.parquet", "features.parquet")


def erased(store: Store, *keys: str, table: str = FLIGHTS, why: str = "request 17") -> Erasure:
    return erase(store, TableName(table), keys, who="support", when=DAY_ONE, why=why)


def rows(store: Store, version: int, name: str, table: str = FLIGHTS) -> list[tuple[Any, ...]]:
    path = version_folder(store.root, TableName(table), version) / name  # type: ignore[arg-type]
    return duckdb.sql(f"FROM '{path}'").fetchall()


@pytest.fixture
def three(store: Store) -> Store:
    for day in range(3):
        build_and_publish(store, day)
    return store


def test_an_erased_entity_is_gone_from_every_kept_version_and_nothing_else_changes(three: Store) -> None:
    assert find_erased(three, FLIGHTS, ["UA/1000"])
    before = {(version, name): rows(three, version, name) for version in (1, 2, 3) for name in FILES}
    answers = {key: Reader(three.root).snapshot().prediction(FLIGHTS, f"{key[0]}/{key[1]}") for key in legs(20)}
    whys = {key: Reader(three.root).snapshot().explanation(FLIGHTS, f"{key[0]}/{key[1]}") for key in legs(20)}
    assert erased(three, "UA/1000") == Erasure(release=5, versions=(1, 2, 3), rows=3)  # type: ignore[arg-type]
    for (version, name), found in before.items():
        assert rows(three, version, name) == [row for row in found if row[0] != "UA/1000"]
    snapshot = Reader(three.root).snapshot()
    for carrier, flight in legs(20):
        gone = (carrier, flight) == ("UA", 1000)
        key = f"{carrier}/{flight}"
        assert snapshot.prediction(FLIGHTS, key) == (None if gone else answers[carrier, flight])
        assert snapshot.explanation(FLIGHTS, key) == (None if gone else whys[carrier, flight])
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == find_erased(three) == ()
    assert verify(three) == ()
    assert [each.draft.rows for each in versions(three, FLIGHTS)] == [19, 19, 19]


def test_the_bytes_of_an_erased_key_are_in_no_file(three: Store) -> None:
    erased(three, "UA/1000")
    for path in three.root.rglob("*"):
        if path.is_file():
            assert b"UA/1000" not in path.read_bytes(), path
            assert b'"carrier":"UA","flight":1000' not in path.read_bytes(), path


def test_the_tombstone_names_nobody_and_says_who_when_and_why(three: Store) -> None:
    erased(three, "UA/1000")
    text = (three.root / "tables" / FLIGHTS / "erased.json").read_text()
    assert "1000" not in json.loads(text)["entries"][0]["hash"][:0] + text.split("hash")[0]
    (entry,) = json.loads(text)["entries"]
    assert (entry["who"], entry["why"]) == ("support", "request 17")
    other = new_store(three.root.parent / "other")
    build_and_publish(other, 0)
    erased(other, "UA/1000")
    assert json.loads((other.root / "tables" / FLIGHTS / "erased.json").read_text())["entries"][0]["hash"] != entry["hash"]


def test_later_builds_leave_an_erased_entity_out(three: Store) -> None:
    erased(three, "UA/1000")
    manifest = build(three, 3)
    assert manifest.draft.rows == 19
    put_live(three, 4)
    assert Reader(three.root).snapshot().prediction(FLIGHTS, "UA/1000") is None
    assert Reader(three.root).snapshot().prediction(FLIGHTS, "AA/999") is not None
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == ()


def test_an_erasure_is_a_release_and_repeating_it_changes_nothing(three: Store) -> None:
    erased(three, "UA/1000")
    newest = history(three)[0]
    assert (newest.action.kind, newest.action.table, newest.who, newest.why) == ("erase", FLIGHTS, "support", "request 17")
    assert newest.tables == history(three)[1].tables
    assert erased(three, "UA/1000") == Erasure(release=newest.id, versions=(), rows=0)
    assert history(three)[0] == newest


def test_someone_unknown_can_be_erased_before_they_come(three: Store) -> None:
    assert erased(three, "ZZ/1").rows == 0
    assert build(three, 3, keys=[("ZZ", 1), ("UA", 1)]).draft.rows == 1


def test_a_reader_keeps_what_it_has_open_and_moves_on_with_the_next_release(three: Store) -> None:
    reader = Reader(three.root)
    held = reader.snapshot()
    erased(three, "UA/1000")
    assert held.prediction(FLIGHTS, "UA/1000") is not None
    assert held.explanation(FLIGHTS, "UA/1000") is not None
    assert reader.snapshot().prediction(FLIGHTS, "UA/1000") is None
    assert reader.snapshot().prediction(FLIGHTS, "UA/1000", version=1) is None


def test_rollback_and_earlier_catalogs_work_after_an_erasure(three: Store) -> None:
    erased(three, "UA/1000")
    assert roll_back(three).tables[FLIGHTS].live == 2
    for number in (4, 5, 6):
        with duckdb.connect(release_folder(three.root, number) / "predictions.duckdb", read_only=True) as con:  # type: ignore[arg-type]
            assert con.sql("SELECT count(*) FROM flight_delays WHERE key = 'UA/1000'").fetchall() == [(0,)]
            assert con.sql("SELECT count(*) FROM flight_delays_all_versions").fetchall() == [(57,)]


def test_only_versions_that_hold_the_entity_are_rewritten(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1, keys=[("AA", 7)])
    inode = version_folder(store.root, FLIGHTS, 2).stat().st_ino  # type: ignore[arg-type]
    assert erased(store, "UA/1000").versions == (1,)
    assert version_folder(store.root, FLIGHTS, 2).stat().st_ino == inode  # type: ignore[arg-type]


def test_a_table_can_lose_everyone(store: Store) -> None:
    build_and_publish(store, 0, keys=[("AA", 7)])
    assert erased(store, "AA/7").rows == 1
    assert Reader(store.root).snapshot().prediction(FLIGHTS, "AA/7") is None
    assert verify(store) == ()


def test_awkward_and_overlong_keys_are_erased_too(store: Store) -> None:
    who = Entity(name="who", keys=(Key(name="name", type="string", description="name"),), description="someone")
    names = ["Zoë/'\"% ;", "x" * 600, "x" * 599 + "y", "", "plain"]
    build_and_publish(store, 0, "people", keys=[(name,) for name in names], entity=who)
    from batch_scoring.keys import encode_key

    keys = [encode_key(who, (name,)) for name in names]
    assert erased(store, *keys[:2], keys[3], table="people").rows == 3
    snapshot = Reader(store.root).snapshot()
    found = [snapshot.prediction("people", key) is not None for key in keys]
    assert found == [False, False, True, False, True]
    assert find_erased(store, TableName("people"), [keys[0], keys[1], keys[3]]) == ()


def test_an_erasure_says_what_it_needs(three: Store) -> None:
    with pytest.raises(UnknownTable):
        erased(three, "UA/1000", table="nosuch")
    with pytest.raises(UnknownTable):
        find_erased(three, TableName("nosuch"))
    with pytest.raises(BadKey, match="one canonical key or more"):
        erased(three)
    with pytest.raises(StoreConflict, match="a reason that does not name the entity, found none"):
        erased(three, "UA/1000", why=" ")
    with pytest.raises(StoreConflict, match="found one that does"):
        erased(three, "UA/1000", why="UA/1000 asked")
    assert not (three.root / "tables" / FLIGHTS / "erased.json").exists()


def test_a_damaged_version_stops_an_erasure_and_removing_it_lets_it_finish(three: Store) -> None:
    import shutil

    (version_folder(three.root, FLIGHTS, 2) / "lookup.mdb").unlink()  # type: ignore[arg-type]
    with pytest.raises(StoreCorrupt):
        erased(three, "UA/1000")
    assert any("could not finish" in sentence for sentence in repair(three))
    shutil.rmtree(version_folder(three.root, FLIGHTS, 2))  # type: ignore[arg-type]
    assert any("finished an erasure" in sentence for sentence in repair(three))
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == verify(three) == ()


def test_damaged_tombstones_stop_builds_and_are_found(three: Store) -> None:
    erased(three, "UA/1000")
    path = three.root / "tables" / FLIGHTS / "erased.json"
    good = path.read_text()
    for bad in (good.replace('"hash": "', '"hash": "0'), "{"):
        path.chmod(0o644)
        path.write_text(bad)
        assert [finding.path for finding in verify(three)] == [f"tables/{FLIGHTS}/erased.json"]
        with pytest.raises(StoreCorrupt, match="the record of what was erased"):
            build(three, 3)


def test_a_version_that_was_being_built_during_an_erasure_leaves_the_entity_out(three: Store) -> None:
    manifest = build_across(three, lambda: erased(Store(three.root), "UA/1000"), 3)
    assert manifest.draft.rows == 19
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == verify(three) == ()


def test_a_build_killed_at_its_last_step_after_an_erasure_names_no_version_that_holds_the_entity(three: Store) -> None:
    class Killed(BaseException): ...

    class Dying(Files):
        def sync_folder(self, path: Path) -> None:
            super().sync_folder(path)
            if (path / "000004").exists():
                raise Killed

    with pytest.raises(Killed):
        build_across(Store(three.root, Dying()), lambda: erased(Store(three.root), "UA/1000"), 3)
    assert put_live(three, 4).tables[FLIGHTS].live == 4
    assert Reader(three.root).snapshot().prediction(FLIGHTS, "UA/1000") is None
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == verify(three) == ()


@pytest.mark.parametrize("held", [False, True], ids=["", "while a reader holds it"])
def test_the_same_call_again_removes_what_a_killed_erasure_put_aside(three: Store, held: bool) -> None:
    class Killed(BaseException): ...

    class Dying(Files):
        def exchange(self, one: Path, other: Path) -> None:
            super().exchange(one, other)
            if other.name == "000003":
                raise Killed

    reader = Reader(three.root).snapshot() if held else None
    with pytest.raises(Killed):
        erased(Store(three.root, Dying()), "UA/1000")
    aside = three.root / "tables" / FLIGHTS / "versions" / "building-000003"
    assert aside.is_dir()
    assert str(aside.relative_to(three.root)) in {finding.path for finding in find_erased(three)}
    erased(three, "UA/1000")
    assert not aside.exists()
    assert find_erased(three, FLIGHTS, ["UA/1000"]) == verify(three) == ()
    assert reader is None or reader.prediction(FLIGHTS, "UA/1000") is not None


def test_what_was_erased_is_found_when_it_comes_back(three: Store) -> None:
    erased(three, "UA/1000")
    tombstones = three.root / "tables" / FLIGHTS / "erased.json"
    aside = tmp = tombstones.with_name("aside")
    tombstones.rename(aside)
    build(three, 3)
    tmp.rename(tombstones)
    found = {finding.path.rpartition("/")[2] for finding in find_erased(three)}
    assert found == {*FILES, "lookup.mdb", "explanations.mdb"}
    assert find_erased(three, FLIGHTS, ["UA/1000"])
    assert repair(three)
    assert find_erased(three) == ()


def test_a_proof_passes_over_tables_without_tombstones_keys_of_another_shape_and_versions_that_go(three: Store) -> None:
    build(three, 0, "customers")
    erased(three, "UA/1000")
    said: list[str] = []

    def on_version(name: str) -> None:
        said.append(name)
        if name == f"version 2 of '{FLIGHTS}'":
            version_folder(three.root, FLIGHTS, 2).rename(three.root.parent / "pruned")  # type: ignore[arg-type]

    assert find_erased(three, progress=on_version) == ()
    assert said == [f"version {number} of '{FLIGHTS}'" for number in (1, 2, 3)]
    assert find_erased(three, FLIGHTS, ["one/two/three"]) == ()
