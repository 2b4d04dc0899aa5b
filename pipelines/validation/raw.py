"""Read one raw file whole, or say everything that is wrong with it."""

from __future__ import annotations

import hashlib
import runpy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_scoring.declare import RawFile
from batch_scoring.errors import DataRejected, DeclarationError
from pipelines.repository import CHECKS, Product
from pipelines.validation.parse import Problem, parse, rows_text, typed
from pipelines.validation.source import text_bytes

if TYPE_CHECKING:
    import polars as pl


_IN_WORDS = {
    "not_nullable": "has no nulls",
    "field_uniqueness": "is unique",
    "multiple_fields_uniqueness": "is unique together with the other key columns",
    "greater_than_or_equal_to": "is at least",
    "greater_than": "is above",
    "less_than_or_equal_to": "is at most",
    "less_than": "is below",
    "equal_to": "is",
    "in_range": "is in the range",
    "isin": "is one of",
    "str_matches": "matches",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A raw file that passed: its rows with the types of its checks, and what it was."""

    raw: RawFile
    frame: pl.DataFrame
    bytes: int
    sha256: str


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


def read_raw(raw: RawFile, delivered: bytes, schema: Any) -> CheckedFile:
    """Parse a delivered file and check it against its pandera schema, collecting every failure.

    Args:
        delivered: the bytes of the file. schema: its ``DataFrameSchema``.

    Raises:
        DataRejected: with one report row (file, column, check, rows) per failed check.
    """
    frame, problems = parse(text_bytes(raw, delivered), raw.format)
    if frame is not None:
        frame, problems = _checked(frame, schema)
    if problems or frame is None:
        raise _rejected(raw, problems)
    return CheckedFile(raw=raw, frame=frame, bytes=len(delivered), sha256=hashlib.sha256(delivered).hexdigest())


def column_types(schema: Any) -> dict[str, pl.DataType]:
    """The polars type of each column of a pandera schema."""
    kinds = {name: column.dtype.type for name, column in schema.columns.items()}
    return {name: kind() if isinstance(kind, type) else kind for name, kind in kinds.items()}


def _checked(frame: pl.DataFrame, schema: Any) -> tuple[pl.DataFrame, tuple[Problem, ...]]:
    from pandera.errors import SchemaErrors

    if problems := _columns(frame, schema):
        return frame, problems
    if not frame.height:
        return frame, (Problem(column="", check="has rows", rows="none"),)
    types = {name: kind for name, kind in column_types(schema).items() if name in frame.columns}
    frame, problems = typed(frame, types)
    if problems:
        return frame, problems
    try:
        # Eager on purpose: pandera checks a LazyFrame for its schema only, and bad rows would pass.
        return schema.validate(frame.select(list(types)), lazy=True), ()
    except SchemaErrors as errors:
        return frame, _failures(errors.failure_cases)


def _columns(frame: pl.DataFrame, schema: Any) -> tuple[Problem, ...]:
    missing = [name for name, column in schema.columns.items() if column.required and name not in frame.columns]
    foreign = [name for name in frame.columns if name not in schema.columns] if schema.strict is True else []
    return (
        *(Problem(column=name, check="is in the header", rows="missing") for name in missing),
        *(Problem(column=name, check="is expected", rows="unknown column") for name in foreign),
    )


def _failures(cases: pl.DataFrame) -> tuple[Problem, ...]:
    """Pandera's failure cases, one row per failing value, as one problem per column and check."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for case in cases.select("column", "check", "index").iter_rows(named=True):
        rows = grouped.setdefault((case["column"] or "", _check_name(case["check"])), [])
        if case["index"] is not None:
            rows.append(case["index"])
    return tuple(
        Problem(column=column, check=check, rows=rows_text(sorted(rows)) if rows else "the whole column")
        for (column, check), rows in grouped.items()
    )


def _check_name(check: str) -> str:
    """Pandera's name of a check as the end of a sentence: ``less_than_or_equal_to(250)`` is "is at most 250"."""
    if check in _IN_WORDS:
        return _IN_WORDS[check]
    name, bracket, rest = check.partition("(")
    return f"{_IN_WORDS[name]} {rest.removesuffix(')')}" if bracket and name in _IN_WORDS else check


def _rejected(raw: RawFile, problems: tuple[Problem, ...]) -> DataRejected:
    first = problems[0]
    more = f" (and {len(problems) - 1} more failed checks)" if len(problems) > 1 else ""
    return DataRejected(
        f"raw file '{raw.name}' ({raw.location.path})",
        expected=f"a column '{first.column}' that {first.check}" if first.column else f"a file that {first.check}",
        found=f"{first.rows}{more}",
        fix="Have it delivered again; the last good delivery stays in use.",
        report=tuple((raw.location.path, problem.column, problem.check, problem.rows) for problem in problems),
    )
