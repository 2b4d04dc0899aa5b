"""The SQL of an as-of join: pure text from names and types, nothing is read here.

A source row is *seen* from the moment on at which it is both valid and known: ``seen = greatest(event, created)``. At a
moment t the right row is the newest event among the rows with ``seen <= t``. Joining on the event time and then looking
at the created time would be wrong, because a row that was created later hides an older one that was known. Instead a
row stays in the table only if it is the newest event of all rows seen until then; what is left has one row per key and
``seen``, its events grow with ``seen``, and one ``ASOF JOIN`` on ``seen`` is the answer. Rows in plain order (no row
late, no two at the same moment) need no such step.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.sql import quoted

ROW, MOMENT = "__asof_row", "__asof_moment"
_NEVER = "TIMESTAMPTZ '-infinity'"
_ZONED = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One feature view to join, in the names of its file.

    Attributes:
        scan: a table function call, e.g. ``read_parquet('…')``. types: DuckDB type of each column of the file.
        keys: (column of the file, column of the entity rows) for each join key; empty joins on time alone.
        features: (column of the file, name in the result).
        event, created: columns of the file; ``created`` only when the source has one.
        ttl: none or zero is for ever. cutoff: whether rows created after the entity's moment are unseen.
    """

    scan: str
    types: dict[str, str]
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    event: str
    created: str | None
    ttl: timedelta | None
    cutoff: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The first and the last moment of the entity rows; rows that no moment can reach are not read."""

    first: datetime
    last: datetime


def instant(column: str, kind: str) -> str:
    """A column as ``TIMESTAMPTZ`` in whole microseconds; a naive time is UTC, as in Feast (the connection's zone is UTC)."""
    return quoted(column) if kind == _ZONED else f"{quoted(column)}::TIMESTAMPTZ"


def disorder(view: View, span: Span) -> str:
    """One row (late, tied): is a row created after its event, do two rows share key and event time?"""
    keys = "".join(f", {quoted(column)}" for column, _ in view.keys)
    source = f"FROM {view.scan} {_where(view, span)}"
    late = f"EXISTS (SELECT 1 {source} AND {_created(view)} > {_event(view)})" if _cut(view) else "false"
    return f"SELECT {late}, EXISTS (SELECT 1 {source} GROUP BY {_event(view)}{keys} HAVING count(*) > 1)"


def timeline(view: View, span: Span, *, plain: bool) -> str:
    """Rows ``k0…, f0…, event, seen``: at most one per key and ``seen``. ``plain`` promises that :func:`disorder` found none."""
    keys = [f"{quoted(column)} AS k{number}" for number, (column, _) in enumerate(view.keys)]
    values = [f"{quoted(column)} AS f{number}" for number, (column, _) in enumerate(view.features)]
    event = _event(view)
    if plain:
        return (
            f"SELECT {', '.join([*keys, *values, f'{event} AS seen', f'{event} AS event'])} FROM {view.scan} {_where(view, span)}"
        )
    seen = f"greatest({event}, {_created(view)})" if _cut(view) else event
    created = f"coalesce({_created(view)}, {_NEVER})" if view.created else ""
    # Of rows that are equal in everything the later one in the file wins, so that asking twice gives the same answer.
    place = "filename, file_row_number" if set(view.scan) & set("*?[") else "file_row_number"
    rank = f"ROW({', '.join([event, *([created] if view.created else []), place])})"
    partition = f"PARTITION BY {', '.join(quoted(column) for column, _ in view.keys)} " if view.keys else ""
    newest = f"{rank} = max({rank}) OVER ({partition}ORDER BY {seen} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    columns = ", ".join([*keys, *values, f"{seen} AS seen", f"{event} AS event"])
    return f"SELECT {columns} FROM {view.scan} {_where(view, span)} QUALIFY {newest}"


def joined(entities: str, columns: tuple[str, ...], views: tuple[tuple[View, str], ...]) -> str:
    """Every entity row once, in its order, with the features of every view.

    Args:
        entities: a table or view with ``columns``, :data:`ROW` and :data:`MOMENT`.
        views: each view and its :func:`timeline`.
    """
    selected = [f"e.{quoted(column)}" for column in columns]
    joins = []
    for number, (view, rows) in enumerate(views):
        alias = f"v{number}"
        selected += [f"{_alive(view, alias, f'f{index}')} AS {quoted(name)}" for index, (_, name) in enumerate(view.features)]
        on = [f"e.{quoted(mine)} = {alias}.k{index}" for index, (_, mine) in enumerate(view.keys)]
        joins.append(f"ASOF LEFT JOIN ({rows}) {alias} ON {' AND '.join([*on, f'e.{MOMENT} >= {alias}.seen'])}")
    return f"SELECT {', '.join(selected)} FROM {entities} e {' '.join(joins)} ORDER BY e.{ROW}"


def _alive(view: View, alias: str, feature: str) -> str:
    if not view.ttl:
        return f"{alias}.{feature}"
    # HUGEINT: the distance of the earliest and the latest time that DuckDB knows does not fit into 64 bits.
    age = f"epoch_us(e.{MOMENT})::HUGEINT - epoch_us({alias}.event)"
    return f"CASE WHEN {age} <= {view.ttl // timedelta(microseconds=1)} THEN {alias}.{feature} END"


def _where(view: View, span: Span) -> str:
    event = _event(view)
    parts = [f"{event} <= {literal(span.last)}"]  # false for a row without event time, too
    if view.ttl:
        with suppress(OverflowError):  # reaches back further than a datetime can say: everything may still be valid
            parts.append(f"{event} >= {literal(span.first - view.ttl)}")
    if _cut(view):
        parts.append(f"{_created(view)} <= {literal(span.last)}")
    return "WHERE " + " AND ".join(parts)


def literal(moment: datetime) -> str:
    """A moment as SQL."""
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"


def _cut(view: View) -> bool:
    return view.cutoff and view.created is not None


def _event(view: View) -> str:
    return instant(view.event, view.types[view.event])


def _created(view: View) -> str:
    assert view.created is not None
    return instant(view.created, view.types[view.created])
