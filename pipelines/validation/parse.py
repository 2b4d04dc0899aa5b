"""Text to typed columns, strictly: what does not parse is reported with its rows, never guessed or dropped.

Rows count from 1 and leave out the header: row 1 is the first record of the file.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from batch_scoring.declare import Csv, Lines
from batch_scoring.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

_DATES = ("%Y-%m-%d", "%Y%m%d")
_MOMENTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")
_SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One failed check of one column. ``rows`` reads e.g. "3 rows: 12, 57, 903"; empty column or rows mean the whole file."""

    column: str
    check: str
    rows: str = ""


def rows_text(rows: Sequence[int]) -> str:
    """``[11, 56]`` (0-based) as "2 rows: 12, 57"."""
    shown = ", ".join(f"{row + 1:,}" for row in rows[:_SHOWN_ROWS])
    more = ", …" if len(rows) > _SHOWN_ROWS else ""
    return f"{len(rows):,} row{'s' if len(rows) != 1 else ''}: {shown}{more}"


def parse(text: bytes, form: Csv | Lines) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    """All columns as strings (nulls where the format says so), or the problems that keep the text from being a table."""
    match form:
        case Csv():
            return _parse_csv(text, form)
        case Lines():
            return _parse_lines(text, form)
        case _:
            assert_never(form)


def typed(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> tuple[pl.DataFrame, tuple[Problem, ...]]:
    """Columns cast to the types of the checks; a value that is there but does not parse is a problem."""
    problems, columns = [], []
    for name, kind in types.items():
        column = cast(frame[name], kind)
        lost = (column.is_null() & frame[name].is_not_null()).arg_true()
        if len(lost):
            problems.append(Problem(column=name, check=f"is {_type_name(kind)}", rows=rows_text(lost.to_list())))
        columns.append(column)
    return frame.with_columns(columns), tuple(problems)


def cast(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """A string column as ``kind``; null where it does not parse. Dates and moments are ISO 8601; numbers are finite."""
    import polars as pl

    if isinstance(kind, pl.String):
        return column
    if isinstance(kind, pl.Boolean):
        return column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if isinstance(kind, pl.Date):
        return _first(*(column.str.to_date(form, strict=False) for form in _DATES))
    if isinstance(kind, pl.Datetime):
        unit = kind.time_unit
        if kind.time_zone:  # an offset is required: a moment without one would be a guess
            moments = column.str.to_datetime("%+", time_unit=unit, time_zone="UTC", strict=False)
            return moments.dt.convert_time_zone(kind.time_zone)
        return _first(*(column.str.to_datetime(form, time_unit=unit, strict=False) for form in _MOMENTS))
    numbers = column.cast(kind, strict=False)
    return numbers.set(~numbers.is_finite(), None) if kind.is_float() else numbers


def _parse_csv(text: bytes, form: Csv) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    import polars as pl

    try:
        frame = pl.read_csv(text, infer_schema=False, separator=form.separator, null_values=list(form.nulls))
    except pl.exceptions.NoDataError:
        return None, (Problem(column="", check="has a header line", rows="the file is empty"),)
    except pl.exceptions.PolarsError as error:
        ragged = _ragged(text, form)
        return None, ragged or (Problem(column="", check="parses as CSV", rows=str(error).splitlines()[0]),)
    # Polars fills a record that ends early with nulls; such a record has no last field.
    if frame.width and frame[frame.columns[-1]].null_count() and (ragged := _ragged(text, form)):
        return None, ragged
    return frame, ()


def _ragged(text: bytes, form: Csv) -> tuple[Problem, ...]:
    """Records with another number of fields than the header has."""
    reader = csv.reader(io.StringIO(text.decode("utf-8"), newline=""), delimiter=form.separator, strict=True)
    wrong: list[int] = []
    try:
        width = len(next(reader))
        wrong.extend(row for row, record in enumerate(reader) if len(record) != width)
    except csv.Error as error:
        return (Problem(column="", check="parses as CSV", rows=f"line {reader.line_num}: {error}"),)
    return (Problem(column="", check=f"has {width} fields in every record", rows=rows_text(wrong)),) if wrong else ()


def _parse_lines(text: bytes, form: Lines) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    import polars as pl

    lines = text.decode("utf-8").splitlines()[form.skip :]
    column = pl.Series("line", lines, dtype=pl.String)
    try:
        matched = column.str.contains(form.pattern)
        frame = column.str.extract_groups(form.pattern).struct.unnest()
    except pl.exceptions.PolarsError as error:
        raise DeclarationError(
            "Lines.pattern",
            expected="a regular expression",
            found=str(error).splitlines()[0],
            fix="Correct it (Rust syntax: no look-around, no back-references).",
        ) from None
    wrong = (~matched).arg_true().to_list()
    return (None, (Problem(column="", check="matches Lines.pattern", rows=rows_text(wrong)),)) if wrong else (frame, ())


def _first(*columns: pl.Series) -> pl.Series:
    """Per row, the first value that is not null."""
    result = columns[0]
    for column in columns[1:]:
        result = result.zip_with(result.is_not_null(), column)
    return result


def _type_name(kind: pl.DataType) -> str:
    if kind.is_integer():
        return "a whole number"
    return "a finite number" if kind.is_float() else f"a {str(kind).split('(', maxsplit=1)[0].lower()}"
