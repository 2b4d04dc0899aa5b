"""Deliveries: immutable folders of Parquet derived from one set of raw files, and the link that names the current one.

    data/<table>/
      current -> deliveries/3f9a0c12be77      one atomic link; Feast and every query read through it
      deliveries/3f9a0c12be77/                delivery.json and one Parquet file per dataset

A delivery is named by a hash of everything it is made from, so the same input is the same delivery, anywhere.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.errors import NoData, StoreUnavailable
from batch_scoring.settings import Settings

RECORD = "delivery.json"
_KEPT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFact:
    """A raw file as it was read and found good. ``sha256`` is of the bytes as delivered, in hex."""

    name: str
    location: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFact:
    """A dataset as it was written. ``first`` and ``last`` are its earliest and latest event time; None when it is empty."""

    name: str
    rows: int
    bytes: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one ingest made: the raw files that passed their checks and the datasets derived from them."""

    table: TableName
    id: str
    raw: tuple[RawFact, ...]
    datasets: tuple[DatasetFact, ...]

    @property
    def covers(self) -> tuple[datetime, datetime] | None:
        """The event times between which every dataset has rows; None when there are none."""
        spans = [(dataset.first, dataset.last) for dataset in self.datasets if dataset.first and dataset.last]
        return (max(first for first, _ in spans), min(last for _, last in spans)) if spans else None


def deliveries(table: str, settings: Settings) -> Path:
    """Folder of all kept deliveries of a table."""
    return settings.data / table / "deliveries"


def current_delivery(table: str, settings: Settings) -> Delivery:
    """The delivery that is in use.

    Raises:
        NoData: nothing was ingested yet, or what was is incomplete.
    """
    found = read_delivery(settings.delivery(table))
    if found is None:
        raise NoData(
            f"data of '{table}'",
            expected=f"a delivery in {settings.data / table}",
            found="none",
            fix=f"Run 'foretable ingest {table}'.",
        )
    return found


def read_delivery(folder: Path) -> Delivery | None:
    """The delivery in a folder, or None when it is not there, not readable, or lacks a part."""
    try:
        delivery = from_json((folder / RECORD).read_bytes(), Delivery)
    except (OSError, ValueError):
        return None
    whole = all(_size(folder / f"{dataset.name}.parquet") == dataset.bytes for dataset in delivery.datasets)
    return delivery if whole else None


def require_current(table: str, delivery: str, settings: Settings) -> None:
    """Refuse to go on with what was read of a delivery after another one became current meanwhile.

    Raises:
        NoData: it did.
    """
    now = current_delivery(table, settings).id
    if now != delivery:
        raise NoData(
            f"data of '{table}'",
            expected=f"delivery {delivery} to stay current",
            found=f"{now}, ingested meanwhile",
            fix="Run it again.",
        )


@contextmanager
def exclusive(table: str, settings: Settings) -> Iterator[None]:
    """Hold a table's data folder: one ingest at a time, the others wait.

    Raises:
        StoreUnavailable: the folder cannot be made or written.
    """
    folder = settings.data / table
    with _writable(folder):
        deliveries(table, settings).mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def commit(delivery: Delivery, built: Path, settings: Settings) -> None:
    """Put a built folder in place and make it current: record, fsync, rename, flip, then drop the oldest.

    Args:
        built: a folder beside the deliveries that holds one Parquet file per dataset and nothing else.
    """
    (built / RECORD).write_bytes(to_pretty_json(delivery))
    for file in built.iterdir():
        _fsync(file)
    _fsync(built)
    final = built.with_name(delivery.id)
    shutil.rmtree(final, ignore_errors=True)  # only an incomplete one can be there: a whole one is not built again
    built.rename(final)
    _fsync(final.parent)
    make_current(delivery, settings)


def make_current(delivery: Delivery, settings: Settings) -> None:
    """Point ``current`` at a delivery that is in place; readers see the old one or the new one, never neither."""
    folder = deliveries(delivery.table, settings)
    os.utime(folder / delivery.id)  # the order in which deliveries were current, for pruning
    link = settings.delivery(delivery.table)
    fresh = link.with_name(".current")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(folder.name) / delivery.id)
    fresh.replace(link)
    _fsync(link.parent)
    for old in sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)[_KEPT:]:
        shutil.rmtree(old)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"data folder {folder}",
            expected="a folder that can be written",
            found=error.strerror or str(error),
            fix="Mend its permissions or make room, or point the setting 'data' elsewhere.",
        ) from None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
