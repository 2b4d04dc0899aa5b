"""Reading what a run staged, through DuckDB: checked, sorted by canonical key, streamed row by row.

Memory stays within DuckDB's limit whatever the number of rows: sorting spills, everything else streams.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.codec import to_json
from batch_scoring.declare import Classes, Entity, Key
from batch_scoring.domain import EXPLANATIONS, FEATURES, MODEL, PREDICTIONS, Draft, Staged, VersionId
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store.index import LONGEST_PLAIN_KEY, Packer, feature_columns, index_key
from batch_scoring.store.sql import ident, literal, path_text, text
from batch_scoring.store.tombstones import Tombstones
from batch_scoring.tasks import prediction_columns

if TYPE_CHECKING:
    import duckdb

ADDED = ("key", "as_of", "version")
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_PLAIN = {*_INTEGERS, "VARCHAR", "DOUBLE", "FLOAT", "BOOLEAN"}
_ROWS_AT_ONCE = 2_000

_COPY = """
COPY (
    SELECT {key} AS key, {columns}, {as_of} AS as_of, {version}::INTEGER AS version
    FROM read_parquet({source}){condition} ORDER BY key
)
TO {target} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""
_TOGETHER = """
read_parquet({predictions}) p POSITIONAL JOIN read_parquet({explanations}) e POSITIONAL JOIN read_parquet({features}) f
"""
_FIRST_MISFIT = """
SELECT pk, ek, fk FROM (SELECT p.key AS pk, e.key AS ek, f.key AS fk, lag(p.key) OVER () AS before FROM {together})
WHERE pk IS NULL OR pk IS DISTINCT FROM ek OR pk IS DISTINCT FROM fk OR pk = before LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a staged version looks like, once checked.

    Attributes:
        columns: for each Parquet file, its columns as SQL expressions, in stored order.
        key: SQL expression of the canonical key.
        values: for each feature, the SQL expression of its value in an explanation record.
        condition: what a staged row must fulfil to be stored: the WHERE clause that leaves erased entities out, or nothing.
    """

    draft: Draft
    folder: Path
    version: VersionId
    key: str
    columns: dict[str, tuple[str, ...]]
    values: tuple[str, ...]
    condition: str = ""


@contextmanager
def connect(spill: Path, *, memory_limit: str, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that spills into ``spill`` and keeps the order of rows."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "temp_directory": str(spill),
        "preserve_insertion_order": True,
    }
    with duckdb.connect(":memory:", config=config) as con:
        yield con


@contextmanager
def scanning() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB for queries that only stream and count, hence never spill; the process keeps one, which is dear to start."""
    with _scanner(os.getpid()).cursor() as con:
        yield con


@cache
def _scanner(pid: int) -> duckdb.DuckDBPyConnection:  # noqa: ARG001 -- a forked process must not use its parent's
    import duckdb

    return duckdb.connect(":memory:", config={"memory_limit": "1GB", "threads": 2, "temp_directory": ""})


def shape_of(con: duckdb.DuckDBPyConnection, staged: Staged, version: VersionId, erased: Tombstones | None = None) -> Shape:
    """Check the staged files against the draft.

    Raises:
        StoreCorrupt: a file is missing or unreadable, a column is missing, unknown or of the wrong type, or the
            number of rows is not the draft's.
    """
    draft = staged.draft
    features = tuple(column.name for column in feature_columns(draft.columns))
    types = {name: _types(con, staged, name) for name in (PREDICTIONS, EXPLANATIONS, FEATURES)}
    if not (staged.folder / MODEL).is_file():
        raise _misfit(draft, MODEL, "a file", "none")
    predicted = prediction_columns(draft.task)
    wanted = {
        PREDICTIONS: tuple(column.name for column in predicted),
        EXPLANATIONS: ("base_value", *features),
        FEATURES: features,
    }
    for name, columns in wanted.items():
        _require_columns(draft, name, types[name], columns)
    named = tuple(f"{key_value(key)} AS {ident(key.name)}" for key in draft.entity.keys)
    return Shape(
        draft=draft,
        folder=staged.folder,
        version=version,
        key=canonical_key(draft.entity),
        columns={
            PREDICTIONS: (*named, *(f"{ident(each.name)}::{each.type} AS {ident(each.name)}" for each in predicted)),
            EXPLANATIONS: (
                *named,
                "base_value::DOUBLE AS base_value",
                *(f"{ident(name)}::FLOAT AS {ident(name)}" for name in features),
            ),
            FEATURES: (*named, *(ident(name) for name in features)),
        },
        values=tuple(f"f.{ident(name)}" + ("" if types[FEATURES][name] in _PLAIN else "::VARCHAR") for name in features),
        condition="" if erased is None else f" WHERE NOT {erased.holds(canonical_key(draft.entity))}",
    )


def key_value(key: Key) -> str:
    """SQL expression of a join key's column in its declared type."""
    return f"{ident(key.name)}::{'BIGINT' if key.type == 'integer' else 'VARCHAR'}"


def canonical_key(entity: Entity) -> str:
    """SQL expression of the canonical key; the same text as :func:`batch_scoring.keys.encode_key`, NULL if a part is."""
    return " || '/' || ".join(
        f"{key_value(key)}::VARCHAR" if key.type == "integer" else f"url_encode({key_value(key)})" for key in entity.keys
    )


def _types(con: duckdb.DuckDBPyConnection, staged: Staged, name: str) -> dict[str, str]:
    """Column names and DuckDB types of a staged file, whose row count must be the draft's."""
    import duckdb

    path = path_text(staged.folder / name)
    try:
        described = con.execute(f"DESCRIBE SELECT * FROM read_parquet({path})").fetchall()  # noqa: S608 -- a quoted path
        (count,) = con.execute(f"SELECT count(*) FROM read_parquet({path})").fetchall()[0]  # noqa: S608
    except duckdb.Error as error:
        raise _misfit(staged.draft, name, "a readable Parquet file", str(error).splitlines()[0]) from None
    if count != staged.draft.rows:
        raise _misfit(staged.draft, name, f"{staged.draft.rows:,} rows", f"{count:,}")
    return {row[0]: row[1] for row in described}


def _require_columns(draft: Draft, name: str, types: dict[str, str], columns: tuple[str, ...]) -> None:
    expected = (*draft.entity.key_names, *columns)
    reserved = sorted(set(expected) & set(ADDED)) or sorted({column for column in expected if expected.count(column) > 1})
    if reserved:
        raise _misfit(draft, name, "column names other than key, as_of, version and the join keys", ", ".join(reserved))
    if set(types) != set(expected):
        missing, extra = sorted(set(expected) - set(types)), sorted(set(types) - set(expected))
        found = "; ".join(f"{label} {', '.join(names)}" for label, names in (("missing", missing), ("unknown", extra)) if names)
        raise _misfit(draft, name, f"the columns {', '.join(expected)}", found)
    for key in draft.entity.keys:
        fits = types[key.name] in _INTEGERS if key.type == "integer" else types[key.name] == "VARCHAR"
        if not fits:
            raise _misfit(
                draft, name, f"key {key.name} of type {'BIGINT' if key.type == 'integer' else 'VARCHAR'}", types[key.name]
            )


def copy_sorted(con: duckdb.DuckDBPyConnection, shape: Shape, name: str, target: Path) -> None:
    """Write one staged Parquet file in canonical key order, with the columns ``key``, ``as_of`` and ``version`` added."""
    con.execute(
        _COPY.format(
            key=shape.key,
            columns=", ".join(shape.columns[name]),
            as_of=literal(shape.draft.as_of),
            version=shape.version,
            source=path_text(shape.folder / name),
            condition=shape.condition,
            target=path_text(target),
        )
    )


def count_rows(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Rows of a Parquet file."""
    found: int = con.execute(f"SELECT count(*) FROM read_parquet({path_text(path)})").fetchall()[0][0]  # noqa: S608
    return found


def check_rows(con: duckdb.DuckDBPyConnection, shape: Shape, folder: Path) -> None:
    """Compare the keys of the three sorted files, row by row.

    Raises:
        StoreCorrupt: a key is null, comes twice, or is not in all three.
    """
    found = con.execute(_FIRST_MISFIT.format(together=_together(folder))).fetchall()
    if not found:
        return
    keys = found[0]
    if None in keys:
        raise _misfit(shape.draft, PREDICTIONS, "no null in a key", "one")
    if len(set(keys)) == 1:
        raise _misfit(shape.draft, PREDICTIONS, "one row per key", f"'{keys[0]}' more than once")
    named = ", ".join(f"'{key}' in {name}" for key, name in zip(keys, (PREDICTIONS, EXPLANATIONS, FEATURES), strict=True))
    raise _misfit(shape.draft, PREDICTIONS, "the same keys in all three files", named)


def prediction_rows(con: duckdb.DuckDBPyConnection, shape: Shape, folder: Path, *, long: bool) -> Iterator[tuple[bytes, bytes]]:
    """(index key, JSON) of every prediction in key order: those whose key is stored whole, or the ``long`` ones."""
    draft = shape.draft
    key = ", ".join(f"{text(name)}: {ident(name)}" for name in draft.entity.key_names)
    answer = ", ".join(
        (
            f"'table': {text(draft.table)}",
            f"'key': {{{key}}}",
            f"'version': {shape.version}",
            f"'as_of': {text(to_json(draft.as_of).decode().strip(chr(34)))}",
            *(
                f"'{column.name}': {_answered(column.name)}"
                for column in prediction_columns(draft.task)
                if column.name != "margin"
            ),
        )
    )
    query = f"SELECT key, encode(CAST(to_json({{{answer}}}) AS VARCHAR)) FROM read_parquet({path_text(folder / PREDICTIONS)})"  # noqa: S608
    for found, value in _stream(con, query + _only(long, "key")):
        yield index_key(found), value


def _answered(column: str) -> str:
    """SQL expression of a prediction's column in its answer; JSON has no number that is not finite."""
    match column:
        case "score" | "probabilities":
            return f"CASE WHEN isfinite(score) THEN {column} END"
        case "reasons":
            return "coalesce(reasons, [])"
        case _:
            return column


def explanation_rows(con: duckdb.DuckDBPyConnection, shape: Shape, folder: Path, *, long: bool) -> Iterator[tuple[bytes, bytes]]:
    """(index key, record) of every explanation, as :func:`prediction_rows`.

    Raises:
        StoreCorrupt: a base value or a contribution is null.
    """
    features = tuple(column.name for column in feature_columns(shape.draft.columns))
    packer = Packer(len(features))
    decision = "p.decision" if isinstance(shape.draft.task, Classes) else "NULL"
    columns = ", ".join(
        ("p.key", decision, "p.score", "p.margin", "e.base_value", *shape.values, *(f"e.{ident(name)}" for name in features))
    )
    query = f"SELECT {columns} FROM {_together(folder)}"  # noqa: S608
    first = 5 + len(features)
    for row in _stream(con, query + _only(long, "p.key")):
        key, explained, score, margin, base = row[:5]
        contributions = row[first:]
        if base is None or None in contributions:
            raise _misfit(shape.draft, EXPLANATIONS, "a number for every contribution", f"null for '{key}'")
        yield index_key(key), packer.pack(score, margin, base, row[5:first], contributions, explained)


def _together(folder: Path) -> str:
    return _TOGETHER.format(
        predictions=path_text(folder / PREDICTIONS),
        explanations=path_text(folder / EXPLANATIONS),
        features=path_text(folder / FEATURES),
    )


def _only(long: bool, key: str) -> str:
    return f" WHERE strlen({key}) {'>' if long else '<='} {LONGEST_PLAIN_KEY}"


def _stream(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple]:  # type: ignore[type-arg] # rows of any width
    con.execute(query)
    while batch := con.fetchmany(_ROWS_AT_ONCE):
        yield from batch


def _misfit(draft: Draft, name: str, expected: str, found: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"staged {name} of '{draft.table}'",
        expected=expected,
        found=found,
        fix="Nothing was stored; correct the run and start it again.",
    )
