"""DuckDB for ingestion and queries: one in-memory connection, UTC, bounded memory, and the table's own calendar.

Every query of a product sees, besides its raw files or datasets, the table ``calendar(day DATE, as_of TIMESTAMPTZ)``:
each local day on which the prediction table speaks, and the moment at which it does. It comes from the declared
schedule, so daylight saving is honoured once and no SQL file repeats the hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import Schedule
from batch_scoring.errors import DeclarationError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from batch_scoring.settings import Settings
    from pipelines.repository import Product

CALENDAR = "calendar"
_FIRST, _LAST = date(1970, 1, 1), date(2069, 12, 31)


@contextmanager
def connection(product: Product, settings: Settings, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database with the product's calendar. ``spill`` is where DuckDB may write what exceeds the memory limit."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": settings.memory_limit,
        "threads": settings.threads,
        "temp_directory": str(spill),
    }
    con = duckdb.connect(":memory:", config=config)
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.register("_calendar", _calendar(product.table.schedule))
        con.execute(f"CREATE TABLE {CALENDAR} AS SELECT * FROM _calendar")
        con.unregister("_calendar")
        yield con
    finally:
        con.close()


@contextmanager
def explained(product: Product, path: str) -> Iterator[None]:
    """Turn what DuckDB says about a product's SQL file into a sentence that names the file."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise DeclarationError(
            f"{product.folder.name}/{path}",
            expected="a query that fits into the memory limit",
            found=str(error).splitlines()[0],
            fix="Raise 'memory_limit' in foretable.toml, or aggregate earlier.",
        ) from None
    except duckdb.Error as error:
        raise DeclarationError(
            f"{product.folder.name}/{path}",
            expected="SQL that DuckDB can run",
            found=str(error).splitlines()[0],
            fix="Correct the query; raw files are raw.<name>, earlier datasets <name>, and calendar(day, as_of) is given.",
        ) from None


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=8)
def _calendar(schedule: Schedule) -> pa.Table:
    import pyarrow as pa

    days = schedule.days(_FIRST, _LAST)
    moments = [int(schedule.as_of(day).timestamp()) * 1_000_000 for day in days]
    return pa.table({"day": pa.array(days, pa.date32()), "as_of": pa.array(moments, pa.timestamp("us", tz="UTC"))})
