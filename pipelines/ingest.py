"""Raw files to a delivery: check everything, derive the datasets, write them, flip. Or refuse, and nothing changes.

delivered bytes → pandera → raw.<name> in DuckDB → each dataset's SQL in order → its contract → Parquet → current
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import Dataset, LandedFile, PackageFile, RawFile
from batch_scoring.errors import DataRejected, DeclarationError
from batch_scoring.settings import Settings
from pipelines.delivery import (
    DatasetFact,
    Delivery,
    RawFact,
    commit,
    current_delivery,
    deliveries,
    exclusive,
    make_current,
    read_delivery,
)
from pipelines.repository import CHECKS, Product
from pipelines.sql import connection, explained, quoted
from pipelines.validation.source import read_bytes

if TYPE_CHECKING:
    import duckdb

    from pipelines.validation import CheckedFile

__all__ = ["Delivery", "current_delivery", "ingest"]

Progress = Callable[[str], None]

EVENT, CREATED = "event_timestamp", "created_timestamp"
_MOMENT = "TIMESTAMP WITH TIME ZONE"
_FORMAT = 1  # of the files themselves; counting it up makes every delivery new


def ingest(product: Product, settings: Settings, *, progress: Progress | None = None) -> Delivery:
    """Make the current delivery of a product from its raw files. Asking again for the same input changes nothing.

    Args:
        progress: told in a few words what is happening.

    Returns:
        The delivery that is now current.

    Raises:
        DataRejected: a raw file or a derived dataset failed its checks; the last good delivery stays.
        DeclarationError: SQL or checks that do not run.
        StoreUnavailable: the data folder cannot be written.
    """
    tell = progress or _quiet
    table = product.table
    delivered = {raw.name: read_bytes(raw, settings) for raw in table.sources}
    identity = delivery_id(product, delivered)
    with exclusive(table.name, settings):
        folder = deliveries(table.name, settings) / identity
        if (same := read_delivery(folder)) is not None:
            tell(f"nothing new: delivery {identity} holds these files already")
            make_current(same, settings)
            return same
        with _building(folder.with_suffix(".tmp")) as built:
            return _build(product, settings, identity, delivered, built, tell)


def delivery_id(product: Product, delivered: dict[str, bytes]) -> str:
    """Name of the delivery made from these bytes by these declarations: twelve hex digits."""
    table = product.table
    digest = hashlib.sha256(f"{_FORMAT}\n{table.schedule}\n".encode())
    for raw in table.sources:
        digest.update(f"{raw.name} {raw.format} {raw.checks} {hashlib.sha256(delivered[raw.name]).hexdigest()}\n".encode())
    for dataset in table.datasets:
        digest.update(f"{dataset.name} {dataset.keys}\n{product.sql(dataset.sql)}\n".encode())
    if table.sources:
        digest.update((product.folder / CHECKS).read_bytes())
    return digest.hexdigest()[:12]


def _build(
    product: Product, settings: Settings, identity: str, delivered: dict[str, bytes], built: Path, tell: Progress
) -> Delivery:
    from pipelines.validation import load_checks, read_raw

    schemas = load_checks(product)
    with connection(product, settings, built / "spill") as con:
        raw_facts = []
        for raw in product.table.sources:
            tell(f"checking {raw.name}")
            checked = read_raw(raw, delivered.pop(raw.name), schemas[raw.checks])
            register_raw(con, checked)
            raw_facts.append(_raw_fact(checked))
        facts = []
        for dataset in product.table.datasets:
            tell(f"deriving {dataset.name}")
            derive(con, product, dataset)
            facts.append(_write(con, dataset, built))
    shutil.rmtree(built / "spill", ignore_errors=True)
    delivery = Delivery(table=product.table.name, id=identity, raw=tuple(raw_facts), datasets=tuple(facts))
    tell(f"delivery {identity}")
    commit(delivery, built, settings)
    return delivery


def register_raw(con: duckdb.DuckDBPyConnection, checked: CheckedFile) -> None:
    """Make a checked file visible to SQL as ``raw.<name>``."""
    name = quoted(checked.raw.name)
    con.register("_raw", checked.frame.to_arrow())
    con.execute("CREATE SCHEMA IF NOT EXISTS raw")
    con.execute(f"CREATE TABLE raw.{name} AS SELECT * FROM _raw")
    con.unregister("_raw")


def derive(con: duckdb.DuckDBPyConnection, product: Product, dataset: Dataset) -> dict[str, str]:
    """Run a dataset's SQL into the table of its name and hold it to the contract of :class:`Dataset`.

    Returns:
        Its columns with their DuckDB types.

    Raises:
        DeclarationError: the SQL does not run, or lacks a column of the contract.
        DataRejected: a null key or timestamp, or a row that is there twice.
    """
    name = quoted(dataset.name)
    with explained(product, dataset.sql):
        con.execute(f"CREATE TABLE {name} AS {product.sql(dataset.sql)}")
    types = {column: kind for column, kind, *_ in con.execute(f"DESCRIBE {name}").fetchall()}
    needed = dict.fromkeys(dataset.keys, "") | {EVENT: _MOMENT, CREATED: _MOMENT}
    for column, kind in needed.items():
        if types.get(column) is None or (kind and types[column] != kind):
            raise DeclarationError(
                f"{product.folder.name}/{dataset.sql}",
                expected=f"a column {column}{' of type TIMESTAMPTZ' if kind else ''}",
                found=types.get(column) or f"only {', '.join(types)}",
                fix="Return it from the query.",
            )
    _require_sound(con, dataset, tuple(needed))
    return types


def _require_sound(con: duckdb.DuckDBPyConnection, dataset: Dataset, columns: tuple[str, ...]) -> None:
    name, listed = quoted(dataset.name), ", ".join(quoted(column) for column in columns)
    nulls = ", ".join(f"count(*) - count({quoted(column)})" for column in columns)
    counts = con.execute(f"SELECT {nulls} FROM {name}").fetchall()[0]
    twice = con.execute(
        f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) n FROM {name} GROUP BY {listed} HAVING n > 1)"
    ).fetchall()
    report = [
        (dataset.name, column, "has no nulls", _rows(count)) for column, count in zip(columns, counts, strict=True) if count
    ]
    if repeated := twice[0][0]:
        report.append((dataset.name, ", ".join(columns), "is unique together", _rows(int(repeated))))
    if report:
        _, column, check, rows = report[0]
        raise DataRejected(
            f"dataset '{dataset.name}'",
            expected=f"{column} that {check}",
            found=rows,
            fix=f"Correct {dataset.sql}, or what it reads; the last good delivery stays in use.",
            report=tuple(report),
        )


def _write(con: duckdb.DuckDBPyConnection, dataset: Dataset, folder: Path) -> DatasetFact:
    """Parquet in order of time and key. DuckDB writes TIMESTAMPTZ as microseconds UTC, which Feast and Spark need."""
    name, file = quoted(dataset.name), folder / f"{dataset.name}.parquet"
    order = ", ".join(quoted(column) for column in (EVENT, *dataset.keys, CREATED))
    con.execute(f"COPY (SELECT * FROM {name} ORDER BY {order}) TO '{_literal(file)}' (FORMAT parquet, COMPRESSION zstd)")
    rows, first, last = con.execute(f"SELECT count(*), min({EVENT}), max({EVENT}) FROM {name}").fetchall()[0]
    return DatasetFact(name=dataset.name, rows=rows, bytes=file.stat().st_size, first=_utc(first), last=_utc(last))


def _raw_fact(checked: CheckedFile) -> RawFact:
    return RawFact(
        name=checked.raw.name,
        location=_location(checked.raw),
        rows=checked.frame.height,
        bytes=checked.bytes,
        sha256=checked.sha256,
    )


def _location(raw: RawFile) -> str:
    match raw.location:
        case PackageFile(package=package, path=path):
            return f"{package}:{path}"
        case LandedFile(path=path):
            return path


@contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards unless it was renamed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")


def _quiet(_: str) -> None:
    pass
