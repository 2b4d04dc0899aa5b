"""What a raw file holds, as numbers small enough to keep: one pass over all columns, one over a sample, none in Python.

Numbers are kept to nine digits: sums of floating-point numbers depend on how threads share the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from pipelines.validation.dates import Dates
from pipelines.validation.raw import CheckedFile

if TYPE_CHECKING:
    import duckdb

Kind = Literal["number", "moment", "category"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_CATEGORIES = 200
"""A column with more distinct values is text or a key, and its values are not counted."""
_SAMPLED_ROWS = 500_000
_ORDERED_ROWS = 1_000_000
_ENOUGH, _NEARLY_ALL = 100, 0.9
_EPOCH = date(1970, 1, 1)
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_REALS = ("FLOAT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column. Moments and dates count as seconds since 1970, UTC.

    Attributes:
        nulls: rows without a value. distinct: values of a category or a whole number, about (HyperLogLog); else 0.
        low, high, mean, deviation: of a number, or low and high of a moment; None where there is no value.
        quantiles: at :data:`QUANTILES`, of a number; exact up to half a million rows, then of every n-th row. Neither they
            nor mean and deviation are taken of whole numbers that nearly all differ: those count, and move on.
        categories: rows per value, of a category of few values. correlation: Pearson's, with the target.
        key: identifies somebody, so that ``categories`` are by hash, and a number is not described.
    """

    name: str
    kind: Kind
    nulls: int
    distinct: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    quantiles: tuple[float, ...] = ()
    categories: Mapping[str, int] | None = None
    correlation: float | None = None
    key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProfile:
    """One raw file of one delivery; what later ones are compared with."""

    source: str
    sha256: str
    bytes: int
    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        """The profile of a column, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A profile and what else was measured of dates, by column."""

    profile: FileProfile
    dates: Mapping[str, Dates] = field(default_factory=dict)


def measure(con: duckdb.DuckDBPyConnection, checked: CheckedFile, target: str, keys: frozenset[str] = frozenset()) -> Measured:
    """Everything the checks of content need to know of a file.

    Args:
        target: the column that the others' correlation is taken with; empty for none.
        keys: columns that identify somebody, in any case of letters. Their values are counted by hash and their numbers
            not summed up: findings quote a profile, and manifests and catalogs, which outlive an erasure, quote findings.
    """
    described = con.execute(f"DESCRIBE SELECT * FROM {checked.relation}").fetchall()
    kinds = {name: kind for name, type_name, *_ in described if (kind := _kind(type_name))}
    dated = tuple(name for name, kind in kinds.items() if kind == "moment")
    numbered = frozenset(name for name, type_name, *_ in described if type_name in _NUMBERS)
    columns = tuple(_columns(con, checked, kinds, numbered, target if kinds.get(target) == "number" else ""))
    known = {key.lower() for key in keys}
    columns = tuple(_nameless(column) if column.name.lower() in known else column for column in columns)
    profile = FileProfile(source=checked.raw.name, sha256=checked.sha256, bytes=checked.bytes, rows=checked.rows, columns=columns)
    return Measured(profile=profile, dates={name: _dates(con, checked, name) for name in dated})


def _nameless(column: ColumnProfile) -> ColumnProfile:
    """A column without its values; moments stay, for they identify nobody."""
    if column.kind == "moment":
        return column
    counts = None if column.categories is None else {_hash(value): rows for value, rows in column.categories.items()}
    return ColumnProfile(
        name=column.name, kind=column.kind, nulls=column.nulls, distinct=column.distinct, categories=counts, key=True
    )


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:24]


def _kind(type_name: str) -> Kind | None:
    if type_name.startswith(("TIMESTAMP", "DATE")):
        return "moment"
    if type_name in ("VARCHAR", "BOOLEAN") or type_name.startswith("ENUM"):
        return "category"
    return "number" if type_name in _NUMBERS or type_name.startswith(_REALS) else None


def _columns(
    con: duckdb.DuckDBPyConnection, checked: CheckedFile, kinds: Mapping[str, Kind], numbered: frozenset[str], target: str
) -> Iterator[ColumnProfile]:
    asked, sampled = [], []
    for name, kind in kinds.items():
        column = _quoted(name)
        counted = kind == "category" or name in numbered
        asked += [f"count({column})", f"approx_count_distinct({column})" if counted else "0"]
        match kind:
            case "number":
                asked += [f"min({column})::DOUBLE", f"max({column})::DOUBLE", f"avg({column})", f"stddev_samp({column})"]
                asked.append(f"corr({column}, {_quoted(target)})" if target and name != target else "NULL")
                sampled.append(f"quantile_cont({column}::DOUBLE, {list(QUANTILES)})")
            case "moment":
                asked += [f"epoch(min({column}))", f"epoch(max({column}))", "NULL", "NULL", "NULL"]
            case "category":
                asked += ["NULL"] * 5
    answer = iter(con.execute(f"SELECT {', '.join(asked)} FROM {checked.relation}").fetchall()[0])
    quantiles = iter(_sample(con, checked, sampled))
    for name, kind in kinds.items():
        count, distinct, low, high, mean, deviation, correlation = (next(answer) for _ in range(7))
        spread = next(quantiles) if kind == "number" else None
        if name in numbered and count >= _ENOUGH and distinct >= _NEARLY_ALL * count:
            spread = mean = deviation = None  # a number that counts rows moves on with every delivery
        yield ColumnProfile(
            name=name,
            kind=kind,
            nulls=checked.rows - count,
            distinct=distinct,
            low=_kept(low),
            high=_kept(high),
            mean=_kept(mean),
            deviation=_kept(deviation),
            correlation=_kept(correlation),
            quantiles=tuple(_kept(value) or 0.0 for value in spread or ()),
            categories=_categories(con, checked, name) if kind == "category" and distinct <= 2 * MOST_CATEGORIES else None,
        )


def _sample(con: duckdb.DuckDBPyConnection, checked: CheckedFile, asked: list[str]) -> tuple[list[float] | None, ...]:
    """Aggregates over every n-th row, n such that at most half a million are looked at; the same rows every time."""
    if not asked:
        return ()
    step = max(1, -(-checked.rows // _SAMPLED_ROWS))
    source = checked.relation
    if step > 1:
        source = f"{checked.relation.removesuffix(')')}, file_row_number = true) WHERE file_row_number % {step} = 0"
    return tuple(con.execute(f"SELECT {', '.join(asked)} FROM {source}").fetchall()[0])


def _categories(con: duckdb.DuckDBPyConnection, checked: CheckedFile, name: str) -> dict[str, int] | None:
    column = _quoted(name)
    counts = con.execute(
        f"SELECT {column}::VARCHAR, count(*) FROM {checked.relation} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1 "
        f"LIMIT {MOST_CATEGORIES + 1}"
    ).fetchall()
    return dict(counts) if len(counts) <= MOST_CATEGORIES else None


def _dates(con: duckdb.DuckDBPyConnection, checked: CheckedFile, name: str) -> Dates:
    """Rows per day (UTC), and how often days fall or rise from row to row, as they are and with day and month swapped.

    The latter of the first million rows: a file is written in order of time, or it is not.
    """
    column = _quoted(name)
    first, last = (date.min - _EPOCH).days, (date.max - _EPOCH).days  # a day beyond them counts as one of them
    days = con.execute(
        f"SELECT greatest({first}, least({last}, {column}::DATE - DATE '1970-01-01'))::INTEGER, count(*) FROM {checked.relation} "
        f"WHERE isfinite({column}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    swapped = "CASE WHEN day(d) <= 12 THEN make_date(year(d), day(d), month(d)) ELSE d END"
    steps = con.execute(
        "SELECT count(*) FILTER (d < before), count(*) FILTER (d > before), count(*) FILTER (s < s_before), "
        "count(*) FILTER (s > s_before) FROM (SELECT d, s, lag(d) OVER () AS before, lag(s) OVER () AS s_before FROM "
        f"(SELECT {column}::DATE AS d, {swapped} AS s FROM (SELECT {column} FROM {checked.relation} LIMIT {_ORDERED_ROWS}) "
        f"WHERE isfinite({column})))"
    ).fetchall()[0]
    return Dates(
        counts=tuple((_EPOCH + timedelta(days=day), rows) for day, rows in days),
        falls=steps[0],
        rises=steps[1],
        swapped_falls=steps[2],
        swapped_rises=steps[3],
    )


def _kept(value: float | None) -> float | None:
    return None if value is None or value != value else float(f"{value:.9g}")  # noqa: PLR0124 -- NaN


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
