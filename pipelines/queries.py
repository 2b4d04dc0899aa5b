"""Which entities, with which label: the two questions that a product's own SQL answers on the current delivery."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import Key
from batch_scoring.errors import DataRejected, DeclarationError, NoData
from batch_scoring.settings import Settings
from batch_scoring.tasks import label_sql
from pipelines.delivery import Delivery, current_delivery, deliveries
from pipelines.repository import Product
from pipelines.sql import connection, explained, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_TYPES = {"string": "VARCHAR", "integer": "BIGINT"}


def labelled_examples(product: Product, settings: Settings) -> pa.Table:
    """Every example that the current delivery knows, whenever its label became known.

    Returns:
        Key columns (string or int64), ``event_timestamp`` (timestamp[us, UTC], the as-of it belongs to), ``label``
        (int8: 0 or 1, or the place of the class; a number: float64), ``label_known_at`` (timestamp[us, UTC]); sorted by
        event time, then key.

    Raises:
        NoData: nothing was ingested, or there is not one example.
        DeclarationError: the SQL does not run, or lacks a column.
        DataRejected: a null, a label that does not fit the table's task, or one example twice.
    """
    with _delivered(product, settings) as (con, _):
        examples = ask_labels(con, product)
    if not examples.num_rows:
        raise NoData(
            f"examples of '{product.table.name}'",
            expected="at least one",
            found="none",
            fix=f"Look into {product.table.label.sql}.",
        )
    return examples


def population(product: Product, settings: Settings, as_of: datetime) -> pa.Table:
    """Every entity to score at a moment.

    Returns:
        Key columns (string or int64), unique, sorted by canonical key (:func:`batch_scoring.keys.encode_key`).

    Raises:
        NoData: nothing was ingested, or nobody is there at that moment.
        DeclarationError: the SQL does not run, or lacks a key column.
        DataRejected: a null key, or one entity twice.
    """
    with _delivered(product, settings) as (con, delivery):
        entities = ask_population(con, product, as_of)
    if not entities.num_rows:
        raise NoData(
            f"population of '{product.table.name}' as of {as_of:%Y-%m-%d %H:%M %Z}",
            expected="at least one entity",
            found="none",
            fix=f"Choose a day that the data covers: {_covered(product, delivery)}.",
        )
    return entities


def ask_labels(con: duckdb.DuckDBPyConnection, product: Product) -> pa.Table:
    """:func:`labelled_examples` of a database that holds the product's datasets, whatever it finds there."""
    path, entity = product.table.label.sql, product.table.entity
    number, misfit, fitting = label_sql(product.table.task, quoted("label"))
    wanted = {
        **{key.name: _cast(key.name, _TYPES[key.type]) for key in entity.keys},
        "event_timestamp": _cast("event_timestamp", "TIMESTAMPTZ"),
        "label": number,
        "label_known_at": _cast("label_known_at", "TIMESTAMPTZ"),
    }
    unique = ("event_timestamp", *entity.key_names)
    examples = _ask(con, product, path, wanted, ", ".join(quoted(name) for name in unique), {})
    _require_sound(con, product, path, (*unique, "label_known_at"), unique, misfit, fitting)
    return examples


def ask_population(con: duckdb.DuckDBPyConnection, product: Product, as_of: datetime) -> pa.Table:
    """:func:`population` of a database that holds the product's datasets, be it empty."""
    path, entity = product.table.population, product.table.entity
    wanted = {key.name: _cast(key.name, _TYPES[key.type]) for key in entity.keys}
    entities = _ask(con, product, path, wanted, _canonical(entity.keys), {"as_of": as_of})
    _require_sound(con, product, path, entity.key_names, entity.key_names, "false", "")
    return entities


@contextmanager
def _delivered(product: Product, settings: Settings) -> Iterator[tuple[duckdb.DuckDBPyConnection, Delivery]]:
    """A database in which every dataset of the current delivery is a view."""
    delivery = current_delivery(product.table.name, settings)
    folder = deliveries(product.table.name, settings) / delivery.id
    with tempfile.TemporaryDirectory() as spill, connection(product, settings, Path(spill)) as con:
        for dataset in delivery.datasets:
            file = str(folder / f"{dataset.name}.parquet").replace("'", "''")
            con.execute(f"CREATE VIEW {quoted(dataset.name)} AS SELECT * FROM read_parquet('{file}')")
        yield con, delivery


def _ask(
    con: duckdb.DuckDBPyConnection,
    product: Product,
    path: str,
    wanted: Mapping[str, str],
    order: str,
    parameters: Mapping[str, datetime],
) -> pa.Table:
    """Answer of a SQL file as the wanted columns (SQL expression by name), sorted; also left behind as the table ``_answer``."""
    with explained(product, path):
        con.execute(f"CREATE OR REPLACE TABLE _answer AS {product.sql(path)}", dict(parameters))
    found = {column for column, *_ in con.execute("DESCRIBE _answer").fetchall()}
    if missing := [name for name in wanted if name not in found]:
        raise DeclarationError(
            f"{product.folder.name}/{path}",
            expected=f"the columns {', '.join(wanted)}",
            found=f"no {', no '.join(missing)}",
            fix="Return them from the query.",
        )
    columns = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in wanted.items())
    with explained(product, path):
        return con.sql(f"SELECT {columns} FROM _answer ORDER BY {order}").to_arrow_table()


def _require_sound(
    con: duckdb.DuckDBPyConnection,
    product: Product,
    path: str,
    filled: tuple[str, ...],
    unique: tuple[str, ...],
    wrong: str,
    right: str,
) -> None:
    listed = ", ".join(quoted(name) for name in unique)
    nulls = " OR ".join(f"{quoted(name)} IS NULL" for name in filled)
    counts = con.execute(
        f"SELECT count(*) FILTER ({nulls}), count(*) FILTER ({wrong}), count(*) - count(DISTINCT ({listed})) FROM _answer"
    ).fetchall()[0]
    for count, check in zip(counts, ("no nulls", right, "each entity once"), strict=True):
        if count:
            raise DataRejected(
                f"answer of {product.folder.name}/{path}",
                expected=check,
                found=f"{count:,} rows that break it",
                fix="Correct the query, or what it reads.",
                report=((path, ", ".join(unique), check, f"{count:,} rows"),),
            )


def _cast(name: str, kind: str) -> str:
    return f"{quoted(name)}::{kind}"


def _canonical(keys: tuple[Key, ...]) -> str:
    """SQL for the canonical key. ``url_encode`` leaves the same characters bare as :func:`batch_scoring.keys.encode_key`."""
    parts = (f"url_encode({quoted(key.name)})" if key.type == "string" else f"{quoted(key.name)}::VARCHAR" for key in keys)
    return " || '/' || ".join(parts)


def _covered(product: Product, delivery: Delivery) -> str:
    from zoneinfo import ZoneInfo

    if delivery.covers is None:
        return "none yet"
    zone = ZoneInfo(product.table.schedule.timezone)
    first, last = (moment.astimezone(zone).date() for moment in delivery.covers)
    return f"{first} to {last}"
