"""What the lock promises: one writer at a time, named, and gone with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.stores import FLIGHTS, build, build_and_publish, new_store, put_live, roll_back

from batch_scoring.errors import StoreLocked
from batch_scoring.store import Reader, Store, history, prune, repair, verify
from batch_scoring.store.lock import locked

_HOLD = """
import sys
from pathlib import Path
from batch_scoring.store import Store
from batch_scoring.store.lock import locked
with locked(Store(Path(sys.argv[1])), "publish version 7 of 'flight_delays'"):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def holding(store: Store) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_second_publisher_is_told_who_holds_the_lock_and_since_when(tmp_path: Path) -> None:
    store = new_store(tmp_path, patience=0.05)
    build_and_publish(store, 0)
    build(store, 1)
    with holding(store) as holder:
        for act in (
            lambda: put_live(store, 2),
            lambda: roll_back(store),
            lambda: prune(store, FLIGHTS),
            lambda: repair(store),
        ):
            with pytest.raises(StoreLocked) as refusal:
                act()
            today = datetime.now(tz=UTC).strftime("%Y-%m-%d")
            assert f"process {holder.pid} on " in str(refusal.value)
            assert f"(publish version 7 of 'flight_delays') holding the lock since {today}" in str(refusal.value)
        assert Reader(store.root).snapshot().served(FLIGHTS).live == 1
        holder.communicate("\n")
    assert put_live(store, 2).tables[FLIGHTS].live == 2


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    store = new_store(tmp_path, patience=0.05)
    build(store, 0)
    with holding(store) as holder:
        holder.send_signal(signal.SIGKILL)
    assert put_live(store, 1).tables[FLIGHTS].live == 1


def test_a_publisher_waits_for_a_short_holder(tmp_path: Path) -> None:
    store = new_store(tmp_path, patience=20)
    build(store, 0)
    with holding(store) as holder:
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert put_live(store, 1).tables[FLIGHTS].live == 1


def test_the_lock_excludes_threads_of_one_process_too(tmp_path: Path) -> None:
    store = new_store(tmp_path, patience=0.02)
    with locked(store, "something"), pytest.raises(StoreLocked, match=f"process {os.getpid()} "), locked(store, "another"):
        raise AssertionError("two holders")


def test_a_lock_file_that_is_still_being_written_does_not_hide_the_refusal(tmp_path: Path) -> None:
    store = new_store(tmp_path, patience=0.02)
    with locked(store, "something"):
        (store.root / "lock").write_text("")
        with pytest.raises(StoreLocked, match="another process holding the lock"), locked(store, "another"):
            raise AssertionError("two holders")


_PUBLISH_MANY = """
import sys
from pathlib import Path
from support.stores import build_and_publish
from batch_scoring.store import Store
store = Store(Path(sys.argv[1]), patience=60)
for day in range(2):
    release = build_and_publish(store, day, sys.argv[2], seed=int(sys.argv[3]))
    print(release.id, release.tables[sys.argv[2]].live, flush=True)
"""


def test_processes_that_publish_at_once_each_get_their_own_version_and_release(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    jobs = [("flight_delays", "1"), ("flight_delays", "2"), ("customers", "3")]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _PUBLISH_MANY, str(store.root), *job], env=environment, stdout=subprocess.PIPE, text=True
        )
        for job in jobs
    ]
    acknowledged = [
        (table, *map(int, line.split()))
        for writer, (table, _) in zip(writers, jobs, strict=True)
        for line in writer.communicate()[0].splitlines()
    ]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    releases = {release.id: release for release in history(store)}
    assert sorted(release for _, release, _ in acknowledged) == list(range(2, 8))
    assert len({(table, version) for table, _, version in acknowledged}) == 6
    for table, release, version in acknowledged:
        assert (releases[release].action.table, releases[release].action.to_version) == (table, version)
    assert verify(store) == ()
