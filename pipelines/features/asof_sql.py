"""The SQL of an as-of join: pure text from names and types, nothing is read here.

A source row is *seen* from the moment on at which it is both valid and known: ``seen = greatest(event, created)``. At a
moment t the right row is the newest event among the rows with ``seen <= t``. Joining on the event time and then looking
at the created time would be wrong, because a row that was created later hides an older one that was known. Instead a
row stays in the table only if it is the newest event of all rows seen until then; what is left has one row per key and
``seen``, its events grow with ``seen``, and one ``ASOF JOIN`` on ``seen`` is the answer. Rows in plain order (no row
late, no two at the same moment) need no such step. Where all entity rows speak of one moment, a population, the newest
row of each key that is known then is joined by key alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.sql import quoted

ROW, MOMENT = "__asof_row", "__asof_moment"
_NEVER = "TIMESTAMPTZ '-infinity'"
ZONED = "TIMESTAMP WITH TIME ZONE"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities:
    """The table ``entities`` of a connection.

    Attributes:
        columns: what came in, in its order, and goes out again; besides them there is :data:`ROW`, the number of each row.
        moment_column: which of them is the moment of the row.
        moment: the column, as SQL, that holds it as ``TIMESTAMPTZ``.
    """

    columns: tuple[str, ...]
    moment_column: str
    moment: str
    span: Span


def instant(column: str, kind: str) -> str:
    """A column as ``TIMESTAMPTZ`` in whole microseconds; a naive time is UTC, as in Feast (the connection's zone is UTC)."""
    return quoted(column) if kind == ZONED else f"{quoted(column)}::TIMESTAMPTZ"


def disorder(view: View, span: Span) -> str:
    """One row (late, tied): is a row created after its event, do two rows share key and event time?"""
    keys = "".join(f", {quoted(column)}" for column, _ in view.keys)
    source = f"FROM {view.scan} {_where(view, span)}"
    late = f"EXISTS (SELECT 1 {source} AND {_created(view)} > {_event(view)})" if _cut(view) else "false"
    return f"SELECT {late}, EXISTS (SELECT 1 {source} GROUP BY {_event(view)}{keys} HAVING count(*) > 1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a view that an entity row may find, as SQL.

    Attributes:
        sql: columns ``k0…, f0…`` and ``seen``, besides ``event`` where it is not the same and a TTL needs it.
        event: the column that is the event time.
        single: at most one row per key, joined by key alone; else one per key and ``seen``.
    """

    sql: str
    event: str
    single: bool = False


def plain(view: View, span: Span) -> Rows:
    """The source as it is; right only if :func:`disorder` found neither late nor tied rows."""
    return Rows(sql=f"SELECT {_columns(view)}, {_event(view)} AS seen FROM {view.scan} {_where(view, span)}", event="seen")


def timeline(view: View, span: Span) -> Rows:
    """Each row from the moment it is seen on, without those that a newer event hides by then.

    By ``seen``, events must not fall: a row stays if its event is the newest so far and it is the last of its moment. Of
    equal events the one seen later was created later, so that no rank beyond this order is needed.
    """
    seen = f"greatest({_event(view)}, {_created(view)})" if _cut(view) else _event(view)
    keys = ", ".join(quoted(column) for column, _ in view.keys)
    order = f"{f'PARTITION BY {keys} ' if keys else ''}ORDER BY {', '.join([seen, *_rank(view)])}"
    last = f"lead({seen}) OVER newest IS DISTINCT FROM {seen}"
    hidden = _cut(view)  # without a cut-off, rows are seen in the order of their events
    highest = f" AND {_event(view)} = max({_event(view)}) OVER (newest ROWS UNBOUNDED PRECEDING)" if hidden else ""
    event = f", {_event(view)} AS event" if hidden and view.ttl else ""
    return Rows(
        sql=f"SELECT {_columns(view)}, {seen} AS seen{event} FROM {view.scan} {_where(view, span)} "
        f"WINDOW newest AS ({order}) QUALIFY {last}{highest}",
        event="event" if event else "seen",
    )


def latest(view: View, span: Span) -> Rows:
    """The newest row of each key at the one moment of ``span``."""
    keys = ", ".join(quoted(column) for column, _ in view.keys)
    order = ", ".join(f"{part} DESC" for part in (_event(view), *_rank(view)[1:]))
    return Rows(
        sql=f"SELECT {_columns(view)}, {_event(view)} AS seen FROM {view.scan} {_where(view, span)} "
        f"QUALIFY row_number() OVER ({f'PARTITION BY {keys} ' if keys else ''}ORDER BY {order}) = 1",
        event="seen",
        single=True,
    )


def joined(entities: Entities, views: tuple[tuple[View, Rows], ...]) -> str:
    """Every entity row once, in its order, with the features of every view."""
    selected = [f"e.{quoted(column)}" for column in entities.columns]
    joins = []
    for number, (view, rows) in enumerate(views):
        alias = f"v{number}"
        selected += [
            f"{_alive(view, rows, entities, alias, f'f{index}')} AS {quoted(name)}"
            for index, (_, name) in enumerate(view.features)
        ]
        on = [f"e.{quoted(mine)} = {alias}.k{index}" for index, (_, mine) in enumerate(view.keys)]
        kind = "LEFT JOIN" if rows.single else "ASOF LEFT JOIN"
        on.append(f"e.{entities.moment} >= {alias}.seen")  # where there is one moment only, this leaves out rows without
        joins.append(f"{kind} ({rows.sql}) {alias} ON {' AND '.join(on)}")
    return f"SELECT {', '.join(selected)} FROM entities e {' '.join(joins)} ORDER BY e.{ROW}"


def _columns(view: View) -> str:
    keys = [f"{quoted(column)} AS k{number}" for number, (column, _) in enumerate(view.keys)]
    return ", ".join(keys + [f"{quoted(column)} AS f{number}" for number, (column, _) in enumerate(view.features)])


def _rank(view: View) -> list[str]:
    """Of equal events the one created last, of those the later one in the file: asking twice gives the same answer."""
    created = [f"coalesce({_created(view)}, {_NEVER})"] if view.created else []
    return [_event(view), *created, *(["filename"] if set(view.scan) & set("*?[") else []), "file_row_number"]


def _alive(view: View, rows: Rows, entities: Entities, alias: str, feature: str) -> str:
    if not view.ttl:
        return f"{alias}.{feature}"
    # HUGEINT: the distance of the earliest and the latest time that DuckDB knows does not fit into 64 bits.
    age = f"epoch_us(e.{entities.moment})::HUGEINT - epoch_us({alias}.{rows.event})"
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
