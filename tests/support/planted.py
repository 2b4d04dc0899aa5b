"""Faults that have broken real pipelines, planted into real flights, and the gate that has to name each.

A fault lies where it would in life: in what the feature source delivers, in what labels say, or in what is not delivered
any more. The run then goes its usual way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from support.workspace import copy_examples, open_workspace

from batch_scoring import HoldOut
from batch_scoring.domain import Column
from batch_scoring.errors import GateFailed
from batch_scoring.gates import GateResult, with_defaults
from batch_scoring.settings import Settings
from batch_scoring.store import Store, versions
from pipelines.features import retrieved_examples
from pipelines.ingest import ingest
from pipelines.repository import Product
from pipelines.run import plan_run
from pipelines.steps import run_all

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.features import FeatureSource

CHAMPION_DAY = date(2013, 4, 16)
DAY = date(2013, 4, 17)
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Flights with the default gates and a small search."""

    product: Product
    settings: Settings
    source: FeatureSource

    @property
    def retrieved(self) -> pl.DataFrame:
        """Every example until the day of the faults, with its features."""
        path = retrieved_examples(self.product, self.settings, self.source)
        path.touch()  # only the newest files are kept, and this one is dear
        return _retrieved(path)

    def champion(self, store: Path) -> Path:
        """A store in which yesterday's honest version is live."""
        honest = copied(self.source, self.retrieved)
        run_all(plan_run(self.product, self._in(store), CHAMPION_DAY, "test"), honest, clock=lambda: datetime.now(UTC))
        return store

    def contend(self, champion: Path, store: Path, source: Any, day: date = DAY) -> dict[str, GateResult]:
        """One run against a copy of the champion's store; what every gate said."""
        shutil.copytree(champion, store, symlinks=True)
        settings = self._in(store)
        with suppress(GateFailed):
            run_all(plan_run(self.product, settings, day, "test"), source, clock=lambda: datetime.now(UTC))
        newest = versions(Store(root=store), self.product.table.name)[-1]
        return {gate.gate: gate for gate in newest.draft.gates}

    def _in(self, store: Path) -> Settings:
        return self.settings.model_copy(update={"store": store})


@lru_cache(maxsize=1)
def _retrieved(path: Path) -> pl.DataFrame:
    end = datetime.combine(DAY + timedelta(days=1), datetime.min.time(), UTC)
    return pl.scan_parquet(path).filter(pl.col("event_timestamp") < end).collect()


def open_bench(folder: Path) -> Bench:
    """The flights of the examples, in a workspace of their own."""
    if not (folder / "foretable.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        copy_examples(folder)
    workspace = open_workspace(folder, "flights")
    ingest(workspace.product, workspace.settings)
    workspace.source.apply()
    return bench_of(workspace.product, workspace.settings, workspace.source)


def bench_of(product: Product, settings: Settings, source: Any) -> Bench:
    """The same with a workspace that is there already."""
    declared = product.table
    table = replace(
        declared,
        windows=("all",),
        holdout=HoldOut(days=7, folds=2),
        model=replace(declared.model, rounds=25),
        gates=with_defaults(),
    )
    return Bench(product=replace(product, table=table), settings=settings, source=source)


@dataclass(frozen=True, slots=True)
class Tampered:
    """A feature source whose rows are changed on their way; everything else is the real one's.

    Attributes:
        retrieved: every example with its honest features, until the day of the test, retrieved before.
        history: changes the examples of a training set. today: changes the rows of the day, in scoring and in the check
            that compares scoring with training.
        added: a column that it delivers besides.
    """

    real: Any
    retrieved: pl.DataFrame
    name: str
    history: Change = lambda rows: rows
    today: Change = lambda rows: rows
    added: tuple[Column, ...] = ()

    def apply(self) -> None:
        self.real.apply()

    def columns(self) -> tuple[Column, ...]:
        return (*self.real.columns(), *self.added)

    def training(self, examples: pa.Table) -> pa.Table:
        if "label" in examples.column_names:
            return self.history(self.retrieved).to_arrow()
        return self.today(pl.DataFrame(self.real.training(examples))).to_arrow()

    def population(self, keys: pa.Table, as_of: datetime) -> pa.Table:
        return self.today(pl.DataFrame(self.real.population(keys, as_of))).to_arrow()

    def fingerprint(self) -> str:
        return f"{self.real.fingerprint()}/{self.name}"

    def definitions(self) -> tuple[Any, ...]:
        first, *others = self.real.definitions()
        return (replace(first, name=f"{first.name}_{self.name}"), *others)


@dataclass(frozen=True, slots=True)
class Fault:
    """A planted fault and the gate that has to name it.

    ``plant``: the feature source that delivers it. ``names``: what of the fault the gate's sentence has to say.
    """

    name: str
    gate: str
    plant: Callable[[Any, pl.DataFrame], Tampered]
    names: str

    def is_caught(self, failed: Mapping[str, GateResult]) -> bool:
        return self.gate in failed and self.names in failed[self.gate].message

    def failed_gates(self, bench: Bench, champion: Path, store: Path) -> dict[str, GateResult]:
        """The gates that stop a run with this fault, and what they say."""
        return stopped_by(bench, champion, store, self.plant)


def stopped_by(
    bench: Bench, champion: Path, store: Path, plant: Callable[[Any, pl.DataFrame], Tampered]
) -> dict[str, GateResult]:
    """The gates that stop a run on what is planted."""
    said = bench.contend(champion, store, plant(bench.source, bench.retrieved))
    return {name: gate for name, gate in said.items() if gate.stops}


def _leak(source: Any, rows: pl.DataFrame) -> Tampered:
    """What became of the flight, as if it were known in the morning; nothing is known yet of today's."""
    return Tampered(
        source,
        rows,
        "leak",
        history=lambda rows: rows.with_columns(arrived_late=pl.col("label").cast(pl.Float64)),
        today=lambda rows: rows.with_columns(arrived_late=pl.lit(None, pl.Float64)),
        added=(Column(name="arrived_late", type="DOUBLE", role="feature", description="a leak"),),
    )


def _shuffled(source: Any, rows: pl.DataFrame) -> Tampered:
    """Labels that belong to other rows, as after a join on the wrong key."""
    order = np.random.default_rng(1).permutation(len(rows))
    return Tampered(source, rows, "shuffled", history=lambda rows: rows.with_columns(rows["label"][order]))


def _null(source: Any, rows: pl.DataFrame) -> Tampered:
    """A column that is empty since this morning."""
    empty = pl.lit(None, pl.Int64).alias("departure_minute")
    return Tampered(source, rows, "null", today=lambda rows: rows.with_columns(empty))


def _units(source: Any, rows: pl.DataFrame) -> Tampered:
    """Metres where there were kilometres."""
    return Tampered(source, rows, "units", today=lambda rows: rows.with_columns(pl.col("distance") * 1000))


def copied(source: Any, rows: pl.DataFrame) -> Tampered:
    """The control, no fault: the champion's own recipe, on the next morning. No gate may stop it."""
    return Tampered(source, rows, "honest")


def _last_year(source: Any, rows: pl.DataFrame) -> Tampered:
    """An old file under a new name: the same weekdays, a year ago."""
    moments = pl.col("event_timestamp", "label_known_at") - timedelta(days=364)
    return Tampered(source, rows, "old", history=lambda rows: rows.with_columns(moments))


def _inverted(source: Any, rows: pl.DataFrame) -> Tampered:
    """For ten days Newark has been reporting the flights that were on time."""
    wrong = (pl.col("origin") == "EWR") & (
        pl.col("event_timestamp") >= datetime.combine(DAY - timedelta(days=10), datetime.min.time(), UTC)
    )
    label = pl.when(wrong).then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    return Tampered(source, rows, "turned", history=lambda rows: rows.with_columns(label))


FAULTS = (
    Fault("a leaked label column", "suspiciously_good", _leak, "too good to be true"),
    Fault("shuffled labels", "beats_baseline", _shuffled, "not more than the required"),
    Fault("a feature turned to null", "feature_coverage", _null, "'departure_minute' is null"),
    Fault("units times a thousand in one feature", "feature_range", _units, "'distance' lies far outside"),
    Fault("last year's data", "staleness", _last_year, "days older than it has to be"),
    Fault("one segment inverted", "segments_hold", _inverted, "origin = EWR"),
)
