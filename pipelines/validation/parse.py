"""Text to typed columns, strictly: what does not parse is reported with its rows, never guessed or dropped.

Rows count from 1 and leave out the header: row 1 is the first record of the file.
"""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from batch_scoring.data_checks import FixedCheck
from batch_scoring.declare import Csv, Lines
from batch_scoring.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

_DATES = ("%Y-%m-%d", "%Y%m%d")
_MOMENTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")
_SHOWN_ROWS = 5
_TRIED = 1000
_OTHER_DATES = {
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD-MM-YYYY": "%d-%m-%Y",
    "YYYY/MM/DD": "%Y/%m/%d",
    "MM/DD/YY or DD/MM/YY": "%D",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One failed check of one column (empty: of the whole file).

    Attributes:
        must: what should hold, as a predicate. rows: how many rows break it. first: the first of them, from 0.
        text: said instead of rows, or after them.
    """

    check: FixedCheck
    must: str
    column: str = ""
    rows: int = 0
    first: tuple[int, ...] = ()
    text: str = ""

    @property
    def found(self) -> str:
        """In words, e.g. "3 rows: 12, 57, 903"."""
        if not self.rows:
            return self.text
        return rows_text(self.rows, self.first) + (f" ({self.text})" if self.text else "")

    def later(self, rows: int) -> Problem:
        """The same, found so many rows further down."""
        return replace(self, first=tuple(row + rows for row in self.first))

    def __add__(self, other: Problem) -> Problem:
        """The same problem found in two parts of a file, the earlier part first."""
        return replace(self, rows=self.rows + other.rows, first=(self.first + other.first)[:_SHOWN_ROWS])


def broken(rows: Sequence[int], check: FixedCheck, must: str, column: str = "", text: str = "") -> Problem:
    """A problem of the given rows (from 0, ascending)."""
    return Problem(check=check, must=must, column=column, rows=len(rows), first=tuple(rows[:_SHOWN_ROWS]), text=text)


def rows_text(count: int, first: Sequence[int]) -> str:
    """2 and ``[11, 56]`` (from 0) as "2 rows: 12, 57"."""
    shown = ", ".join(f"{row + 1:,}" for row in first[:_SHOWN_ROWS])
    more = ", …" if count > _SHOWN_ROWS else ""
    return f"{count:,} row{'s' if count != 1 else ''}: {shown}{more}"


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
    import polars as pl

    # Series are cast one by one, each by one thread; the work is done outside Python, so threads share it.
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        columns = list(pool.map(lambda name: cast(frame[name], types[name]), types))
    problems = []
    for name, column in zip(types, columns, strict=True):
        kind = types[name]
        if column.null_count() == frame[name].null_count():
            continue
        lost = (column.is_null() & frame[name].is_not_null()).arg_true()
        check: FixedCheck = "timestamp_format" if kind.is_temporal() else "types"
        hint = _reads_as(frame[name].gather(lost.head(_TRIED))) if kind.is_temporal() else ""
        problems.append(broken(lost.to_list(), check, f"is {_type_name(kind)}", name, hint))
    return frame.with_columns(columns), tuple(problems)


def cast(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """A string column as ``kind``; null where it does not parse. Dates and moments are ISO 8601; numbers are finite."""
    import polars as pl

    if isinstance(kind, pl.String):
        return column
    if isinstance(kind, pl.Boolean):
        return column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if isinstance(kind, pl.Date):
        return _first(column, *(partial(column.str.to_date, form, strict=False) for form in _DATES))
    if isinstance(kind, pl.Datetime):
        unit = kind.time_unit
        if kind.time_zone:  # an offset is required: a moment without one would be a guess
            moments = column.str.to_datetime("%+", time_unit=unit, time_zone="UTC", strict=False)
            return moments.dt.convert_time_zone(kind.time_zone)
        return _first(column, *(partial(column.str.to_datetime, form, time_unit=unit, strict=False) for form in _MOMENTS))
    numbers = column.cast(kind, strict=False)
    return numbers.set(~numbers.is_finite(), None) if kind.is_float() else numbers


def _parse_csv(text: bytes, form: Csv) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    import polars as pl

    try:
        frame = pl.read_csv(text, infer_schema=False, separator=form.separator, null_values=list(form.nulls))
    except pl.exceptions.NoDataError:
        return None, (Problem(check="format", must="has a header line", text="the file is empty"),)
    except pl.exceptions.PolarsError as error:
        ragged = _ragged(text, form)
        return None, ragged or (Problem(check="format", must="parses as CSV", text=str(error).splitlines()[0]),)
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
        return (Problem(check="format", must="parses as CSV", text=f"line {reader.line_num}: {error}"),)
    return (broken(wrong, "format", f"has {width} fields in every record"),) if wrong else ()


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
    return (None, (broken(wrong, "format", "matches Lines.pattern"),)) if wrong else (frame, ())


def _reads_as(values: pl.Series) -> str:
    """What most of some strings seem to be dates in; empty when in none of the usual forms."""
    days = values.str.split(" ").list.first().str.split("T").list.first()
    hits = {name: int(days.str.to_date(form, strict=False).is_not_null().sum()) for name, form in _OTHER_DATES.items()}
    most = max(hits.values())
    names = [name for name, count in hits.items() if count == most]
    if most and most * 2 > len(values):
        return f"reads as {' or '.join(names)}"
    return "without an offset from UTC" if values.str.contains(r"^\d{4}-\d\d-\d\d[T ][\d:.]+$").any() else ""


def _first(column: pl.Series, *casts: Callable[[], pl.Series]) -> pl.Series:
    """Per row, the first of several casts of a column that gives a value; later ones are made only if they are needed."""
    result = casts[0]()
    for other in casts[1:]:
        if result.null_count() == column.null_count():
            break
        result = result.zip_with(result.is_not_null(), other())
    return result


def _type_name(kind: pl.DataType) -> str:
    if kind.is_integer():
        return "a whole number"
    return "a finite number" if kind.is_float() else f"a {str(kind).split('(', maxsplit=1)[0].lower()}"
