"""Writer and reader processes on one store at once: every answer is one version's, every acknowledged release is there.

    python benchmarks/crowd.py [--seconds 60] [--writers 4] [--readers 8] [--seed 0]

Writers build, publish, shadow, roll back and prune two tables that they share and one of their own each; some wait for the lock,
some do not. Readers ask for a prediction, its explanation and the metadata and compare; now and then as an analyst would,
in the DuckDB file. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from batch_scoring.declare import TableName  # noqa: E402 -- tests/support is found from here on
from batch_scoring.domain import VersionId  # noqa: E402
from batch_scoring.errors import StoreConflict, StoreLocked, UnknownVersion  # noqa: E402
from batch_scoring.store import Reader, Snapshot, Store, history, prune, release_folder, verify, version_folder  # noqa: E402

SHARED = ("flight_delays", "customers")
KEYS = ("UA/1000", "AA/999", "9E/998")
_READY = "ready"
_STOP = "stop"
_PAUSE = 0.001


def run(folder: Path, *, seconds: float, writers: int = 4, readers: int = 8, seed: int = 0) -> dict[str, int]:
    """Let them loose on a new store in ``folder`` and count.

    Returns:
        published: acknowledged releases. refused: clean refusals (locked, barred, nothing to roll back to). reads, mixed:
        answers, and those that did not agree. failed: processes and reads that failed any other way. lost: acknowledged
        releases that are not in the history, and findings of ``verify`` that are no rubbish.
    """
    from support.stores import build_and_publish, new_store

    store = new_store(folder)
    for table in SHARED:
        build_and_publish(store, 0, table)
    with started("write", store.root, writers, seed) as writing, started("read", store.root, readers, seed) as reading:
        for process in (*writing, *reading):
            assert process.stdout is not None
            process.stdout.readline()  # it is ready, or has died
        time.sleep(seconds)
        (folder / _STOP).touch()
        told = [collect(process) for process in (*writing, *reading)]
    total = {name: sum(each.get(name, 0) for each in told) for name in ("refused", "reads", "mixed", "failed")}
    ledger = [entry for each in told for entry in each.get("ledger", ())]
    return {"published": len(ledger), **total, "lost": _lost(store, ledger)}


@contextmanager
def started(role: str, root: Path, count: int, seed: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that act on a store until there is a file ``stop`` beside it; they end with whoever started them."""
    command = [sys.executable, __file__, "--as", role, "--root", str(root), "--seed"]
    processes = [
        subprocess.Popen([*command, f"{seed}/{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def collect(process: subprocess.Popen[str]) -> dict[str, object]:
    """What a process counted; a process that died counts as one failure."""
    out, _ = process.communicate(timeout=120)
    return json.loads(out) if process.returncode == 0 else {"failed": 1}


def _lost(store: Store, ledger: list[list[object]]) -> int:
    releases = {release.id: release for release in history(store)}
    gone = 0
    for number, table, live, shadow in ledger:
        served = releases[number].tables[table] if number in releases else None
        gone += served is None or (served.live, served.shadow) != (live, shadow)
    return gone + sum(not finding.harmless for finding in verify(store))


def write(root: Path, seed: str) -> dict[str, object]:
    """Change the store at random until it is time to stop, and at least once."""
    from support.stores import build, put_live, roll_back

    print(_READY, flush=True)

    chance, stop = random.Random(seed), root.parent / _STOP
    tables = (*SHARED, f"own_{seed.replace('/', '_')}")
    ledger: list[tuple[object, ...]] = []
    refused = 0
    while not ledger or not stop.exists():
        store, table = Store(root, patience=chance.choice((0.02, 30.0))), TableName(chance.choice(tables))
        try:
            match chance.randrange(8):
                case 0 | 1:
                    release = roll_back(store, table)
                case 2:
                    prune(store, table)
                    continue
                case 3:
                    version = build(store, chance.randrange(20, 400), table, seed=chance.randrange(10**9)).version
                    release = put_live(store, version, table, channel="shadow")
                case _:
                    version = build(store, chance.randrange(20, 400), table, seed=chance.randrange(10**9)).version
                    release = put_live(store, version, table)
        except (StoreConflict, StoreLocked, UnknownVersion):
            refused += 1
            continue
        served = release.tables[table]
        ledger.append((release.id, table, served.live, served.shadow))
    return {"ledger": ledger, "refused": refused}


def read(root: Path, seed: str) -> dict[str, object]:
    """Ask for answers until it is time to stop, and compare what belongs together."""
    chance, stop, reader = random.Random(seed), root.parent / _STOP, Reader(root)
    print(_READY, flush=True)
    reads = mixed = failed = last = 0
    analyst = time.monotonic() + chance.uniform(0.5, 2.0) if SHARED[1] in reader.snapshot().tables() else None
    while not stop.exists():
        try:
            snapshot = reader.snapshot()
            mixed += snapshot.release.id < last
            last = snapshot.release.id
            for table in snapshot.tables():
                if snapshot.served(table).live is not None:
                    mixed += not agrees(snapshot, table, chance.choice(KEYS))
                    reads += 1
            if analyst is not None and time.monotonic() > analyst:
                mixed += not analyst_agrees(snapshot)
                analyst = time.monotonic() + 2.0
        except Exception as error:  # noqa: BLE001 -- any failed read counts
            failed += 1
            print(repr(error), file=sys.stderr)
        time.sleep(_PAUSE)
    return {"reads": reads, "mixed": mixed, "failed": failed}


def agrees(snapshot: Snapshot, table: str, key: str) -> bool:
    """Whether a prediction, its explanation, the manifest and the release speak of one version."""
    answer = json.loads(snapshot.prediction(table, key) or b"{}")
    why = json.loads(snapshot.explanation(table, key) or b"{}")
    manifest = snapshot.manifest(table)
    versions = {answer["version"], why["version"], manifest.version, snapshot.served(table).live}
    return len(versions) == 1 and answer["as_of"] == why["as_of"] and answer["score"] == why["score"]


def analyst_agrees(snapshot: Snapshot) -> bool:
    """Whether the DuckDB file of a release says the same as its record, in every view."""
    import duckdb

    root, table = snapshot.root, SHARED[0]
    live = snapshot.served(table).live
    query = f"""
    SELECT p.version, e.version, f.version, v.version, r.release
    FROM {table} p JOIN {table}_explanations e USING (key) JOIN {table}_features f USING (key),
        meta.versions v, meta.releases r
    WHERE v.live AND v.table_name = '{table}' AND r.is_current
    """
    try:
        with duckdb.connect(release_folder(root, snapshot.release.id) / "predictions.duckdb", read_only=True) as con:
            found = set(con.execute(query).fetchall())
    except duckdb.Error:  # an analyst's connection is no lease: seven versions on, what it names may be pruned
        return live is None or not version_folder(root, TableName(table), VersionId(live)).exists()
    return found == {(live, live, live, live, snapshot.release.id)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--as", dest="role", choices=["write", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        print(json.dumps({"write": write, "read": read}[options.role](options.root, options.seed)))
        return
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        counted = run(
            Path(folder), seconds=options.seconds, writers=options.writers, readers=options.readers, seed=int(options.seed)
        )
    print(json.dumps({"summary": {**counted, "cpus": os.cpu_count()}}))
    sys.exit(1 if counted["mixed"] or counted["failed"] or counted["lost"] else 0)


if __name__ == "__main__":
    main()
