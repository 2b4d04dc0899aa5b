"""One run of one table: what it is about and where its intermediate files lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from batch_scoring.declare import PredictionTable, Window
from batch_scoring.domain import Column, Training, WindowScore
from batch_scoring.errors import NoData
from batch_scoring.settings import Settings
from pipelines.repository import Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A table, a moment it shall speak for, and why.

    Attributes:
        as_of: aware moment; one of the table's scheduled ones.
        reason: goes into the manifest, e.g. ``"manual"``, ``"schedule"``, ``"replay"``.
    """

    product: Product
    settings: Settings
    as_of: datetime
    reason: str

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
    """The training set of a run: its content hash, its Parquet file, and its feature columns in order."""

    id: str
    path: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The outcome of the window search: every cell of the table, and the window it says to use."""

    windows: tuple[WindowScore, ...]
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The model to serve, as its record; the model itself lies beside it. ``features`` carry learned categories."""

    training: Training
    features: tuple[Column, ...]


def plan_run(product: Product, settings: Settings, day: date, reason: str) -> Run:
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
    return Run(product=product, settings=settings, as_of=schedule.as_of(day), reason=reason)
