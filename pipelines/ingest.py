"""Raw files to a delivery: check everything, derive the datasets, write them, flip. Or refuse, and nothing changes.

every check of every file → raw.<name> in DuckDB → each dataset's SQL in order → its contract → Parquet → current
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.data_checks import DataReport, Finding
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
from pipelines.validation.source import Seen, look

if TYPE_CHECKING:
    import duckdb

    from pipelines.validation import CheckedFile
    from pipelines.validation.profile import FileProfile

__all__ = ["Delivery", "current_delivery", "ingest"]

Progress = Callable[[str], None]

EVENT, CREATED = "event_timestamp", "created_timestamp"
_MOMENT = "TIMESTAMP WITH TIME ZONE"
_BOUNDS = ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'")
_FORMAT = 1  # of the files themselves; counting it up makes every delivery new


def ingest(product: Product, settings: Settings, *, at: datetime | None = None, progress: Progress | None = None) -> Delivery:
    """Make the current delivery of a product from its raw files. Asking again for the same input changes nothing.

    Args:
        at: the moment the delivery is judged as of (dates after it are in the future); by default when the newest of its
            files was written, so the same delivery is judged the same at any time.
        progress: told in a few words what is happening.

    Returns:
        The delivery that is now current.

    Raises:
        DataRejected: a raw file or a derived dataset failed its checks; the last good delivery stays, this one is put in
            quarantine with its report.
        DeclarationError: SQL or checks that do not run.
        StoreUnavailable: the data folder cannot be written.
    """
    tell = progress or _quiet
    table = product.table
    seen = {raw.name: look(raw, settings) for raw in table.sources}
    identity = delivery_id(product, seen)
    with exclusive(table.name, settings):
        folder = deliveries(table.name, settings) / identity
        if (same := read_delivery(folder)) is not None:
            tell(f"nothing new: delivery {identity} holds these files already")
            make_current(same, settings)
            return same
        with _building(settings.data / table.name / "incoming.tmp") as incoming, _building(folder.with_suffix(".tmp")) as built:
            attempt = _Attempt(product=product, settings=settings, identity=identity, at=at or _delivered_at(seen), tell=tell)
            return attempt.make(seen, incoming, built)


def delivery_id(product: Product, seen: Mapping[str, Seen | Finding]) -> str:
    """Name of the delivery made from these files by these declarations: twelve hex digits. One may be missing."""
    table = product.table
    digest = hashlib.sha256(f"{_FORMAT}\n{table.schedule}\n".encode())
    for raw in table.sources:
        file = seen[raw.name]
        content = file.check if isinstance(file, Finding) else file.sha256
        digest.update(f"{raw.name} {raw.format} {raw.checks} {content}\n".encode())
    for dataset in table.datasets:
        digest.update(f"{dataset.name} {dataset.keys}\n{product.sql(dataset.sql)}\n".encode())
    if table.sources:
        digest.update((product.folder / CHECKS).read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One delivery on its way: checked, then derived and put in place, or refused, put aside and reported."""

    product: Product
    settings: Settings
    identity: str
    at: datetime
    tell: Progress

    def make(self, seen: Mapping[str, Seen | Finding], incoming: Path, built: Path) -> Delivery:
        from pipelines.validation.delivered import check_delivery
        from pipelines.validation.report import reports

        table = self.product.table
        # Refused and repeated deliveries lie between those that count; all there ever were need not be read.
        wanted = 20 + 5 * max((raw.compare.deliveries for raw in table.sources), default=0)
        past = tuple(islice(reports(table.name, self.settings), wanted))
        with connection(self.product, self.settings, incoming / "spill") as con:
            checked = check_delivery(self.product, con, seen, incoming, past, self.at, self.tell)
            if any(finding.rejects for finding in checked.findings):
                raise self._refuse(checked.findings, checked.profiles, incoming)
            facts: list[DatasetFact] = []
            try:
                for file in checked.files:
                    register_raw(con, file)
                for dataset in table.datasets:
                    self.tell(f"deriving {dataset.name}")
                    derive(con, self.product, dataset)
                    facts.append(_write(con, dataset, built))
            except DataRejected as error:
                findings = tuple(
                    Finding(
                        source=source, check="dataset_keys", severity="error", passed=False, column=column, must=must, found=rows
                    )
                    for source, column, must, rows in error.report
                )
                raise self._refuse((*checked.findings, *findings), checked.profiles, incoming) from None
        raw_facts = tuple(_raw_fact(file) for file in checked.files)
        delivery = Delivery(table=table.name, id=self.identity, raw=raw_facts, datasets=tuple(facts))
        sound = tuple(
            Finding(
                source=name,
                check="dataset_keys",
                severity="error",
                passed=True,
                must="has whole and unique keys",
                found="only such",
            )
            for name in (dataset.name for dataset in table.datasets)
        )
        self.tell(f"delivery {self.identity}")
        commit(delivery, built, self.settings)
        self._report((*checked.findings, *sound), checked.profiles, accepted=True)
        return delivery

    def _report(self, findings: tuple[Finding, ...], profiles: tuple[FileProfile, ...], *, accepted: bool) -> DataReport:
        from pipelines.validation.report import keep

        report = DataReport(delivery=self.identity, checked_at=self.at, accepted=accepted, findings=findings)
        keep(self.product.table.name, report, profiles, self.settings)
        return report

    def _refuse(self, findings: tuple[Finding, ...], profiles: tuple[FileProfile, ...], incoming: Path) -> DataRejected:
        from pipelines.validation.delivered import rejection
        from pipelines.validation.report import quarantine

        taken = incoming / "taken"
        taken.mkdir(exist_ok=True)
        report = self._report(findings, profiles, accepted=False)
        return rejection(self.product, report, quarantine(self.product.table.name, report, taken, self.settings))


def register_raw(con: duckdb.DuckDBPyConnection, checked: CheckedFile) -> None:
    """Make a checked file visible to SQL as ``raw.<name>``."""
    con.execute("CREATE SCHEMA IF NOT EXISTS raw")
    con.execute(f"CREATE VIEW raw.{quoted(checked.raw.name)} AS SELECT * FROM {checked.relation}")


def _delivered_at(seen: Mapping[str, Seen | Finding]) -> datetime:
    """When the newest file was written; the beginning of time for a delivery without any."""
    return max((file.modified for file in seen.values() if isinstance(file, Seen)), default=datetime(1970, 1, 1, tzinfo=UTC))


def derive(con: duckdb.DuckDBPyConnection, product: Product, dataset: Dataset) -> dict[str, str]:
    """Run a dataset's SQL into the table of its name and hold it to the contract of :class:`Dataset`.

    Returns:
        Its columns with their DuckDB types.

    Raises:
        DeclarationError: the SQL does not run, or lacks a column of the contract.
        DataRejected: a null key or timestamp, a moment outside the years 1 to 9999, or a row that is there twice.
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
    for column in (EVENT, CREATED):  # Python, and with it Feast, knows no others
        outside = con.execute(f"SELECT count(*) FROM {name} WHERE {column} NOT BETWEEN {_BOUNDS[0]} AND {_BOUNDS[1]}").fetchall()
        if count := outside[0][0]:
            report.append((dataset.name, column, "lies in the years 1 to 9999", _rows(count)))
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
        rows=checked.rows,
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
