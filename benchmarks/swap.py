"""How long a flip takes beside tables of different sizes, and how long with reader processes at work.

    python benchmarks/swap.py [--rows 10000 1000000 10000000] [--flips 1000] [--readers 4]

A flip is what the caller waits: from calling ``publish`` or ``rollback`` to its return, when the release is durable. Each size
has a store of one table with two versions, that large one and a small one, which become live in turn: published (by force,
for a rollback bars) and rolled back. At the largest size the flips are repeated while processes read both versions' keys
and compare answer, explanation, manifest and release. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.drafts import DAY_ONE, draft_version

from batch_scoring.declare import Entity, Key, TableName
from batch_scoring.domain import Column, Staged, VersionId
from batch_scoring.store import Store, build_version, create_store, publish, rollback

WHO = Entity(name="customer", keys=(Key(name="id", type="integer", description="number"),), description="a customer")
TABLE = TableName("customers")
_REASON = 'STRUCT(feature VARCHAR, "value" VARCHAR, contribution DOUBLE, "text" VARCHAR)[]'
_STAGED = {
    "predictions": f"""i AS id, 0.5::DOUBLE AS score, 'no' AS decision, 0.6::DOUBLE AS threshold, i AS rank,
        0.0::DOUBLE AS margin, []::{_REASON} AS reasons""",
    "explanations": "i AS id, 0.0::DOUBLE AS base_value, 0.0::FLOAT AS visits",
    "features": "i AS id, i % 100 AS visits",
}


def staged(folder: Path, day: int, rows: int) -> Staged:
    folder.mkdir(parents=True)
    for name, columns in _STAGED.items():
        duckdb.execute(f"COPY (SELECT {columns} FROM range({rows}) t(i)) TO '{folder / name}.parquet' (FORMAT parquet)")
    (folder / "model.ubj").write_bytes(b"model")
    draft = draft_version(TABLE, day=day, rows=rows, entity=WHO)
    columns = (
        Column(name="id", type="BIGINT", role="key", description="number"),
        Column(name="score", type="DOUBLE", role="score", description="probability"),
        Column(name="decision", type="VARCHAR", role="decision", description="yes or no"),
        Column(name="visits", type="BIGINT", role="feature", description="visits"),
    )
    return Staged(draft=replace(draft, columns=columns), folder=folder)


@dataclass(slots=True)
class Flips:
    """Milliseconds of each flip."""

    publishes: list[float] = field(default_factory=list)
    rollbacks: list[float] = field(default_factory=list)

    def run(self, store: Store, count: int) -> None:
        """Publish version 2 and roll back to version 1 in turn."""
        for nth in range(count):
            when = DAY_ONE + timedelta(seconds=nth)
            start = time.perf_counter()
            if nth % 2 == 0:
                publish(store, TABLE, VersionId(2), who="bench", when=when, why="bench", force=True)
                self.publishes.append((time.perf_counter() - start) * 1000)
            else:
                rollback(store, TABLE, who="bench", when=when, why="bench")
                self.rollbacks.append((time.perf_counter() - start) * 1000)

    def numbers(self) -> dict[str, float]:
        """Milliseconds, of publishes and rollbacks together and of rollbacks alone."""
        both = self.publishes + self.rollbacks
        return {
            "p50": quantile(both, 0.5),
            "p99": quantile(both, 0.99),
            "max": quantile(both, 1),
            "rollback_p99": quantile(self.rollbacks, 0.99),
            "rollback_max": quantile(self.rollbacks, 1),
        }


def quantile(times: list[float], part: float) -> float:
    return round(sorted(times)[min(len(times) - 1, int(part * len(times)))], 2)


def two_versions(folder: Path, rows: int) -> Store:
    """A store in which version 1, of ``rows`` rows, is live, and version 2 is a small one."""
    store = Store(folder / "store")
    create_store(store, who="bench", when=DAY_ONE)
    for day, count in enumerate((rows, min(rows, 10_000))):
        build_version(store, staged(folder / f"staged-{day}", day, count))
    publish(store, TABLE, VersionId(1), who="bench", when=DAY_ONE, why="bench")
    return store


_READ = """
import json, random, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from crowd import agrees
from batch_scoring.store import Reader
root, chance, reads, mixed, failed = Path(sys.argv[2]), random.Random(sys.argv[3]), 0, 0, 0
reader = Reader(root)
reader.snapshot()
print("ready", flush=True)
while not (root.parent / "stop").exists():
    try:
        mixed += not agrees(reader.snapshot(), "customers", str(chance.randrange(10_000)))
    except Exception as error:
        failed += 1
        print(repr(error), file=sys.stderr)
    reads += 1
    time.sleep(0.001)
print(json.dumps({"reads": reads, "mixed": mixed, "failed": failed}))
"""


def under_load(store: Store, flips: int, readers: int) -> dict[str, float]:
    """The flips' milliseconds beside reader processes, and what those saw."""
    command = [sys.executable, "-c", _READ, str(Path(__file__).parent), str(store.root)]
    reading = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(readers)]
    for process in reading:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    times = Flips()
    times.run(store, flips)
    (store.root.parent / "stop").touch()
    told = [process.communicate()[0] for process in reading]
    counted = [json.loads(each) for each, process in zip(told, reading, strict=True) if process.returncode == 0]
    total = {name: sum(each[name] for each in counted) for name in ("reads", "mixed", "failed")}
    total["failed"] += readers - len(counted)
    return {**times.numbers(), **total, "flips": flips, "readers": readers}


_COLD = """
import sys, time
from pathlib import Path
from batch_scoring.declare import TableName
from batch_scoring.store import Store
from batch_scoring.store.releases import rollback
from datetime import datetime, UTC
when = datetime(2013, 3, 2, tzinfo=UTC)
start = time.perf_counter()
rollback(Store(Path(sys.argv[1])), TableName("customers"), who="bench", when=when, why="bench")
print((time.perf_counter() - start) * 1000)
"""


def cold(store: Store, times: int = 5) -> float:
    """Milliseconds of a rollback that is the first thing a process does, DuckDB's start included: the median."""
    took = []
    for _ in range(times):
        publish(store, TABLE, VersionId(2), who="bench", when=DAY_ONE, why="bench", force=True)
        done = subprocess.run([sys.executable, "-c", _COLD, str(store.root)], stdout=subprocess.PIPE, text=True, check=True)
        took.append(float(done.stdout))
    return quantile(took, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--flips", type=int, default=1_000)
    parser.add_argument("--readers", type=int, default=4)
    options = parser.parse_args()
    by_rows: dict[str, dict[str, float]] = {}
    load: dict[str, float] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="swap-") as folder:
            began = time.perf_counter()
            store = two_versions(Path(folder), rows)
            print(f"{rows:>12,} entities: built in {time.perf_counter() - began:.1f} s", flush=True)
            times = Flips()
            times.run(store, 200)
            by_rows[str(rows)] = times.numbers() | {"first_in_a_process": cold(store)}
            print(f"{rows:>12,} entities: {by_rows[str(rows)]} ms", flush=True)
            if rows == max(options.rows):
                load = under_load(store, options.flips, options.readers)
                print(f"{rows:>12,} entities, {options.readers} reader processes: {load}", flush=True)
    summary = {
        "flip_p99_ms": load["p99"],
        "flip_ms_by_rows": {rows: found["p50"] for rows, found in by_rows.items()},
        "flip_p99_ms_by_rows": {rows: found["p99"] for rows, found in by_rows.items()},
        "rollback_max_ms": max(found["rollback_max"] for found in (*by_rows.values(), load)),
        "flips": load["flips"],
        "reads": load["reads"],
        "failed": load["failed"],
        "mixed": load["mixed"],
    }
    print(json.dumps({"summary": summary, "load": load, "by_rows": by_rows, "cpus": os.cpu_count()}))
    sys.exit(1 if load["failed"] or load["mixed"] else 0)


if __name__ == "__main__":
    main()
