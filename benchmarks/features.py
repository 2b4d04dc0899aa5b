"""How fast features are joined as of a moment, beside Feast's own DuckDB store and beside bare DuckDB SQL.

    python benchmarks/features.py [--rows 5000000] [--largest 20000000] [--only feast,bare,growth,history,validation]

Every measurement runs in a process of its own, twice; the faster one counts, and the larger peak of memory. Prints one
JSON object. ``feast``: 334,000 entity rows on 2 views (4 features, TTL), on Feast's own store and on ours, compared cell by
cell. ``bare``: ``--rows`` entity rows on 3 views of as many rows, against the same join in plain SQL, both streamed to
Parquet under 1 GB; ``late`` repeats it with one row in a hundred created after its event. ``growth``: one view at 1, 5 and
20 million rows under the store's default limit, 2 GB; a thousand rows beside them are the fixed cost. ``history``: views
without a TTL over 10 and 100 rows per key. ``validation``: the checks of a delivery of 10 million rows and 20 columns.
Entity rows come in no order of time or key.

In the summary, ``vs_feast_memory`` is our peak over Feast's, ``vs_bare_duckdb`` our time over plain SQL's,
``rss_over_limit_mb`` the most that any peak was over its limit, and ``growth_20m_over_1m`` the time *per row* at the largest
size over that at one million, fixed cost and all (1.0 is linear).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path

LIMIT_MB, DEFAULT_LIMIT_MB = 1000, 2000
OURS = {"type": "pipelines.features.asof_store.AsofDuckDBOfflineStore", "threads": 2}
FEASTS = {"type": "duckdb"}
START = "TIMESTAMPTZ '2024-01-01 00:00:00+00'"


def make(folder: Path, name: str, rows: int, keys: int, *, late: bool = False) -> None:
    import duckdb

    con = duckdb.connect()
    con.execute("SET threads = 2; SET memory_limit = '2GB'; SET TimeZone = 'UTC'")
    # One row per key and step, at a second of its own: no ties; keys follow in an order without meaning.
    event = f"{START} + to_seconds((i // {keys}) * 3600 + (hash(i) % 3600)::BIGINT)"
    created = "event_timestamp + INTERVAL 2 HOUR" if late else "event_timestamp"
    con.execute(
        f"COPY (SELECT *, CASE WHEN a % 100 = 7 THEN {created} ELSE event_timestamp END AS created FROM ("
        f"SELECT ((i * 7919) % {keys})::BIGINT AS k, {event} AS event_timestamp, (hash(i + 1) % 1000)::BIGINT AS a, "
        f"(hash(i + 2) % 1000) / 10 AS b FROM range({rows}) t(i))) TO '{folder / name}.parquet' (FORMAT parquet)"
    )


def ask(folder: Path, rows: int, keys: int, hours: int) -> None:
    import duckdb

    moment = f"{START} + to_seconds((hash(i + 3) % {3600 * hours})::BIGINT)"
    duckdb.sql("SET TimeZone = 'UTC'")
    duckdb.sql(
        f"COPY (SELECT (hash(i) % {keys})::BIGINT AS k, {moment} AS event_timestamp FROM range({rows}) t(i)) "
        f"TO '{folder / 'entities.parquet'}' (FORMAT parquet)"
    )


def store(folder: Path, offline: dict[str, object], views: int, ttl: timedelta | None):
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64

    kind = "feasts" if offline is FEASTS else "ours"
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{kind}.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store=dict(offline),
        entity_key_serialization_version=3,
    )
    made = FeatureStore(config=config)
    key = Entity(name="k", value_type=ValueType.INT64)
    made.apply([key, *(
        FeatureView(
            name=f"v{n}", entities=[key], ttl=ttl,
            schema=[Field(name="k", dtype=Int64), Field(name="a", dtype=Int64), Field(name="b", dtype=Float64)],
            source=FileSource(
                name=f"s{n}", path=str(folder / f"v{n}.parquet"),
                timestamp_field="event_timestamp", created_timestamp_column="created",
            ),
        )
        for n in range(views)
    )])  # fmt: skip
    return made


def run(job: dict[str, object]) -> dict[str, float]:
    """One measurement, in this process."""
    warnings.simplefilter("ignore")
    folder, views = Path(job["folder"]), job["views"]
    out = folder / f"{job['kind']}.parquet"
    ttl = timedelta(seconds=job["ttl"]) if job["ttl"] else None
    if job["kind"] == "bare":
        import duckdb

        config = {"memory_limit": f"{job['limit']}MB", "threads": 2, "temp_directory": str(folder / "spill")}
        con = duckdb.connect(config=config)
        con.execute("SET TimeZone = 'UTC'")
        live = "e.event_timestamp - v{0}.event_timestamp <= to_seconds({1})"
        columns = ", ".join(
            f"CASE WHEN {live.format(n, job['ttl'])} THEN v{n}.{c} END AS v{n}__{c}" for n in range(views) for c in "ab"
        )
        joins = " ".join(
            f"ASOF LEFT JOIN read_parquet('{folder}/v{n}.parquet') v{n} "
            f"ON e.k = v{n}.k AND e.event_timestamp >= v{n}.event_timestamp"
            for n in range(views)
        )
        started, cpu_before = time.perf_counter(), time.process_time()
        con.execute(
            f"COPY (SELECT e.*, {columns} FROM read_parquet('{folder}/entities.parquet') e {joins}) TO '{out}' (COMPRESSION zstd)"
        )
    else:
        made = store(folder, OURS | {"memory_limit": f"{job['limit']}MB"} if job["kind"] == "ours" else FEASTS, views, ttl)
        refs = [f"v{n}:{c}" for n in range(views) for c in "ab"]
        started, cpu_before = time.perf_counter(), time.process_time()
        if job["kind"] == "ours":
            asked = made.get_historical_features(entity_df=folder / "entities.parquet", features=refs, full_feature_names=True)
            if job["collect"]:
                import pyarrow.parquet as pq

                pq.write_table(asked.to_arrow(), out)
            else:
                asked.to_parquet(out)
        else:
            import pandas as pd
            import pyarrow.parquet as pq

            rows = pd.read_parquet(folder / "entities.parquet")
            found = made.get_historical_features(
                entity_df=rows, features=refs, full_feature_names=True, filter_by_created_timestamp=True
            )
            pq.write_table(found.to_arrow(), out)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime - cpu_before
    return {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "rss_mb": round(usage.ru_maxrss / 1024, 1)}


def measure(
    folder: Path, kind: str, views: int, ttl: int, *, times: int = 2, collect: bool = False, limit: int = LIMIT_MB
) -> dict[str, float]:
    job = {"folder": str(folder), "kind": kind, "views": views, "ttl": ttl, "collect": collect, "limit": limit}
    found = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, __file__, "--job", json.dumps(job)], check=True, capture_output=True, text=True, env=os.environ
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    result = {name: min(each[name] for each in found) for name in ("seconds", "cpu_seconds")}
    result |= {"rss_mb": max(each["rss_mb"] for each in found), "limit_mb": limit}
    print(f"{folder.name} {kind}: {result}", file=sys.stderr, flush=True)
    return result


def unequal(folder: Path) -> int:
    """Rows that one result has and the other has not, counted with repeats."""
    import duckdb

    one, other = (f"SELECT * FROM read_parquet('{folder}/{kind}.parquet')" for kind in ("ours", "feasts"))
    columns = "k, event_timestamp::TIMESTAMPTZ, v0__a::DOUBLE, v0__b, v1__a::DOUBLE, v1__b"
    one, other = (f"SELECT {columns} FROM ({each})" for each in (one, other))
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    return sum(
        con.execute(f"SELECT count(*) FROM ({left} EXCEPT ALL {right})").fetchall()[0][0]
        for left, right in ((one, other), (other, one))
    )


def part(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder


DAY = 86_400


def against_feast(root: Path) -> dict[str, object]:
    folder = part(root, "feast")
    for n in range(2):
        make(folder, f"v{n}", 334_000, 4_000, late=True)
    ask(folder, 334_000, 4_000, 80)
    ours = measure(folder, "ours", 2, DAY // 2, collect=True)
    feasts = measure(folder, "feasts", 2, DAY // 2)
    return {"ours": ours, "feast": feasts, "unequal_rows": unequal(folder)}


def against_sql(root: Path, name: str, rows: int) -> dict[str, object]:
    folder = part(root, name)
    for n in range(3):
        make(folder, f"v{n}", rows, rows // 50, late=name == "late")
    ask(folder, rows, rows // 50, 50)
    found = {kind: measure(folder, kind, 3, DAY) for kind in ("ours", "bare")[: 1 if name == "late" else 2]}
    shutil.rmtree(folder)
    return found


def growth(root: Path, largest: int) -> dict[str, object]:
    found = {}
    for name, rows in {"1k": 1_000, "1m": 1_000_000, "5m": 5_000_000, f"{largest // 1_000_000}m": largest}.items():
        folder = part(root, name)
        make(folder, "v0", rows, rows // 50)
        ask(folder, rows, rows // 50, 50)
        found[name] = measure(folder, "ours", 1, DAY, limit=DEFAULT_LIMIT_MB)
        found[name]["microseconds_per_row"] = round(found[name]["seconds"] / rows * 1e6, 3)
        shutil.rmtree(folder)
    return found


def history(root: Path) -> dict[str, object]:
    found = {}
    for steps in (10, 100):
        folder = part(root, f"history_{steps}")
        for n in range(2):
            make(folder, f"v{n}", 2_000 * steps, 2_000)
        ask(folder, 50_000, 2_000, steps)
        found[str(steps)] = {kind: measure(folder, kind, 2, 0, collect=True) for kind in ("ours", "feasts")}
        found[str(steps)]["unequal_rows"] = unequal(folder)
    return found


def validation() -> dict[str, object]:
    """The checks of a delivery, by the benchmark beside this one."""
    sys.path.insert(0, str(Path(__file__).parent))
    from validation import run as run_validation

    return run_validation(rows=10_000_000, columns=20)


def summary(result: dict[str, dict], largest: int) -> dict[str, float]:
    found: dict[str, float] = {}
    if "feast" in result:
        ours, feasts = result["feast"]["ours"], result["feast"]["feast"]
        found["vs_feast_speedup"] = round(feasts["seconds"] / ours["seconds"], 2)
        found["vs_feast_memory"] = round(ours["rss_mb"] / feasts["rss_mb"], 3)
    if "bare" in result:
        found["vs_bare_duckdb"] = round(result["bare"]["ours"]["seconds"] / result["bare"]["bare"]["seconds"], 2)
    peaks = [result[name]["ours"] for name in ("bare", "late") if name in result] + list(result.get("growth", {}).values())
    if peaks:
        found["rss_over_limit_mb"] = round(max(each["rss_mb"] - each["limit_mb"] for each in peaks), 1)
    if "growth" in result:
        millions = largest / 1_000_000
        ratio = result["growth"][f"{millions:.0f}m"]["seconds"] / result["growth"]["1m"]["seconds"] / millions
        found["growth_20m_over_1m"] = round(ratio, 2)
    if "validation" in result:
        found["validation_10m_s"] = result["validation"]["seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--largest", type=int, default=20_000_000)
    parser.add_argument("--only", default="feast,bare,late,growth,history,validation")
    parser.add_argument("--job")
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run(json.loads(args.job))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        parts = {
            "feast": lambda: against_feast(root),
            "bare": lambda: against_sql(root, "bare", args.rows),
            "late": lambda: against_sql(root, "late", args.rows),
            "growth": lambda: growth(root, args.largest),
            "history": lambda: history(root),
            "validation": validation,
        }
        result = {name: parts[name]() for name in args.only.split(",")}
    result["summary"] = summary(result, args.largest)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
