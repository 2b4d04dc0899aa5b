"""How fast features are joined as of a moment, beside Feast's own DuckDB store and beside bare DuckDB SQL.

    python benchmarks/features.py [--rows 5000000] [--largest 20000000] [--only feast,bare,late,growth,history,validation]

Every measurement runs in a process of its own, twice; the faster one counts, and the larger peak of memory. Prints one
JSON object, and ends with 1 if any cell differs from Feast's (``unequal_rows``). ``feast``: every flight out of New York in
2013 as an entity row on the two views of single legs (14 features, TTL) of the repository's own definitions, on Feast's own
store and on ours. ``bare``: ``--rows`` entity rows on 3 views of as many rows, against the same join in plain SQL, both
streamed to Parquet; ``late`` repeats it with one row in a hundred created after its event. ``growth``: the same 3 views at 1,
5 and 20 million rows, beside a thousand rows, which are the fixed cost. These three run under one limit, the store's default
of 2 GB. ``history``: views without a TTL over 10 and 100 rows per key, against Feast. ``validation``: the checks of a
delivery of 10 million rows and 20 columns. Entity rows come in no order of time or key.

In the summary, ``vs_feast_memory`` is our peak over Feast's, ``vs_bare_duckdb`` our time over plain SQL's and
``rss_over_limit_mb`` the most that any peak was over its limit. ``growth_20m_over_1m`` is the time *per row* at the largest
size over that at one million, the time of a thousand rows taken off both (1.0 is linear);
``growth_20m_over_1m_with_fixed_cost`` takes nothing off, and so flatters the larger size. ``rss_mb_1m`` and its like are the
peaks at each size.
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

ROOT = Path(__file__).parents[1]
LEG = ("carrier", "flight", "origin", "dest")
LEG_VIEWS = ("flight_schedule", "leg_history")
LIMIT_MB = 2000  # the store's own default
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


def make_views(folder: Path, views: int, rows: int, keys: int, *, late: bool = False) -> None:
    make(folder, "v0", rows, keys, late=late)
    for number in range(1, views):
        shutil.copyfile(folder / "v0.parquet", folder / f"v{number}.parquet")


def ask(folder: Path, rows: int, keys: int, hours: int) -> None:
    import duckdb

    moment = f"{START} + to_seconds((hash(i + 3) % {3600 * hours})::BIGINT)"
    duckdb.sql("SET TimeZone = 'UTC'")
    duckdb.sql(
        f"COPY (SELECT (hash(i) % {keys})::BIGINT AS k, {moment} AS event_timestamp FROM range({rows}) t(i)) "
        f"TO '{folder / 'entities.parquet'}' (FORMAT parquet)"
    )


def flights(folder: Path) -> None:
    """The repository's own flights, ingested, and every leg that flew as an entity row at the morning of its day."""
    import pyarrow.parquet as pq

    from batch_scoring.settings import Settings
    from pipelines.ingest import ingest
    from pipelines.queries import labelled_examples
    from pipelines.repository import load_repository

    (folder / "foretable.toml").touch()
    settings = Settings(workspace=folder, repo=ROOT / "feature_repo", data=folder / "data")
    product = load_repository(settings.repo).product("flights")
    ingest(product, settings)
    legs = labelled_examples(product, settings).select([*LEG, "event_timestamp"])
    pq.write_table(legs.take(shuffled(legs.num_rows)), folder / "entities.parquet")


def shuffled(rows: int):
    import numpy as np

    return np.random.default_rng(7).permutation(rows)


def leg_views(folder: Path) -> tuple[list[object], list[str]]:
    """The two views as the repository declares them with their entities, and their features by ``view:feature``."""
    from batch_scoring.settings import Settings
    from pipelines.features.workspace import read_definitions

    declared = read_definitions(Settings(workspace=folder, repo=ROOT / "feature_repo", data=folder / "data"))
    views = [view for view in declared.feature_views if view.name in LEG_VIEWS]
    refs = [f"{view.name}:{feature.name}" for view in views for feature in view.features]
    return [*(entity for entity in declared.entities if entity.name in LEG), *views], refs


def made_up_views(folder: Path, views: int, ttl: timedelta | None) -> tuple[list[object], list[str]]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64

    key = Entity(name="k", value_type=ValueType.INT64)
    made = [key, *(
        FeatureView(
            name=f"v{n}", entities=[key], ttl=ttl,
            schema=[Field(name="k", dtype=Int64), Field(name="a", dtype=Int64), Field(name="b", dtype=Float64)],
            source=FileSource(
                name=f"s{n}", path=str(folder / f"v{n}.parquet"),
                timestamp_field="event_timestamp", created_timestamp_column="created",
            ),
        )
        for n in range(views)
    )]  # fmt: skip
    return made, [f"v{n}:{c}" for n in range(views) for c in "ab"]


def store(folder: Path, offline: dict[str, object], declared: list[object]):
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{'feasts' if offline is FEASTS else 'ours'}.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store=dict(offline),
        entity_key_serialization_version=3,
    )
    made = FeatureStore(config=config)
    made.apply(declared)
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
        declared, refs = made_up_views(folder, views, ttl) if views else leg_views(folder)
        made = store(folder, OURS | {"memory_limit": f"{job['limit']}MB"} if job["kind"] == "ours" else FEASTS, declared)
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
            [sys.executable, __file__, "--job", json.dumps(job)], check=True, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    result = {name: min(each[name] for each in found) for name in ("seconds", "cpu_seconds")}
    result |= {"rss_mb": max(each["rss_mb"] for each in found), "limit_mb": limit}
    print(f"{folder.name} {kind}: {result}", file=sys.stderr, flush=True)
    return result


def unequal(folder: Path) -> int:
    """Rows that one result has and the other has not, counted with repeats; every column of both is compared."""
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    one, other = (f"read_parquet('{folder}/{kind}.parquet')" for kind in ("ours", "feasts"))
    types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE FROM {one}").fetchall()}
    # Feast's way through pandas makes whole numbers with nulls floats, and times of another unit.
    kinds = {"BIGINT": "DOUBLE", "INTEGER": "DOUBLE"}
    columns = ", ".join(f'"{name}"::{kinds.get(kind, kind)}' for name, kind in types.items())
    return sum(
        con.execute(f"SELECT count(*) FROM (SELECT {columns} FROM {left} EXCEPT ALL SELECT {columns} FROM {right})").fetchall()[
            0
        ][0]
        for left, right in ((one, other), (other, one))
    )


def part(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder


DAY = 86_400


def against_feast(root: Path) -> dict[str, object]:
    folder = part(root, "feast")
    flights(folder)
    ours = measure(folder, "ours", 0, 0, collect=True)
    feasts = measure(folder, "feasts", 0, 0)
    import pyarrow.parquet as pq

    found = {"rows": pq.read_metadata(folder / "ours.parquet").num_rows, "ours": ours, "feast": feasts}
    return found | {"unequal_rows": unequal(folder)}


def against_sql(root: Path, name: str, rows: int) -> dict[str, object]:
    folder = part(root, name)
    make_views(folder, 3, rows, rows // 50, late=name == "late")
    ask(folder, rows, rows // 50, 50)
    found = {kind: measure(folder, kind, 3, DAY) for kind in ("ours", "bare")[: 1 if name == "late" else 2]}
    shutil.rmtree(folder)
    return found


def growth(root: Path, largest: int, measured: dict[int, dict[str, float]]) -> dict[str, object]:
    """``measured``: results at sizes that need not be measured again, the views and the limit being the same."""
    found = {}
    for name, rows in {"1k": 1_000, "1m": 1_000_000, "5m": 5_000_000, f"{largest // 1_000_000}m": largest}.items():
        if rows in measured:
            found[name] = dict(measured[rows])
        else:
            folder = part(root, name)
            make_views(folder, 3, rows, rows // 50)
            ask(folder, rows, rows // 50, 50)
            found[name] = measure(folder, "ours", 3, DAY)
            shutil.rmtree(folder)
        found[name]["microseconds_per_row"] = round(found[name]["seconds"] / rows * 1e6, 3)
    return found


def history(root: Path) -> dict[str, object]:
    found = {}
    for steps in (10, 100):
        folder = part(root, f"history_{steps}")
        make_views(folder, 2, 2_000 * steps, 2_000)
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
        sizes, millions = result["growth"], largest // 1_000_000
        fixed, one, most = (sizes[name]["seconds"] for name in ("1k", "1m", f"{millions}m"))
        found["growth_20m_over_1m"] = round((most - fixed) / (one - fixed) / millions, 2)
        found["growth_20m_over_1m_with_fixed_cost"] = round(most / one / millions, 2)
        found |= {f"rss_mb_{name}": each["rss_mb"] for name, each in sizes.items()}
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
    result: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        parts = {
            "feast": lambda: against_feast(root),
            "bare": lambda: against_sql(root, "bare", args.rows),
            "late": lambda: against_sql(root, "late", args.rows),
            "growth": lambda: growth(root, args.largest, {args.rows: result["bare"]["ours"]} if "bare" in result else {}),
            "history": lambda: history(root),
            "validation": validation,
        }
        for name in args.only.split(","):
            result[name] = parts[name]()
    result["summary"] = summary(result, args.largest)
    print(json.dumps(result))
    compared = [result.get("feast", {}), *result.get("history", {}).values()]
    if wrong := sum(each.get("unequal_rows", 0) for each in compared):
        sys.exit(f"{wrong:,} rows differ from what Feast's own store gives.")


if __name__ == "__main__":
    main()
