"""What reading promises: one release per snapshot, light, from any number of threads, whatever happens meanwhile."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.stores import FLIGHTS, build, build_and_publish, put_live, roll_back

from batch_scoring.domain import Served, VersionId
from batch_scoring.errors import StoreCorrupt, StoreUnavailable, UnknownTable, UnknownVersion
from batch_scoring.store import Reader, Snapshot, Store, prune, repair, verify, version_folder
from batch_scoring.store import reader as reader_module
from batch_scoring.store.files import take_flock
from batch_scoring.store.index import open_index


def version_in(answer: bytes | None) -> int:
    return int(json.loads(answer or b"{}")["version"])


def test_reading_loads_no_sql_engine_and_no_data_frames() -> None:
    script = """
import sys
from batch_scoring.store import Reader, Snapshot
heavy = {"duckdb", "pyarrow", "numpy", "pandas", "polars", "xgboost", "pydantic", "feast"} & set(sys.modules)
sys.exit(", ".join(sorted(heavy)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_snapshot_answers_from_its_own_release_after_later_flips(store: Store) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    before = reader.snapshot()
    build_and_publish(store, 1)
    after = reader.snapshot()
    assert [version_in(snapshot.prediction(FLIGHTS, "UA/1000")) for snapshot in (before, after)] == [1, 2]
    assert [version_in(snapshot.explanation(FLIGHTS, "UA/1000")) for snapshot in (before, after)] == [1, 2]
    assert [snapshot.manifest(FLIGHTS).version for snapshot in (before, after)] == [1, 2]


def test_a_snapshot_answers_even_after_its_version_is_gone_from_the_disk(store: Store) -> None:
    build_and_publish(store, 0)
    snapshot = Reader(store.root).snapshot()
    build_and_publish(store, 1)
    shutil.rmtree(version_folder(store.root, FLIGHTS, VersionId(1)))
    assert version_in(snapshot.prediction(FLIGHTS, "UA/1000")) == 1
    assert version_in(snapshot.explanation(FLIGHTS, "UA/1000")) == 1
    assert snapshot.manifest(FLIGHTS).version == 1


def test_the_same_release_is_the_same_snapshot(store: Store) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    assert reader.snapshot() is reader.snapshot()


def test_an_unchanged_version_is_not_opened_again(store: Store) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    before = reader.snapshot()
    build_and_publish(store, 0, "customers")
    assert reader.snapshot().live[FLIGHTS] is before.live[FLIGHTS]


def test_two_readers_of_one_process_share_what_is_open(store: Store) -> None:
    build_and_publish(store, 0)
    first, second = Reader(store.root).snapshot(), Reader(store.root).snapshot()
    assert first.live[FLIGHTS] is second.live[FLIGHTS]


def test_an_earlier_kept_version_can_be_asked_for(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    snapshot = Reader(store.root).snapshot()
    assert version_in(snapshot.prediction(FLIGHTS, "UA/1000", 1)) == 1
    assert version_in(snapshot.prediction(FLIGHTS, "UA/1000", 2)) == 2
    assert version_in(snapshot.explanation(FLIGHTS, "UA/1000", 1)) == 1
    assert snapshot.manifest(FLIGHTS, 1).version == 1
    assert [manifest.version for manifest in snapshot.versions(FLIGHTS)] == [1, 2]


def test_answers_for_many_keys_come_in_their_order(store: Store) -> None:
    build_and_publish(store, 0)
    found = Reader(store.root).snapshot().predictions(FLIGHTS, ["AA/999", "nobody", "UA/1000", "AA/999"])
    assert [json.loads(answer)["key"]["flight"] if answer else None for answer in found] == [999, None, 1000, 999]


def test_tables_and_versions_that_are_not_there_are_named(store: Store) -> None:
    build(store, 0, "customers")
    build_and_publish(store, 0)
    snapshot = Reader(store.root).snapshot()
    assert snapshot.tables() == (FLIGHTS,)
    assert snapshot.served("customers") == Served()
    for ask in (
        lambda: snapshot.prediction("customers", "1"),
        lambda: snapshot.manifest("../x"),
        lambda: snapshot.versions("customers"),
    ):
        with pytest.raises(UnknownTable, match="expected one of: flight_delays"):
            ask()
    with pytest.raises(UnknownVersion, match="expected one of the kept versions: 1, found 7"):
        snapshot.prediction(FLIGHTS, "UA/1000", 7)


def test_a_table_with_only_a_shadow_has_nothing_live(store: Store) -> None:
    build(store, 0)
    put_live(store, 1, channel="shadow")
    snapshot = Reader(store.root).snapshot()
    assert snapshot.served(FLIGHTS) == Served(shadow=1)
    with pytest.raises(UnknownVersion, match="expected a live version, found none"):
        snapshot.prediction(FLIGHTS, "UA/1000")
    assert version_in(snapshot.prediction(FLIGHTS, "UA/1000", 1)) == 1


def test_a_store_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="expected a store, found none"):
        Reader(tmp_path).snapshot()


def test_a_new_release_that_is_damaged_leaves_the_last_good_one_served_loudly(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    reader.snapshot()
    build(store, 1)
    put_live(store, 2)
    os.truncate(version_folder(store.root, FLIGHTS, VersionId(2)) / "lookup.mdb", 100)
    with caplog.at_level(logging.ERROR):
        assert version_in(reader.snapshot().prediction(FLIGHTS, "UA/1000")) == 1
    assert "lookup.mdb" in caplog.text
    assert "lookup.mdb" in (reader.problem or "")
    roll_back(store)
    assert reader.snapshot().release.id == 4
    assert reader.problem is None


def test_a_reader_that_starts_on_a_damaged_release_says_what_is_wrong(store: Store) -> None:
    build_and_publish(store, 0)
    os.truncate(version_folder(store.root, FLIGHTS, VersionId(1)) / "explanations.mdb", 100)
    with pytest.raises(StoreCorrupt, match=r"explanations\.mdb"):
        Reader(store.root).snapshot()


def test_a_refused_release_is_not_tried_at_every_request(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    reader.snapshot()
    build_and_publish(store, 1)
    (version_folder(store.root, FLIGHTS, VersionId(2)) / "manifest.json").unlink()
    with caplog.at_level(logging.ERROR):
        for _ in range(50):
            reader.snapshot()
    assert len(caplog.records) == 1


_CHURN = """
import sys
from pathlib import Path
from support.stores import FLIGHTS, put_live, roll_back
from batch_scoring.store import Store
store = Store(Path(sys.argv[1]))
for round in range(25):
    put_live(store, 9, force=True, why="again") if round else None
    roll_back(store)
"""

_ANALYST = """
import sys, duckdb
from pathlib import Path
root = Path(sys.argv[1])
seen = 0
print("ready", flush=True)
while not (root.parent / "stop").exists():
    with duckdb.connect(str(root / "current" / "predictions.duckdb"), read_only=True) as con:
        rows = con.execute('''
            SELECT DISTINCT version, (SELECT version FROM meta.versions WHERE live),
                (SELECT DISTINCT version FROM flight_delays_explanations),
                (SELECT to_version FROM meta.releases WHERE is_current)
            FROM flight_delays
        ''').fetchall()
    assert len(rows) == 1 and len(set(rows[0])) == 1, rows
    seen += 1
print(seen)
"""


def test_readers_see_one_whole_version_in_every_answer_while_fifty_flips_run(store: Store) -> None:
    for day in range(9):
        build_and_publish(store, day, score=(day + 1) / 100)
    keys = ["UA/1000", "AA/999", "B6/981"]
    reader = Reader(store.root)
    stop, wrong, answers = threading.Event(), [], []

    def look() -> None:
        while not stop.is_set():
            snapshot = reader.snapshot()
            live = snapshot.served(FLIGHTS).live
            found = [json.loads(answer or b"{}") for answer in snapshot.predictions(FLIGHTS, keys)]
            found.append(json.loads(snapshot.explanation(FLIGHTS, keys[0]) or b"{}"))
            seen = {(each["version"], each["score"]) for each in found}
            if seen != {(live, (live or 0) / 100)} or snapshot.manifest(FLIGHTS).version != live:
                wrong.append(seen)
            answers.append(live)
            time.sleep(0.001)  # leaves the two cores to those who publish

    threads = [threading.Thread(target=look) for _ in range(2)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", _ANALYST, str(store.root)], stdout=subprocess.PIPE, text=True) as analyst:
        assert analyst.stdout is not None
        assert analyst.stdout.readline() == "ready\n"
        for thread in threads:
            thread.start()
        done = subprocess.run(
            [sys.executable, "-c", _CHURN, str(store.root)], env=environment, capture_output=True, text=True, check=False
        )
        stop.set()
        (store.root.parent / "stop").touch()
        for thread in threads:
            thread.join()
        seen = int(analyst.stdout.readline())
    assert (done.returncode, done.stderr) == (0, "")
    assert analyst.returncode == 0
    assert wrong == []
    assert set(answers) == {8, 9}
    assert seen >= 3
    assert reader.snapshot().release.id == 10 + 49
    assert verify(store) == ()


def test_a_reader_follows_flips_and_prunes_of_another_thread_without_an_error(nine: Store) -> None:
    reader = Reader(nine.root)
    stop, wrong = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            try:
                snapshot = reader.snapshot()
                if version_in(snapshot.prediction(FLIGHTS, "UA/1000")) != snapshot.served(FLIGHTS).live:
                    wrong.append("mixed")
            except Exception as error:  # noqa: BLE001 -- whatever it is, a reader must not see it
                wrong.append(repr(error))
                return
            time.sleep(0.001)  # leaves the processor to the thread that builds and publishes

    thread = threading.Thread(target=look)
    thread.start()
    for day in range(9, 14):
        build_and_publish(nine, day)
        prune(nine, FLIGHTS)
    stop.set()
    thread.join()
    assert wrong == []
    assert repair(nine) == ()


def test_a_snapshot_is_a_value_with_a_short_name_in_logs(store: Store) -> None:
    build_and_publish(store, 0)
    snapshot = Reader(store.root).snapshot()
    assert isinstance(snapshot, Snapshot)
    assert "OpenVersion" not in repr(snapshot)


def test_a_reader_says_so_when_the_store_is_taken_away(store: Store, tmp_path: Path) -> None:
    build_and_publish(store, 0)
    reader = Reader(store.root)
    reader.snapshot()
    store.root.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="expected a store, found none"):
        reader.snapshot()


def test_a_version_that_is_being_removed_or_is_gone_gives_no_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    build_and_publish(store, 0)
    folder = version_folder(store.root, FLIGHTS, VersionId(1))
    handle = take_flock(folder, exclusive=True)
    assert handle is not None
    monkeypatch.setattr(reader_module, "_PATIENCE", 0.01)
    with pytest.raises(UnknownVersion, match="found one that is being removed"):
        reader_module._take_lease(folder)
    os.close(handle)
    os.close(reader_module._take_lease(folder))
    with pytest.raises(UnknownVersion):
        reader_module._take_lease(folder.with_name("000009"))


def test_an_index_that_another_thread_is_closing_is_opened_a_moment_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import lmdb

    build_and_publish(store, 0)
    path = version_folder(store.root, FLIGHTS, VersionId(1)) / "lookup.mdb"
    held = open_index(path)
    monkeypatch.setattr(reader_module, "_PATIENCE", 0.01)
    with pytest.raises(lmdb.Error, match="already open"):
        reader_module._open(path)
    monkeypatch.setattr(reader_module, "_PATIENCE", 20.0)
    threading.Timer(0.1, held.close).start()
    reader_module._open(path).close()


def test_a_version_that_is_exchanged_while_it_is_opened_is_opened_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    build_and_publish(store, 0)
    folder = version_folder(store.root, FLIGHTS, VersionId(1))
    left = ["after", "before"]

    class Disturbed(reader_module.OpenVersion):
        """An erasure comes before it reads the first time, and after it the second time."""

        __slots__ = ()

        def __init__(self, *where: Any) -> None:
            moment = left.pop() if left else ""
            if moment == "before":
                rewrite()
                raise StoreCorrupt("version 1", expected="one folder", found="two", fix="Try again.")
            super().__init__(*where)
            if moment == "after":
                rewrite()

    def rewrite() -> None:
        shutil.copytree(folder, folder.with_name("building-000001"))
        store.files.exchange(folder, folder.with_name("building-000001"))
        shutil.rmtree(folder.with_name("building-000001"))

    monkeypatch.setattr(reader_module, "OpenVersion", Disturbed)
    opened = reader_module.open_version(store.root, FLIGHTS, VersionId(1))
    assert left == []
    assert opened.identity == (folder.stat().st_dev, folder.stat().st_ino)


def test_a_release_that_is_superseded_and_pruned_while_it_is_opened_is_passed_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    really_open = reader_module.open_release

    def late(root: Path, target: str) -> Snapshot:
        if target == "releases/000002":
            put_live(store, 2)
            shutil.rmtree(version_folder(root, FLIGHTS, VersionId(1)))
        return really_open(root, target)

    monkeypatch.setattr(reader_module, "open_release", late)
    assert Reader(store.root).snapshot().served(FLIGHTS).live == 2
