"""How long a flip takes beside tables of different sizes, and how long with readers at work.

    python benchmarks/swap.py [--rows 10000 1000000 10000000] [--flips 1000]

Each size gets two versions of a table with one feature; ``publish`` then makes them live in turn. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.drafts import DAY_ONE, draft_version

from batch_scoring.declare import Entity, Key, TableName
from batch_scoring.domain import Column, Staged, VersionId
from batch_scoring.store import Reader, Store, build_version, create_store, publish

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


def flip(store: Store, nth: int) -> float:
    """Publish one of the two versions; milliseconds."""
    start = time.perf_counter()
    publish(store, TABLE, VersionId(nth % 2 + 1), who="bench", when=DAY_ONE + timedelta(seconds=nth), why="bench")
    return (time.perf_counter() - start) * 1000


def quantile(times: list[float], part: float) -> float:
    return round(sorted(times)[min(len(times) - 1, int(part * len(times)))], 2)


class Readers:
    """Processes' worth of lookups on threads of one process: each checks that an answer and its explanation agree."""

    def __init__(self, root: Path, count: int) -> None:
        self.reads, self.failed, self.mixed, self.stop = 0, 0, 0, False
        self._reader = Reader(root)
        self._threads = [threading.Thread(target=self._read) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        while not self.stop:
            try:
                snapshot = self._reader.snapshot()
                answer = json.loads(snapshot.prediction(TABLE, "7") or b"")
                why = json.loads(snapshot.explanation(TABLE, "7") or b"")
                self.mixed += len({answer["version"], why["version"], snapshot.manifest(TABLE).version}) != 1
            except Exception as error:  # noqa: BLE001 -- any failed read counts
                self.failed += 1
                print(repr(error), file=sys.stderr)
            self.reads += 1
            time.sleep(0.001)

    def end(self) -> None:
        self.stop = True
        for thread in self._threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--flips", type=int, default=1_000)
    options = parser.parse_args()
    by_rows: dict[int, dict[str, float]] = {}
    load: dict[str, float] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="swap-") as folder:
            store = Store(Path(folder) / "store")
            create_store(store, who="bench", when=DAY_ONE)
            began = time.perf_counter()
            for day in range(2):
                build_version(store, staged(Path(folder) / f"staged-{day}", day, rows))
            print(f"{rows:>12,} entities: two versions built in {time.perf_counter() - began:.1f} s", flush=True)
            times = [flip(store, nth) for nth in range(50)]
            by_rows[rows] = {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}
            print(f"{rows:>12,} entities: flip p50 {by_rows[rows]['p50']} ms, p99 {by_rows[rows]['p99']} ms", flush=True)
            if rows == options.rows[0]:
                readers = Readers(store.root, 2)
                times = [flip(store, nth) for nth in range(options.flips)]
                readers.end()
                load = {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99), "first_100_p99": quantile(times[:100], 0.99)}
                load |= {"flips": len(times), "reads": readers.reads, "failed": readers.failed, "mixed": readers.mixed}
                print(f"under load: {load}", flush=True)
    summary = {
        "injected": None,
        "lost": None,
        "mixed": load["mixed"],
        "unrecovered": None,
        "flip_p99_ms": load["p99"],
        "flip_ms_by_rows": {str(rows): found["p50"] for rows, found in by_rows.items()},
    }
    print(json.dumps({"summary": summary, "load": load, "by_rows": by_rows, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
