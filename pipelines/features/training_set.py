"""What a model is trained on: a named, recorded, immutable set of examples whose labels were known at a cut-off.

    data/<table>/training/<name>.parquet     keys, event_timestamp, label, label_known_at, features
    data/<table>/training/<name>.json        its record: what went in, and what came out

The name is the SHA-256 of everything that goes in (:class:`Recipe`), so the same inputs have the same name on any machine,
and whatever changes a row changes the name. The record stays; the rows of the newest few sets are kept, and those of the
others can be made again as long as their delivery is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.codec import from_json, to_json, to_pretty_json
from batch_scoring.declare import Label, TableName, TrainOn
from batch_scoring.errors import NoData, NotFound, StoreCorrupt
from batch_scoring.settings import Settings
from pipelines.delivery import current_delivery, require_current
from pipelines.features.port import FeatureSource, ViewDefinition
from pipelines.features.retrieved import require_unchanged, retrieved_examples
from pipelines.features.sources import Source, hashed_sources
from pipelines.files import sha256_of, write_whole
from pipelines.repository import Product

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 7
"""The training sets of a table whose rows stay on disk: as many as the versions that are always kept."""

EVENT, LABEL, KNOWN = "event_timestamp", "label", "label_known_at"
_MOST_VALUES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is in a training set. Its hash is the set's name.

    Attributes:
        views: the feature definitions. sources: the files they were read from.
        keys: the join keys. entities: hash of keys and event times of all rows, in order. labels: of their labels and of
            when those were known.
        as_of: the label cut-off: rows whose label was not known by then are not in the set.
        label: hash of the label's query. horizon, delay: seconds.
        format: counts changes of how sets are made.
    """

    table: TableName
    train_on: TrainOn
    views: tuple[ViewDefinition, ...]
    sources: tuple[Source, ...]
    keys: tuple[str, ...]
    entities: str
    labels: str
    as_of: datetime
    label: str
    horizon: float
    delay: float
    format: int = 1

    @property
    def name(self) -> str:
        """SHA-256 of the recipe, in hex."""
        return hashlib.sha256(to_json(self)).hexdigest()

    @property
    def definitions(self) -> str:
        """SHA-256 of the feature definitions, in hex."""
        return hashlib.sha256(to_json(self.views)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFact:
    """One column of a training set. ``null_share`` is between 0 and 1."""

    name: str
    type: str
    null_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of a training set, for good.

    Attributes:
        delivery: that it was cut from. first, last: event times of its first and last row.
        label_mean: mean of a numeric label. label_shares: share of each value, if there are at most twenty.
        bytes, sha256: of the Parquet file. written_by: the library that wrote it; another one may write other bytes.
    """

    name: str
    recipe: Recipe
    delivery: str
    rows: int
    first: datetime
    last: datetime
    label_mean: float | None
    label_shares: Mapping[str, float]
    columns: tuple[ColumnFact, ...]
    bytes: int
    sha256: str
    written_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """A training set on disk: its record and its Parquet file, rows sorted by event time and key."""

    record: Record
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A training set that need not be on disk: its recipe, and how its rows are made.

    Attributes:
        delivery: that its examples were read from. note: why it is not the set that the table asks for, if so.
    """

    recipe: Recipe
    make: Callable[[], pa.Table]
    delivery: str
    note: str = ""


def plan_history(product: Product, settings: Settings, source: FeatureSource, as_of: datetime) -> Planned:
    """The current delivery's training set at a cut-off. Planning reads keys, moments and labels, no feature.

    Raises:
        NoData: nothing was ingested, no label was known at the cut-off, or what is read was replaced meanwhile.
    """
    import pyarrow.parquet as pq

    table = product.table
    delivery = current_delivery(table.name, settings).id
    views = source.definitions()
    sources = hashed_sources(views, settings.data)
    retrieved = retrieved_examples(product, settings, source)
    early = [(EVENT, "<=", as_of), (KNOWN, "<=", as_of)]  # fewer rows to read; which ones count is decided below
    columns = [*table.entity.key_names, EVENT, LABEL, KNOWN]
    examples = known_examples(pq.read_table(retrieved, columns=columns, filters=early), table.label, as_of)
    require_current(table.name, delivery, settings)
    require_unchanged(sources, hashed_sources(views, settings.data))
    recipe = describe_inputs(product, as_of, examples, train_on="history", views=views, sources=sources)

    def make() -> pa.Table:
        return known_examples(pq.read_table(retrieved, filters=early), table.label, as_of)

    return Planned(recipe=recipe, make=make, delivery=delivery)


def describe_inputs(
    product: Product,
    as_of: datetime,
    examples: pa.Table,
    *,
    train_on: TrainOn,
    views: tuple[ViewDefinition, ...],
    sources: tuple[Source, ...],
) -> Recipe:
    """The recipe for these examples; of their columns only keys, moments and labels are read.

    Raises:
        NoData: there is not one.
    """
    table = product.table
    if not examples.num_rows:
        raise NoData(
            f"training examples of '{table.name}' at {as_of:%Y-%m-%d %H:%M} UTC",
            expected="at least one known label",
            found="none",
            fix="Choose a later as-of, or ingest more history.",
        )
    return Recipe(
        table=table.name,
        train_on=train_on,
        views=views,
        sources=sources,
        keys=table.entity.key_names,
        entities=content_hash(examples.select([*table.entity.key_names, EVENT])),
        labels=content_hash(examples.select([LABEL, KNOWN])),
        as_of=as_of.astimezone(UTC),
        label=hashlib.sha256(product.sql(table.label.sql).encode()).hexdigest(),
        horizon=table.label.horizon.total_seconds(),
        delay=table.label.delay.total_seconds(),
    )


def known_examples(examples: pa.Table, label: Label, as_of: datetime) -> pa.Table:
    """The examples whose label was promised and seen to be known at a cut-off, in their order. Pure."""
    import pyarrow as pa
    import pyarrow.compute as pc

    moment = pa.scalar(as_of.astimezone(UTC), pa.timestamp("us", tz="UTC"))
    newest = pa.scalar(as_of.astimezone(UTC) - label.matures_after, pa.timestamp("us", tz="UTC"))
    promised = pc.less_equal(examples[EVENT], newest)
    return examples.filter(pc.and_(promised, pc.less_equal(examples[KNOWN], moment))).combine_chunks()


def content_hash(rows: pa.Table) -> str:
    """SHA-256 of a table's names, types and values in row order; nothing else, such as chunks, has a part in it.

    Args:
        rows: columns without nulls, of numbers, moments or strings.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    digest = hashlib.sha256(f"{rows.num_rows}".encode())
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        digest.update(f"\n{name} {column.type}\n".encode())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            digest.update(pc.binary_length(column).to_numpy().astype(np.int64).tobytes())
            for text in column.cast(pa.large_string()).chunks:
                digest.update("".join(text.to_pylist()).encode())
        else:
            values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            digest.update(values.to_numpy().tobytes())
    return digest.hexdigest()


def training_set(planned: Planned, settings: Settings) -> TrainingSet:
    """The planned set on disk: as it lies there if it is whole, else made and written.

    Raises:
        StoreCorrupt: the same recipe gave other bytes than it did before, by the same library.
    """
    recipe = planned.recipe
    path = _folder(settings, recipe.table) / f"{recipe.name}.parquet"
    before = _read_record(path.with_suffix(".json"))
    if before is None or not is_whole(before, path):
        record = _write(recipe, planned.make(), path, planned.delivery)
        if before is not None and before.written_by == record.written_by and before.sha256 != record.sha256:
            path.unlink()
            raise StoreCorrupt(
                f"training set {recipe.name[:12]} of '{recipe.table}'",
                expected=f"the bytes it had before ({before.sha256[:12]})",
                found=record.sha256[:12],
                fix=f"A file of delivery {record.delivery} was changed: remove its folder and ingest again.",
            )
        write_whole(path.with_suffix(".json"), lambda file: file.write_bytes(to_pretty_json(record)))
        before = record
        _drop_rows(path.parent, kept=path)
    return TrainingSet(record=before, path=path)


def is_whole(record: Record, path: Path) -> bool:
    """Whether the rows of a set are on disk, byte for byte."""
    return path.exists() and path.stat().st_size == record.bytes and sha256_of(path) == record.sha256


def list_records(settings: Settings, table: str) -> tuple[Record, ...]:
    """The records of a table's training sets, by as-of and then by name."""
    found = (_read_record(path) for path in _folder(settings, table).glob("*.json"))
    return tuple(sorted((record for record in found if record), key=lambda record: (record.recipe.as_of, record.name)))


def find_record(settings: Settings, prefix: str) -> TrainingSet:
    """The one training set, of any table, whose name begins so.

    Raises:
        NotFound: none does, or several do.
    """
    names = sorted(settings.data.glob("*/training/*.json"))
    found = [path for path in names if prefix and path.stem.startswith(prefix.lower())]
    record = _read_record(found[0]) if len(found) == 1 else None
    if record is None:
        raise NotFound(
            f"training set '{prefix}'",
            expected="the name of one, or how it begins",
            found=", ".join(path.stem[: max(12, len(prefix) + 4)] for path in found[:5]) or "none that begins so",
            fix="See them with 'foretable trainingset list TABLE'.",
        )
    return TrainingSet(record=record, path=found[0].with_suffix(".parquet"))


def _write(recipe: Recipe, examples: pa.Table, path: Path, delivery: str) -> Record:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    write_whole(path, lambda unfinished: pq.write_table(examples, unfinished, compression="zstd"))
    span = pc.min_max(examples[EVENT]).as_py()
    return Record(
        name=recipe.name,
        recipe=recipe,
        delivery=delivery,
        rows=examples.num_rows,
        first=span["min"],
        last=span["max"],
        label_mean=_mean(examples[LABEL]),
        label_shares=_shares(examples[LABEL]),
        columns=tuple(
            ColumnFact(name=name, type=str(column.type), null_share=column.null_count / len(column))
            for name, column in zip(examples.column_names, examples.columns, strict=True)
        ),
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        written_by=f"pyarrow {version('pyarrow')}",
    )


def _mean(labels: pa.ChunkedArray) -> float | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    return None if pa.types.is_string(labels.type) else float(pc.mean(labels).as_py())


def _shares(labels: pa.ChunkedArray) -> Mapping[str, float]:
    counts = {str(each["values"]): each["counts"] for each in labels.value_counts().to_pylist()}
    return {value: count / len(labels) for value, count in sorted(counts.items())} if len(counts) <= _MOST_VALUES else {}


def _drop_rows(folder: Path, kept: Path) -> None:
    """Remove the rows of all but the newest sets; their records stay."""
    others = [path for path in folder.glob("*.parquet") if path != kept]
    for old in sorted(others, key=lambda file: file.stat().st_mtime_ns, reverse=True)[KEPT - 1 :]:
        old.unlink(missing_ok=True)


def _folder(settings: Settings, table: str) -> Path:
    return settings.data / table / "training"


def _read_record(path: Path) -> Record | None:
    try:
        return from_json(path.read_bytes(), Record)
    except (OSError, ValueError):  # not there, or of an older format: it is made again
        return None
