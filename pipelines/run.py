"""One run of one table: what it is about and where its intermediate files lie."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from batch_scoring.declare import PredictionTable
from batch_scoring.domain import Column, Trigger
from batch_scoring.errors import NoData, StoreLocked, StoreUnavailable
from batch_scoring.gates import Waiver
from batch_scoring.settings import Settings
from pipelines.repository import Product
from pipelines.training.recipe import Search, Trained

__all__ = ["Examples", "Run", "Search", "Trained", "alone", "plan_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A table, a moment it shall speak for, and why.

    Attributes:
        as_of: aware moment; one of the table's scheduled ones.
        reason: why, in words; goes into the manifest. trigger: what set it off.
        waivers: gates that shall not stop it, each with somebody's reason.
    """

    product: Product
    settings: Settings
    as_of: datetime
    reason: str
    trigger: Trigger = "manual"
    waivers: tuple[Waiver, ...] = ()

    @property
    def table(self) -> PredictionTable:
        """The declaration."""
        return self.product.table

    @property
    def folder(self) -> Path:
        """Where steps leave files for the next step; removed once the version is stored."""
        return self.settings.data / self.table.name / "runs" / f"{self.as_of:%Y%m%dT%H%M}Z"

    def file(self, name: str) -> Path:
        """A file of this run, its folder made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The training set of a run.

    Attributes:
        id: its name, the hash of what went in. path: the run's own link to its Parquet file. columns: its features, in order.
        note: why it is not the one that the table asks for, if so. definitions: hash of the feature definitions.
    """

    id: str
    path: str
    delivery: str
    columns: tuple[Column, ...]
    note: str = ""
    definitions: str = ""


def plan_run(product: Product, settings: Settings, day: date, reason: str, trigger: Trigger = "manual") -> Run:
    """The run that is due on a local day of the table's schedule.

    Raises:
        NoData: the table does not speak on that day.
    """
    schedule = product.table.schedule
    if not schedule.speaks_on(day):
        raise NoData(
            f"table '{product.table.name}' on {day}",
            expected=f"a {schedule.weekday.capitalize()}",
            found=f"{day:%A}",
            fix="Give a day on which it is scheduled.",
        )
    return Run(product=product, settings=settings, as_of=schedule.as_of(day), reason=reason, trigger=trigger)


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold a run's folder: two processes that make the same run would overwrite each other's files.

    Raises:
        StoreLocked: another process is making it. The lock ends with its process.
        StoreUnavailable: the data folder cannot be written.
    """
    path = run.folder.with_suffix(".lock")
    lock = _lock(path, run)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: see _lock
        os.close(lock)


def _lock(path: Path, run: Run) -> int:
    """Lock the file at ``path``; if its last holder removed it between opening and locking, the new one instead."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"data folder {run.settings.data}",
                expected="permission to write",
                found=str(error),
                fix="Correct its owner or mode.",
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreLocked(
                f"run of '{run.table.name}' as of {run.as_of:%Y-%m-%d %H:%M} UTC",
                expected="to be the only one",
                found="another process making it",
                fix="Wait for it, or end it.",
            ) from None
        if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
        os.close(lock)
