"""How long a delivery of 10 million rows and 20 columns takes to be checked, and in how much memory.

    python benchmarks/validation.py [--rows 10000000] [--columns 20]

A CSV of mixed types (keys, counts, amounts, categories with nulls, moments, dates, truth values) is generated first, and not
counted. Then a process of its own takes every step of a real ingest up to the SQL: copy and hash, UTF-8, CSV in blocks,
types, pandera, uniqueness of the key, profiles, and comparison with four earlier deliveries. Prints one JSON object:
``seconds`` from taking the file to the last finding, and ``peak_rss_mb`` of the process, imports and all.
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
from pathlib import Path

THREADS = 2
MEMORY_LIMIT = "1GB"
EARLIER = 4

# (name, SQL, pandera column); the columns of a wider file are these again under other names.
KINDS = (
    ("order_id", "i * {step}", "pa.Column(int, pa.Check.ge(0), unique=True)"),
    ("customer", "(hash(i) % 1000000)::BIGINT", "pa.Column(int, pa.Check.in_range(0, 999_999))"),
    ("age", "(18 + hash(i + 1) % 80)::INTEGER", "pa.Column(int, pa.Check.in_range(18, 120))"),
    ("items", "(1 + hash(i + 2) % 50)::INTEGER", "pa.Column(int, pa.Check.ge(1))"),
    ("minute", "(hash(i + 3) % 1440)::INTEGER", "pa.Column(int, pa.Check.in_range(0, 1439))"),
    ("amount", "((hash(i + 4) % 1000000) / 100)::DECIMAL(9, 2)", "pa.Column(float, pa.Check.ge(0))"),
    ("discount", "if(hash(i + 5) % 10 = 0, NULL, ((hash(i + 5) % 1000) / 1000)::DECIMAL(4, 3))",
     "pa.Column(float, nullable=True)"),
    ("weight", "((hash(i + 6) % 100000) / 1000)::DECIMAL(9, 3)", "pa.Column(float, pa.Check.le(100))"),
    ("height", "((hash(i + 7) % 100000) / 1000)::DECIMAL(9, 3)", "pa.Column(float)"),
    ("width", "((hash(i + 8) % 100000) / 1000)::DECIMAL(9, 3)", "pa.Column(float)"),
    ("score", "((hash(i + 9) % 100000) / 100000)::DECIMAL(6, 5)", "pa.Column(float, pa.Check.in_range(0, 1))"),
    ("stock", "(hash(i + 10) % 10000)::INTEGER", "pa.Column(int)"),
    ("channel", "(['web', 'store', 'phone', 'partner'])[(1 + hash(i + 11) % 4)::INTEGER]",
     "pa.Column(str, pa.Check.isin(['web', 'store', 'phone', 'partner']))"),
    ("region", "'R' || (hash(i + 12) % 150)", "pa.Column(str, pa.Check.str_matches(r'^R\\d+$'))"),
    ("campaign", "if(hash(i + 13) % 7 = 0, NULL, 'K' || (hash(i + 13) % 30))", "pa.Column(str, nullable=True)"),
    ("device", "'D' || (hash(i + 14) % 40000)", "pa.Column(str)"),
    ("ordered_at", "strftime(TIMESTAMP '2024-01-01' + to_seconds(i % 7776000), '%Y-%m-%dT%H:%M:%SZ')",
     "pa.Column(pl.Datetime('us', 'UTC'))"),
    ("shipped_at",
     "strftime(TIMESTAMP '2024-01-01' + to_seconds(i % 7776000 + (hash(i) % 90000)::BIGINT), '%Y-%m-%dT%H:%M:%SZ')",
     "pa.Column(pl.Datetime('us', 'UTC'))"),
    ("born", "DATE '1950-01-01' + (hash(i + 16) % 20000)::INTEGER", "pa.Column(pl.Date)"),
    ("member", "hash(i + 17) % 2 = 0", "pa.Column(bool)"),
)  # fmt: skip

TABLE = """
from datetime import timedelta
from batch_scoring import *

big = PredictionTable(
    name="big", description="A large delivery.", entity=Entity(name="one", keys=(Key(name="order_id", type="integer"),)),
    feature_service="big", population="none.sql", schedule=Schedule(every="day", at="04:00"),
    label=Label(sql="none.sql", horizon=timedelta(days=1), delay=timedelta(0)),
    sources=(RawFile(name="big", location=LandedFile(path="big.csv"), format=Csv(), checks="Big"),),
    datasets=(Dataset(name="big", sql="none.sql", keys=("order_id",)),),
)
"""


def columns_of(count: int) -> list[tuple[str, str, str]]:
    repeated = [(name, sql, check) for name, sql, check in KINDS[1:]]
    extra = [(f"{name}_{at}", sql, check) for at in range(1, 2 + count // len(KINDS)) for name, sql, check in repeated]
    return [*KINDS, *extra][:count]


def make(folder: Path, rows: int, columns: int) -> None:
    """A workspace with one product, its new delivery, and smaller earlier ones."""
    import duckdb

    product = folder / "feature_repo" / "big"
    product.mkdir(parents=True)
    (folder / "foretable.toml").write_text(f'threads = {THREADS}\nmemory_limit = "{MEMORY_LIMIT}"\n')
    (product / "table.py").write_text(TABLE)
    (product / "none.sql").write_text("SELECT 1")
    asked = columns_of(columns)
    schema = ", ".join(f"{name!r}: {check}" for name, _, check in asked)
    (product / "checks.py").write_text(
        f"import pandera.polars as pa\nimport polars as pl\n\nBig = pa.DataFrameSchema({{{schema}}}, strict=True)\n"
    )
    with duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY_LIMIT, "preserve_insertion_order": False}) as con:
        for at in range(EARLIER + 1):
            landing = folder / ("landing" if at == EARLIER else f"earlier_{at}")
            landing.mkdir()
            count = rows if at == EARLIER else min(rows, 10_000 + at)
            listed = ", ".join(f"{sql.format(step=rows // count)} AS {name}" for name, sql, _ in asked)
            con.execute(f"COPY (SELECT {listed} FROM range({count}) t(i)) TO '{landing / 'big.csv'}' (HEADER)")


def validate(folder: Path) -> dict[str, object]:
    """In this process: the profiles of the earlier deliveries, then, timed, the new one."""
    started = time.perf_counter()
    from dataclasses import replace

    from batch_scoring.data_checks import DataReport
    from batch_scoring.settings import load_settings
    from pipelines.repository import load_repository
    from pipelines.sql import connection
    from pipelines.validation.delivered import check_delivery
    from pipelines.validation.report import Judged
    from pipelines.validation.source import look

    settings = load_settings(folder)
    product = load_repository(settings.repo).product("big")
    raw = product.table.sources[0]
    past: list[Judged] = []

    def check(landing: Path, work: Path):
        seen = look(raw, settings.model_copy(update={"landing": landing}))
        with connection(product, settings, work / "spill") as con:
            return seen, check_delivery(product, con, {raw.name: seen}, work, tuple(past), seen.modified, lambda _: None)

    for at in range(EARLIER):
        seen, checked = check(folder / f"earlier_{at}", folder / f"work_{at}")
        report = DataReport(delivery=str(at), checked_at=seen.modified, accepted=True, findings=())
        scale = (folder / "landing" / "big.csv").stat().st_size / seen.bytes
        # As large as the new one, so that its volume is as usual.
        profiles = tuple(
            replace(
                profile,
                rows=round(profile.rows * scale),
                bytes=round(profile.bytes * scale),
                columns=tuple(
                    replace(
                        column,
                        nulls=round(column.nulls * scale),
                        categories=column.categories and {k: round(n * scale) for k, n in column.categories.items()},
                    )
                    for column in profile.columns
                ),
            )
            for profile in checked.profiles
        )
        past.insert(0, Judged(number=at, report=report, profiles=profiles))
    begun = time.perf_counter()
    seen, checked = check(folder / "landing", folder / "work")
    ended = time.perf_counter()
    return {
        "seconds": round(ended - begun, 2),
        "cpu_seconds": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 2),
        "startup_seconds": round(begun - started, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "file_mb": round(seen.bytes / 1e6),
        "rows": checked.profiles[0].rows,
        "columns": len(checked.profiles[0].columns),
        "checks": len(checked.findings),
        "errors": [finding.sentence for finding in checked.findings if finding.rejects],
        "warnings": [finding.sentence for finding in checked.findings if not finding.passed and not finding.rejects],
    }


def run(rows: int = 10_000_000, columns: int = 20) -> dict[str, object]:
    """Generate, then validate in a process of its own. ``seconds`` and ``peak_rss_mb`` are the figures of merit."""
    with tempfile.TemporaryDirectory(prefix="validation-") as folder:
        make(Path(folder), rows, columns)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FORETABLE_")}
        done = subprocess.run(
            [sys.executable, __file__, "--measure", folder],
            env=environment | {"POLARS_MAX_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    print(json.dumps(validate(given.measure) if given.measure else run(given.rows, given.columns), indent=2))
