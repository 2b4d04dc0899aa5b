"""Read one raw file in blocks into typed Parquet, or say everything that is wrong with it."""

from __future__ import annotations

import copy
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.data_checks import Finding, FixedCheck
from batch_scoring.declare import Csv, RawFile
from batch_scoring.errors import DeclarationError
from pipelines.repository import CHECKS, Product
from pipelines.validation.blocks import EndlessRecord, blocks, header, likely_separator
from pipelines.validation.parse import Problem, broken, parse, typed
from pipelines.validation.source import finding

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_IN_WORDS = {
    "not_nullable": "has no nulls",
    "greater_than_or_equal_to": "is at least",
    "greater_than": "is above",
    "less_than_or_equal_to": "is at most",
    "less_than": "is below",
    "equal_to": "is",
    "in_range": "is in the range",
    "isin": "is one of",
    "str_matches": "matches",
}
_TOGETHER = "is unique together with the other key columns"
# What a passed check says; one that failed says which column, what it must be, and where it is not.
_PASSED: dict[FixedCheck, tuple[str, str]] = {
    "format": ("parses as declared", "it does"),
    "columns": ("has the columns of its checks", "all of them"),
    "has_rows": ("has rows", "some"),
    "types": ("has only values of the declared types", "only such"),
    "timestamp_format": ("writes dates and moments as ISO 8601", "only such"),
    "declared": ("passes its pandera schema", "it does"),
    "duplicate_keys": ("has no key twice", "none"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A raw file as typed Parquet parts, in the order of its rows. ``sha256`` is of the bytes as delivered."""

    raw: RawFile
    parts: tuple[Path, ...]
    rows: int
    bytes: int
    sha256: str

    @property
    def relation(self) -> str:
        """The rows, as something to select from in DuckDB."""
        return parts_relation(self.parts)


def parts_relation(parts: tuple[Path, ...]) -> str:
    """Parquet parts as one relation of DuckDB's, rows in order."""
    paths = ", ".join("'" + str(part).replace("'", "''") + "'" for part in parts)
    return f"read_parquet([{paths}])"


def load_checks(product: Product) -> dict[str, Any]:
    """The pandera schemas of the product's ``checks.py``, by name.

    Raises:
        DeclarationError: the file cannot be run, or lacks a schema that a raw file names.
    """
    import pandera.polars as pandera

    file = product.folder / CHECKS
    try:
        names = runpy.run_path(str(file))
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything; it must become a sentence
        raise DeclarationError(
            f"{product.folder.name}/{CHECKS}",
            expected="pandera schemas",
            found=f"{type(error).__name__}: {error}",
            fix="Correct it.",
        ) from None
    schemas: dict[str, Any] = {}
    for name, value in names.items():
        if isinstance(value, type) and issubclass(value, pandera.DataFrameModel) and value is not pandera.DataFrameModel:
            schemas[name] = value.to_schema()
        elif isinstance(value, pandera.DataFrameSchema):
            schemas[name] = value
    for raw in product.table.sources:
        if raw.checks not in schemas:
            raise DeclarationError(
                f"{product.folder.name}/table.py: RawFile '{raw.name}'.checks",
                expected=f"a schema of checks.py: {', '.join(schemas) or 'there is none'}",
                found=repr(raw.checks),
                fix="Name one of them, or write it.",
            )
    return schemas


def column_types(schema: Any) -> dict[str, pl.DataType]:
    """The polars type of each column of a pandera schema."""
    kinds = {name: column.dtype.type for name, column in schema.columns.items()}
    return {name: kind() if isinstance(kind, type) else kind for name, kind in kinds.items()}


def read_parts(raw: RawFile, text: Path, schema: Any, folder: Path) -> tuple[tuple[Path, ...], int, tuple[Problem, ...]]:
    """Parse a text block by block, cast it, check it with pandera, and write it as typed Parquet into ``folder``.

    Pandera is eager on purpose: it checks a lazy frame for its schema only. It sees one block at a time, and a file below
    :data:`~pipelines.validation.blocks.BLOCK` bytes as a whole; uniqueness is asked of DuckDB afterwards, over all rows.

    Returns:
        The parts, the number of rows, and every problem. With a problem of format, columns or types there is no table.
    """
    by_block = _without_uniqueness(schema)
    problems: dict[tuple[str, str, str], Problem] = {}
    parts: list[Path] = []
    rows = 0
    if isinstance(raw.format, Csv) and (wrong := tuple(_header_problems(header(text, raw.format), raw.format, schema))):
        return (), 0, wrong
    try:
        for block, form in blocks(text, raw.format):
            frame, found = _checked(block, form, by_block)
            for problem in found:
                place = problem.check, problem.column, problem.must
                shifted = problem.later(rows)
                problems[place] = problems[place] + shifted if place in problems else shifted
            if frame is None:
                break
            rows += frame.height
            parts.append(folder / f"{len(parts):06}.parquet")
            frame.write_parquet(parts[-1], compression="lz4", statistics=False)
    except EndlessRecord as error:
        must = "closes every quote" if isinstance(raw.format, Csv) else "has lines"
        problems["", "", ""] = Problem(check="format", must=must, text=f"a record without an end from line {error.args[0]:,} on")
    if not rows and not problems:
        return (), 0, (Problem(check="has_rows", must="has rows", text="none"),)
    return tuple(parts), rows, tuple(problems.values())


def repeated(con: duckdb.DuckDBPyConnection, schema: Any, parts: tuple[Path, ...]) -> Iterator[Problem]:
    """Rows whose key is there more than once, for each key that the schema declares; nulls are equal."""
    for columns, must in _unique_keys(schema):
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        relation = parts_relation(parts)
        # A hash needs less memory than the key; two keys with one hash are told apart below.
        suspicious = f"SELECT hash({listed}) FROM {relation} GROUP BY 1 HAVING count(*) > 1"
        con.execute(f"CREATE OR REPLACE TEMP TABLE suspicious AS {suspicious}")
        if con.execute("SELECT count(*) FROM suspicious").fetchall() == [(0,)]:
            continue
        keyed = f"SELECT {listed}, row_number() OVER () - 1 AS _row FROM {relation}"
        counted = (
            f"SELECT _row, count(*) OVER (PARTITION BY {listed}) AS n FROM ({keyed}) WHERE hash({listed}) IN (FROM suspicious)"
        )
        answer = con.execute(f"SELECT count(*), list(_row ORDER BY _row)[:5] FROM ({counted}) WHERE n > 1").fetchall()
        count, first = answer[0]
        if count:
            column = columns[0] if len(columns) == 1 else ", ".join(columns)
            yield Problem(check="duplicate_keys", must=must, column=column, rows=count, first=tuple(first))


def as_findings(raw: RawFile, schema: Any, problems: tuple[Problem, ...]) -> Iterator[Finding]:
    """The problems as findings, and one finding for each check that passed, as far as checks were made."""
    failed = {problem.check for problem in problems}
    dated = any(kind.is_temporal() for kind in column_types(schema).values())
    for check, (must, found) in _PASSED.items():
        if check in failed:
            for problem in problems:
                if problem.check == check:
                    yield finding(raw, check, problem.must, problem.found, passed=False, column=problem.column)
            if check in ("format", "columns", "has_rows"):
                return
        elif check == "declared" and failed & {"types", "timestamp_format"}:
            return
        elif check != "timestamp_format" or dated:
            yield finding(raw, check, must, found, passed=True)


def _checked(block: bytes, form: Any, schema: Any) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    from pandera.errors import SchemaErrors

    frame, problems = parse(block, form)
    if frame is None:
        return None, problems
    if problems := tuple(_column_problems(frame.columns, schema)):
        return None, problems
    types = {name: kind for name, kind in column_types(schema).items() if name in frame.columns}
    frame, problems = typed(frame, types)
    if problems or not frame.height:
        return frame, problems
    try:
        return schema.validate(frame.select(list(types)), lazy=True), ()
    except SchemaErrors as errors:
        return frame, _failures(errors.failure_cases)


def _header_problems(names: tuple[str, ...], form: Csv, schema: Any) -> Iterator[Problem]:
    if not names:
        yield Problem(check="format", must="has a header line", text="the file is empty")
        return
    separator = likely_separator(names, form.separator) if len(schema.columns) > 1 else ""
    if separator:
        yield Problem(check="format", must=f"is separated by {form.separator!r}", text=f"a header separated by {separator!r}")
        return
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem(check="columns", must="is in the header once", column=name, text=f"{names.count(name)} times")
    yield from _column_problems(names, schema)


def _column_problems(names: tuple[str, ...] | list[str], schema: Any) -> Iterator[Problem]:
    for name, column in schema.columns.items():
        if column.required and name not in names:
            yield Problem(check="columns", must="is in the header", column=name, text="missing")
    if schema.strict is True:
        for name in dict.fromkeys(names):
            if name not in schema.columns:
                yield Problem(check="columns", must="is expected", column=name, text="unknown column")


def _failures(cases: pl.DataFrame) -> tuple[Problem, ...]:
    """Pandera's failure cases, one row per failing value, as one problem per column and check."""
    import polars as pl

    grouped = cases.group_by("column", "check", maintain_order=True).agg(pl.col("index").drop_nulls().sort())
    problems = []
    for column, check, rows in grouped.iter_rows():
        words = _check_name(check)
        whole = Problem(check="declared", must=words, column=column or "", text="the whole column")
        problems.append(broken(rows, "declared", words, column or "") if rows else whole)
    return tuple(problems)


def _check_name(check: str) -> str:
    """Pandera's name of a check as the end of a sentence: ``less_than_or_equal_to(250)`` is "is at most 250"."""
    if check in _IN_WORDS:
        return _IN_WORDS[check]
    name, bracket, rest = check.partition("(")
    return f"{_IN_WORDS[name]} {rest.removesuffix(')')}" if bracket and name in _IN_WORDS else check


def _without_uniqueness(schema: Any) -> Any:
    bare = copy.deepcopy(schema)
    bare.unique = None
    for column in bare.columns.values():
        column.unique = False
    return bare


def _unique_keys(schema: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, column in schema.columns.items():
        if column.unique:
            yield (name,), "is unique"
    if schema.unique:
        yield tuple(schema.unique), _TOGETHER


def unique_columns(schema: Any) -> frozenset[str]:
    """Every column of a key that the schema declares."""
    return frozenset(name for columns, _ in _unique_keys(schema) for name in columns)
