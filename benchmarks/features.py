"""How fast features are joined as of a moment, beside Feast's own DuckDB store and beside bare DuckDB SQL.

    python benchmarks/features.py [--rows 5000000] [--largest 20000000]

Every measurement runs in a process of its own, twice; the faster one counts, and the larger peak of memory. Prints one
JSON object. ``feast``: 334,000 entity rows on 2 views (4 features, TTL), on Feast's own store and on ours, compared cell by
cell. ``bare``: ``--rows`` entity rows on 3 views of as many rows, against the same join in plain SQL, both streamed to
Parquet under 1 GB. ``growth``: the same on one view at 1, 5 and 20 million rows under 1 GB. ``history``: views without a
TTL over 10 and 100 rows per key. Rows in ``bare`` and ``growth`` are in plain order; ``late`` repeats ``bare`` with one
row in a hundred created after its event. In the summary, ``vs_feast_memory`` is our peak over Feast's, ``vs_bare_duckdb``
our time over plain SQL's, and ``growth_20m_over_1m`` the time *per row* at the largest size over that at one million
(1.0 is linear).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path

LIMIT_MB = 1000
OURS = {"type": "pipelines.features.asof_store.AsofDuckDBOfflineStore", "memory_limit": f"{LIMIT_MB}MB", "threads": 2}
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

    kind = "ours" if offline is OURS else "feasts"
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

        config = {"memory_limit": f"{LIMIT_MB}MB", "threads": 2, "temp_directory": str(folder / "spill")}
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
        started = time.perf_counter()
        con.execute(
            f"COPY (SELECT e.*, {columns} FROM read_parquet('{folder}/entities.parquet') e {joins}) TO '{out}' (COMPRESSION zstd)"
        )
    else:
        made = store(folder, OURS if job["kind"] == "ours" else FEASTS, views, ttl)
        refs = [f"v{n}:{c}" for n in range(views) for c in "ab"]
        started = time.perf_counter()
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
    return {"seconds": round(seconds, 3), "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def measure(folder: Path, kind: str, views: int, ttl: int, *, times: int = 2, collect: bool = False) -> dict[str, float]:
    job = {"folder": str(folder), "kind": kind, "views": views, "ttl": ttl, "collect": collect}
    found = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, __file__, "--job", json.dumps(job)], check=True, capture_output=True, text=True, env=os.environ
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    result = {"seconds": min(each["seconds"] for each in found), "rss_mb": max(each["rss_mb"] for each in found)}
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--largest", type=int, default=20_000_000)
    parser.add_argument("--job")
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run(json.loads(args.job))))
        return
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root, day = Path(temporary), 86_400

        folder = part(root, "feast")
        for n in range(2):
            make(folder, f"v{n}", 334_000, 4_000, late=True)
        ask(folder, 334_000, 4_000, 80)
        ours = measure(folder, "ours", 2, day // 2, collect=True)
        feasts = measure(folder, "feasts", 2, day // 2)
        result["feast"] = {"ours": ours, "feast": feasts, "unequal_rows": unequal(folder)}

        for name, late in (("bare", False), ("late", True)):
            folder = part(root, name)
            for n in range(3):
                make(folder, f"v{n}", args.rows, args.rows // 50, late=late)
            ask(folder, args.rows, args.rows // 50, 50)
            result[name] = {kind: measure(folder, kind, 3, day, times=1) for kind in ("ours", "bare")[: 1 if late else 2]}

        growth = {}
        for millions in (1, 5, args.largest // 1_000_000):
            folder, rows = part(root, f"{millions}m"), millions * 1_000_000
            make(folder, "v0", rows, rows // 50)
            ask(folder, rows, rows // 50, 50)
            growth[f"{millions}m"] = measure(folder, "ours", 1, day, times=1)
            for file in folder.glob("*.parquet"):
                file.unlink()
        result["growth"] = growth

        history = {}
        for steps in (10, 100):
            folder = part(root, f"history_{steps}")
            for n in range(2):
                make(folder, f"v{n}", 2_000 * steps, 2_000)
            ask(folder, 50_000, 2_000, steps)
            history[str(steps)] = {kind: measure(folder, kind, 2, 0, times=1, collect=True) for kind in ("ours", "feasts")}
        result["history"] = history

    bare, peak = result["bare"], max(result[name]["ours"]["rss_mb"] for name in ("bare", "late"))
    small, large = growth["1m"]["seconds"], growth[f"{args.largest // 1_000_000}m"]["seconds"]
    result["summary"] = {
        "vs_feast_speedup": round(feasts["seconds"] / ours["seconds"], 2),
        "vs_feast_memory": round(ours["rss_mb"] / feasts["rss_mb"], 3),
        "vs_bare_duckdb": round(bare["ours"]["seconds"] / bare["bare"]["seconds"], 2),
        "rss_over_limit_mb": round(max(peak, *(each["rss_mb"] for each in growth.values())) - LIMIT_MB, 1),
        "growth_20m_over_1m": round(large / small / (args.largest / 1_000_000), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
