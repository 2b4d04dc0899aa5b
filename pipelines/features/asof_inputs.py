"""What an as-of join reads: feature views in the names of their files, and entity rows in any form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureView, FileSource
from feast.data_format import ParquetFormat
from feast.feature_view import DUMMY_ENTITY_ID

from batch_scoring.errors import DeclarationError
from pipelines.features.asof_sql import MOMENT, ROW, ZONED, Entities, Span, View, instant, literal
from pipelines.sql import quoted

EVENT = "event_timestamp"
_TIMES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_NUMBER = "file_row_number"


def view_of(
    con: duckdb.DuckDBPyConnection, view: FeatureView, refs: list[str], full_names: bool, cutoff: bool, repo: Path | None
) -> View:
    """A feature view as its projection asks for it, in the names of its file.

    Raises:
        DeclarationError: not a Parquet file, or one that lacks a column.
    """
    source: Any = view.batch_source
    scan = scan_of(source, repo)
    types = types_of(con, scan)
    renamed = {new: old for old, new in (source.field_mapping or {}).items() if old in types}
    projection: Any = view.projection
    prefix = f"{projection.name_to_use()}:"
    features = [ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)]
    keys = view.projection.join_key_map or {}
    entity = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    created = source.created_timestamp_column or None
    check_columns(source, types, [renamed.get(name, name) for name in (*entity, *features, source.timestamp_field)])
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


def register(con: duckdb.DuckDBPyConnection, given: Any) -> Entities:
    """Make the view ``entities`` from pandas, Arrow or polars rows, SQL, or the path of a Parquet file.

    Rows are numbered where they come from: counting them in SQL would make the scan run on one thread.

    Raises:
        DeclarationError: no column that can be the moment.
    """
    number = f"row_number() OVER () AS {ROW}"
    match given:
        case Path():
            number = _register_file(con, str(given))
        case str() if given.endswith(".parquet"):
            number = _register_file(con, given)
        case str():
            con.execute(f"CREATE VIEW given AS {given}")
        case _:
            rows = pa.Table.from_pandas(given, preserve_index=False) if isinstance(given, pd.DataFrame) else given
            rows = rows.to_arrow() if hasattr(rows, "to_arrow") else rows  # polars, or anything that hands over Arrow
            if isinstance(rows, pa.Table):
                rows, number = rows.append_column(ROW, pa.array(np.arange(rows.num_rows))), ROW
            con.register("given", rows)
    types = {name: kind for name, kind, *_ in con.execute("DESCRIBE given").fetchall() if name != ROW}
    column = moment_column(types)
    moment, extra = quoted(column), ""
    if types[column] != ZONED:
        moment, extra = MOMENT, f", {instant(column, types[column])} AS {MOMENT}"
    con.execute(f"CREATE VIEW entities AS SELECT {', '.join(map(quoted, types))}, {number}{extra} FROM given")
    [(first, last)] = con.execute(f"SELECT min(epoch_us({moment})), max(epoch_us({moment})) FROM entities").fetchall()
    return Entities(
        columns=tuple(types),
        moment_column=column,
        moment=moment,
        span=Span(first=_moment(first, _FIRST), last=_moment(last, _LAST)),
    )


def _register_file(con: duckdb.DuckDBPyConnection, file: str) -> str:
    """``given`` from a Parquet file; the SQL of the rows' number."""
    con.execute(f"CREATE VIEW given AS FROM read_parquet({text(file)})")
    names = {name for name, *_ in con.execute("DESCRIBE given").fetchall()}
    if _NUMBER in names or set(file) & set("*?["):  # taken, or counted in each of several files
        return f"row_number() OVER () AS {ROW}"
    rows = f"read_parquet({text(file)}, file_row_number = true)"
    con.execute(f"CREATE OR REPLACE VIEW given AS SELECT * EXCLUDE ({_NUMBER}), {_NUMBER} AS {ROW} FROM {rows}")
    return ROW


def moment_column(types: dict[str, str]) -> str:
    """The column of entity rows that is their moment, by name and DuckDB type of each."""
    if EVENT in types:
        return EVENT
    times = [name for name, kind in types.items() if kind in _TIMES]
    if len(times) != 1:
        raise DeclarationError(
            "entity rows",
            expected=f"a column '{EVENT}' or a single timestamp column",
            found=f"columns {', '.join(types)}",
            fix=f"Name the moment of each row '{EVENT}'.",
        )
    return times[0]


def _moment(micros: int | None, otherwise: datetime) -> datetime:
    """Microseconds since 1970 as a datetime; beyond what one can say, the widest span is right, if slower."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros) if micros is not None else otherwise
    except OverflowError:
        return otherwise


def everyone(views: tuple[View, ...], start: datetime | None, end: datetime | None) -> str:
    """SQL of every key that any view knows between two moments, each at the last of them."""
    names = {tuple(sorted(mine for _, mine in view.keys)) for view in views}
    if len(names) != 1:
        raise DeclarationError(
            "retrieval without entity rows",
            expected="views with the same join keys",
            found=" and ".join(", ".join(keys) or "none" for keys in sorted(names)) or "no view",
            fix="Give entity rows.",
        )
    last = utc(end or _LAST)
    parts = []
    for view in views:
        at = instant(view.event, view.types[view.event])
        keys = ", ".join(f"{quoted(column)} AS {quoted(mine)}" for column, mine in sorted(view.keys, key=lambda key: key[1]))
        since = f" AND {at} >= {literal(utc(start))}" if start else ""
        parts.append(f"SELECT {keys} FROM {view.scan} WHERE {at} <= {literal(last)}{since}")
    return f"SELECT *, {literal(last)} AS {EVENT} FROM ({' UNION '.join(parts)}) ORDER BY ALL"


def check_names(columns: tuple[str, ...], views: tuple[View, ...]) -> None:
    """Refuse a join key that entity rows lack, and two columns of one name in the result."""
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


def check_columns(source: Any, types: dict[str, str], wanted: list[str]) -> None:
    """Refuse a source whose file lacks a column."""
    missing = next((name for name in wanted if name not in types), None)
    if missing:
        raise DeclarationError(
            f"source '{source.name}'",
            expected=f"a column '{missing}'",
            found=f"columns {', '.join(types)}",
            fix="Correct the feature view, or ingest again.",
        )


def types_of(con: duckdb.DuckDBPyConnection, scan: str) -> dict[str, str]:
    """DuckDB type of each column."""
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}


def scan_of(source: Any, repo: Path | None) -> str:
    """The table function that reads a source: a file, or a folder of files.

    Links are followed once, here: one query looks at types, at order and at rows, and all must be of one delivery.
    """
    path = path_of(source, repo).resolve()
    return f"read_parquet({text(str(path / '*.parquet') if path.is_dir() else str(path))})"


def path_of(source: Any, repo: Path | None) -> Path:
    """Where the Parquet of a source is; anything else is refused."""
    parquet = isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)
    if not parquet or "://" in source.path:
        raise DeclarationError(
            f"source '{getattr(source, 'name', source)}'",
            expected="a FileSource on local Parquet",
            found=type(source).__name__,
            fix="Ingest it first, and declare the dataset's file.",
        )
    return Path(FileSource.get_uri_for_file_path(repo, source.path))


def text(value: str) -> str:
    """A string as SQL."""
    return "'" + value.replace("'", "''") + "'"


def utc(moment: datetime) -> datetime:
    """In UTC; a naive time is meant so."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
