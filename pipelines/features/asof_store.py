"""A Feast offline store on native DuckDB as-of joins: the ``offline_store.type`` of ``feature_store.yaml``.

Feast finds the class and, by its name, the configuration beside it. Sources are Parquet files (``FileSource``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast import FeatureView, FileSource
from feast.data_format import ParquetFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from batch_scoring.errors import DeclarationError
from pipelines.features.asof_sql import MOMENT, ROW, Span, View, disorder, instant, joined, literal, timeline
from pipelines.sql import quoted

_EVENT = "event_timestamp"
_TIMES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


class AsofDuckDBOfflineStoreConfig(FeastConfigBaseModel):
    """The ``offline_store`` section of ``feature_store.yaml``.

    Attributes:
        memory_limit: of DuckDB, per retrieval; what does not fit is spilled to ``temp_directory`` (default: the system's).
        threads: default two.
        created_timestamp_cutoff: rows created after an entity row's moment are not seen by it. ``false`` opts out, for
            sources whose created time says nothing; ``filter_by_created_timestamp=True`` in a call wins over it.
    """

    type: StrictStr = "pipelines.features.asof_store.AsofDuckDBOfflineStore"
    memory_limit: str = "2GB"
    threads: int = 2
    temp_directory: str | None = None
    created_timestamp_cutoff: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What to run, and the entity rows it runs on. ``plan`` writes the SQL once a connection with ``entities`` is there."""

    config: AsofDuckDBOfflineStoreConfig
    entities: Any
    plan: Callable[[duckdb.DuckDBPyConnection], str]

    @contextmanager
    def open(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        with tempfile.TemporaryDirectory(prefix="asof-", dir=self.config.temp_directory) as spill:
            limits: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": self.config.memory_limit,
                "threads": self.config.threads,
                "temp_directory": spill,
            }
            con = duckdb.connect(":memory:", config=limits)
            try:
                con.execute("SET TimeZone = 'UTC'")
                yield con, self.plan(con)
            finally:
                con.close()


class AsofRetrievalJob(RetrievalJob):
    """A query that has not run yet. Feast's own ``to_df`` and ``to_arrow`` run it and apply on-demand views."""

    def __init__(
        self,
        query: _Query,
        *,
        repo: Path | None,
        on_demand: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: Callable[[], RetrievalMetadata] | None = None,
    ) -> None:
        self._query = query
        self._repo = repo
        self._on_demand = on_demand or []
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for; reads the span of the entity rows."""
        return self._metadata() if self._metadata else None

    def to_sql(self) -> str:
        """The query as it would run now; ``entities`` stands for the entity rows."""
        with self._query.open() as (_, sql):
            return sql

    def batches(self, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """The result in its order, ``rows`` at a time, so that it never has to fit into memory.

        Raises:
            DeclarationError: the service has on-demand views, which Feast computes on whole results only.
        """
        if self._on_demand:
            raise DeclarationError(
                "retrieval in batches",
                expected="features that are stored",
                found=f"on-demand view '{self._on_demand[0].name}'",
                fix="Use to_arrow().",
            )
        with self._query.open() as (con, sql):
            yield from con.sql(sql).to_arrow_reader(rows)

    def to_parquet(self, path: Path) -> int:
        """Write the result in its order, whole or not at all; returns the number of rows."""
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if self._on_demand:
                import pyarrow.parquet as pq

                table = self.to_arrow()
                pq.write_table(table, unfinished, compression="zstd")
                rows: int = table.num_rows
            else:
                target = "'" + str(unfinished).replace("'", "''") + "'"
                with self._query.open() as (con, sql):
                    written = con.execute(f"COPY ({sql}) TO {target} (FORMAT parquet, COMPRESSION zstd)").fetchall()
                rows = int(written[0][0])
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return rows

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:  # noqa: ARG002  # Feast's
        """As promised by Feast; one Parquet file, in place atomically."""
        source = storage.to_data_source()
        path = _path(source, self._repo)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=source.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.to_parquet(path)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's
        with self._query.open() as (con, sql):
            return con.sql(sql).to_arrow_table()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()


class AsofDuckDBOfflineStore(OfflineStore):
    """Point in time correct by event time and by created time, row for row, in bounded memory."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # the signature is Feast's
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Features for entity rows, in their order, repeats included.

        Args:
            entity_df: pandas, Arrow or polars rows, SQL for DuckDB, or the path of a Parquet file; with the join keys and
                ``event_timestamp`` (or a single timestamp column of another name). None takes every key with a row
                between ``start_date`` and ``end_date``, each at ``end_date``.
            full_feature_names: features are called ``view__feature``.
            filter_by_created_timestamp: on by default here, see the configuration.

        Raises:
            DeclarationError: a column or a file that is not there, or two columns of one name.
        """
        settings: AsofDuckDBOfflineStoreConfig = config.offline_store
        cutoff = settings.created_timestamp_cutoff or filter_by_created_timestamp

        def views(con: duckdb.DuckDBPyConnection) -> tuple[View, ...]:
            return tuple(_view(con, view, feature_refs, full_feature_names, cutoff, config.repo_path) for view in feature_views)

        def plan(con: duckdb.DuckDBPyConnection) -> str:
            wanted = views(con)
            columns, span = _register(con, _everyone(wanted, start_date, end_date) if entity_df is None else entity_df)
            _check_names(columns, wanted)
            return joined("entities", columns, tuple((view, _timeline(con, view, span)) for view in wanted))

        query = _Query(config=settings, entities=entity_df, plan=plan)

        def metadata() -> RetrievalMetadata:
            rows = _Query(config=settings, entities=entity_df, plan=lambda _: "")
            with rows.open() as (con, _):
                entities = _everyone(views(con), start_date, end_date) if entity_df is None else entity_df
                columns, span = _register(con, entities)
                moment = _moment_column(con, "given")
            keys = [column for column in columns if column != moment]
            return RetrievalMetadata(feature_refs, keys, span.first, span.last)

        return AsofRetrievalJob(
            query,
            repo=config.repo_path,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names=full_feature_names,
            metadata=metadata,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key between two moments (both included); of equals the one created last."""
        order = [f"{quoted(timestamp_field)} DESC"]
        order += [f"{quoted(created_timestamp_column)} DESC NULLS LAST"] if created_timestamp_column else []
        order += ["filename DESC", "file_row_number DESC"]
        partition = f"PARTITION BY {', '.join(map(quoted, join_key_columns))} " if join_key_columns else ""
        newest = f"QUALIFY row_number() OVER ({partition}ORDER BY {', '.join(order)}) = 1"
        names = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pull(config, data_source, *names, start_date, end_date, newest)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows between two moments (both included; none is open)."""
        names = (join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pull(config, data_source, *names, start_date, end_date, "")

    @staticmethod
    def offline_write_batch(config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Any) -> None:  # noqa: ARG004
        """Refused: sources are the outcome of a checked delivery, and rewriting one in place is not atomic."""
        raise DeclarationError(
            f"feature view '{feature_view.name}'",
            expected="new rows in a delivery",
            found="a write into its source",
            fix="Deliver them as files and run 'foretable ingest'.",
        )


def _pull(  # noqa: PLR0917  # in the order of Feast's arguments
    config: RepoConfig,
    source: Any,
    keys: list[str],
    features: list[str],
    event: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
    suffix: str,
) -> RetrievalJob:
    """``features`` empty means every column, as Feast's transformations ask for it."""

    def plan(con: duckdb.DuckDBPyConnection) -> str:
        scan = _scan(source, config.repo_path)
        types = _types(con, scan)
        moments = [column for column in (event, created) if column]
        wanted = dict.fromkeys([*keys, *features, *moments] if features else types)
        _check_columns(source, types, [*wanted, *moments])
        # Feast's materialize cannot read nanoseconds, so times leave in microseconds, UTC.
        columns = [f"{instant(name, types[name])} AS {quoted(name)}" if name in moments else quoted(name) for name in wanted]
        at = instant(event, types[event])
        bounds = [f"{at} >= {literal(_utc(start))}"] if start else []
        bounds += [f"{at} <= {literal(_utc(end))}"] if end else []
        where = f"WHERE {' AND '.join(bounds)} " if bounds else ""
        return f"SELECT {', '.join(columns)} FROM {scan} {where}{suffix}"

    return AsofRetrievalJob(_Query(config=config.offline_store, entities=None, plan=plan), repo=config.repo_path)


def _timeline(con: duckdb.DuckDBPyConnection, view: View, span: Span) -> str:
    [(late, tied)] = con.execute(disorder(view, span)).fetchall()
    return timeline(view, span, plain=not late and not tied)


def _view(
    con: duckdb.DuckDBPyConnection, view: FeatureView, refs: list[str], full_names: bool, cutoff: bool, repo: Path | None
) -> View:
    source: Any = view.batch_source
    scan = _scan(source, repo)
    types = _types(con, scan)
    renamed = {new: old for old, new in (source.field_mapping or {}).items() if old in types}
    projection: Any = view.projection
    prefix = f"{projection.name_to_use()}:"
    features = [ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)]
    keys = view.projection.join_key_map or {}
    entity = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    created = source.created_timestamp_column or None
    _check_columns(source, types, [renamed.get(name, name) for name in (*entity, *features, source.timestamp_field)])
    name = view.projection.name_alias or view.name
    return View(
        scan=scan,
        types=types,
        keys=tuple((renamed.get(key, key), keys.get(key, key)) for key in entity),
        features=tuple((renamed.get(each, each), f"{name}__{each}" if full_names else each) for each in features),
        event=renamed.get(source.timestamp_field, source.timestamp_field),
        created=renamed.get(created, created) if created else None,
        ttl=view.ttl,
        cutoff=cutoff,
    )


def _register(con: duckdb.DuckDBPyConnection, given: Any) -> tuple[tuple[str, ...], Span]:
    """Make ``entities`` from what was given; its columns, and the span of its moments."""
    match given:
        case pd.DataFrame():
            con.register("given", pa.Table.from_pandas(given, preserve_index=False))
        case Path():
            con.execute(f"CREATE VIEW given AS FROM read_parquet({_text(str(given))})")
        case str() if given.endswith(".parquet"):
            con.execute(f"CREATE VIEW given AS FROM read_parquet({_text(given)})")
        case str():
            con.execute(f"CREATE VIEW given AS {given}")
        case _:  # Arrow itself, polars, or anything else that hands over Arrow
            con.register("given", given.to_arrow() if hasattr(given, "to_arrow") else given)
    types = {name: kind for name, kind, *_ in con.execute("DESCRIBE given").fetchall()}
    moment = _moment_column(con, "given")
    extra = f"row_number() OVER () AS {ROW}, {instant(moment, types[moment])} AS {MOMENT}"
    con.execute(f"CREATE VIEW entities AS SELECT *, {extra} FROM given")
    [(first, last)] = con.execute(f"SELECT min(epoch_us({MOMENT})), max(epoch_us({MOMENT})) FROM entities").fetchall()
    return tuple(types), Span(first=_moment(first, _FIRST), last=_moment(last, _LAST))


def _moment_column(con: duckdb.DuckDBPyConnection, table: str) -> str:
    types: dict[str, str] = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()}
    if _EVENT in types:
        return _EVENT
    times = [name for name, kind in types.items() if kind in _TIMES]
    if len(times) != 1:
        raise DeclarationError(
            "entity rows",
            expected=f"a column '{_EVENT}' or a single timestamp column",
            found=f"columns {', '.join(types)}",
            fix=f"Name the moment of each row '{_EVENT}'.",
        )
    return times[0]


def _moment(micros: int | None, otherwise: datetime) -> datetime:
    """Microseconds since 1970 as a datetime; beyond what one can say, the widest span is right, if slower."""
    from datetime import timedelta

    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros) if micros is not None else otherwise
    except OverflowError:
        return otherwise


def _everyone(views: tuple[View, ...], start: datetime | None, end: datetime | None) -> str:
    """SQL of every key that any view knows between two moments, each at the last of them."""
    names = {tuple(sorted(mine for _, mine in view.keys)) for view in views}
    if len(names) != 1:
        raise DeclarationError(
            "retrieval without entity rows",
            expected="views with the same join keys",
            found=" and ".join(", ".join(keys) or "none" for keys in sorted(names)) or "no view",
            fix="Give entity rows.",
        )
    last = _utc(end or _LAST)
    parts = []
    for view in views:
        at = instant(view.event, view.types[view.event])
        keys = ", ".join(f"{quoted(column)} AS {quoted(mine)}" for column, mine in sorted(view.keys, key=lambda key: key[1]))
        since = f" AND {at} >= {literal(_utc(start))}" if start else ""
        parts.append(f"SELECT {keys} FROM {view.scan} WHERE {at} <= {literal(last)}{since}")
    return f"SELECT *, {literal(last)} AS {_EVENT} FROM ({' UNION '.join(parts)}) ORDER BY ALL"


def _check_names(columns: tuple[str, ...], views: tuple[View, ...]) -> None:
    names = [*columns, *(name for view in views for _, name in view.features)]
    # DuckDB's names do not know upper from lower case.
    twice = next((name for name in names if [other.lower() for other in names].count(name.lower()) > 1), None)
    missing = next((mine for view in views for _, mine in view.keys if mine not in columns), None)
    if missing:
        raise DeclarationError(
            "entity rows", expected=f"a column '{missing}'", found=f"columns {', '.join(columns)}", fix="Add it."
        )
    if twice:
        raise DeclarationError(
            "features", expected="one column per name", found=f"'{twice}' twice", fix="Ask with full_feature_names=True."
        )


def _check_columns(source: Any, types: dict[str, str], wanted: list[str]) -> None:
    missing = next((name for name in wanted if name not in types), None)
    if missing:
        raise DeclarationError(
            f"source '{source.name}'",
            expected=f"a column '{missing}'",
            found=f"columns {', '.join(types)}",
            fix="Correct the feature view, or ingest again.",
        )


def _types(con: duckdb.DuckDBPyConnection, scan: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}


def _scan(source: Any, repo: Path | None) -> str:
    path = _path(source, repo)
    return f"read_parquet({_text(str(path / '*.parquet') if path.is_dir() else str(path))})"


def _path(source: Any, repo: Path | None) -> Path:
    parquet = isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)
    if not parquet or "://" in source.path:
        raise DeclarationError(
            f"source '{getattr(source, 'name', source)}'",
            expected="a FileSource on local Parquet",
            found=type(source).__name__,
            fix="Ingest it first, and declare the dataset's file.",
        )
    return Path(FileSource.get_uri_for_file_path(repo, source.path))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
