"""Rows of one source between two moments: all of them, or the newest of each key. What ``materialize`` reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from pipelines.features.asof_inputs import check_columns, scan_of, types_of, utc
from pipelines.features.asof_sql import instant, literal
from pipelines.sql import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Which rows and columns of a source, in the names of its file.

    Attributes:
        source: Feast's data source.
        features: empty means every column, as Feast's transformations ask for it.
        start, end: both included; None is open.
        latest: ``"known"`` takes the newest row of each key that is known at ``end``, if it became known between the two;
            ``"any"`` the newest with an event time between the two; None all rows.
        piece: (number, of how many) takes the keys of one hash piece only.
    """

    source: Any
    keys: tuple[str, ...]
    features: tuple[str, ...]
    event: str
    created: str | None
    start: datetime | None
    end: datetime | None
    latest: Literal["known", "any"] | None
    piece: tuple[int, int] | None = None


def pull_sql(pull: Pull, repo: Path | None, con: duckdb.DuckDBPyConnection) -> str:
    """The query. Looks at the file for its types, and for the earliest event that can matter.

    Raises:
        DeclarationError: a column or a file that is not there.
    """
    scan = scan_of(pull.source, repo)
    types = types_of(con, scan)
    moments = [column for column in (pull.event, pull.created) if column]
    wanted = dict.fromkeys([*pull.keys, *pull.features, *moments] if pull.features else types)
    check_columns(pull.source, types, [*wanted, *moments])
    # Feast's materialize cannot read nanoseconds, so times leave in microseconds, UTC.
    columns = [f"{instant(name, types[name])} AS {quoted(name)}" if name in moments else quoted(name) for name in wanted]
    event = instant(pull.event, types[pull.event])
    created = instant(pull.created, types[pull.created]) if pull.created else None
    parts, new = [f"{event} IS NOT NULL"], "true"
    if pull.piece and pull.keys:
        parts.append(f"hash({', '.join(map(quoted, pull.keys))}) % {pull.piece[1]} = {pull.piece[0]}")
    if pull.end:
        parts += [
            f"{at} <= {literal(utc(pull.end))}" for at in (event, *([created] if created and pull.latest == "known" else []))
        ]
    if pull.start and pull.latest == "known":
        seen = f"greatest({event}, {created})" if created else event
        new = f"{seen} >= {literal(utc(pull.start))}"
        # A row is only ever hidden by a newer event, so nothing before the earliest new one need be read.
        [(floor,)] = con.execute(f"SELECT min(epoch_us({event})) FROM {scan} WHERE {' AND '.join([*parts, new])}").fetchall()
        parts.append("false" if floor is None else f"epoch_us({event}) >= {floor}")
    elif pull.start:
        parts.append(f"{event} >= {literal(utc(pull.start))}")
    newest = ""
    if pull.latest:
        order = [f"{event} DESC", *([f"{created} DESC NULLS LAST"] if created else []), "filename DESC", "file_row_number DESC"]
        partition = f"PARTITION BY {', '.join(map(quoted, pull.keys))} " if pull.keys else ""
        newest = f" QUALIFY row_number() OVER ({partition}ORDER BY {', '.join(order)}) = 1 AND {new}"
    return f"SELECT {', '.join(columns)} FROM {scan} WHERE {' AND '.join(parts)}{newest}"
