"""What a feature view has to offer, in numbers: rows, keys, nulls, freshness."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from batch_scoring.errors import NoData
from pipelines.features.asof_inputs import path_of, scan_of, types_of
from pipelines.features.asof_sql import instant, literal
from pipelines.sql import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What became known of a view after one moment and up to another.

    Attributes:
        rows: of the source. keys: different ones among them.
        nulls: share of nulls in each feature of these rows, 0 to 1; empty without rows.
        newest: event time of the newest row that is known at ``until``; None when nothing is.
    """

    since: datetime
    until: datetime
    rows: int
    keys: int
    nulls: tuple[tuple[str, float], ...]
    newest: datetime | None

    @property
    def age(self) -> timedelta | None:
        """Freshness: how old the newest known row is at ``until``."""
        return None if self.newest is None else self.until - self.newest


def measure(config: Any, view: Any, moments: tuple[datetime, ...]) -> tuple[Measure, ...]:
    """A measure between each two neighbours of ascending moments, under the store's memory limit.

    Args:
        config: Feast's RepoConfig. view: a FeatureView on local Parquet.

    Raises:
        NoData: the source was not ingested yet.
    """
    if not path_of(view.batch_source, config.repo_path).exists():
        raise NoData(f"feature view '{view.name}'", expected="its source", found="no file", fix="Run 'foretable ingest' first.")
    with config.offline_store.query(lambda _: "").open() as (con, _):
        return tuple(_between(con, config, view, *pair) for pair in itertools.pairwise(moments))


def _between(con: duckdb.DuckDBPyConnection, config: Any, view: Any, since: datetime, until: datetime) -> Measure:
    source = view.batch_source
    names = {new: old for old, new in (source.field_mapping or {}).items()}
    scan = scan_of(source, config.repo_path)
    types = types_of(con, scan)
    times = [names.get(name, name) for name in (source.timestamp_field, source.created_timestamp_column) if name]
    moments = [instant(name, types[name]) for name in times]
    known = " AND ".join(f"{moment} <= {literal(until)}" for moment in moments)
    new = f"FILTER (WHERE greatest({', '.join(moments)}) > {literal(since)})"
    keys = [names.get(column.name, column.name) for column in view.entity_columns]
    listed = ", ".join(quoted(key) for key in keys if key in types)  # a view without entities has a made-up one
    distinct = f"count(DISTINCT ({listed})) {new}" if listed else f"least(count(*) {new}, 1)"
    features = [field.name for field in view.features]
    nulls = "".join(f", count(*) {new} - count({quoted(names.get(feature, feature))}) {new}" for feature in features)
    [(rows, entities, newest, *missing)] = con.execute(
        f"SELECT count(*) {new}, {distinct}, max(epoch_us({moments[0]})){nulls} FROM {scan} WHERE {known}"
    ).fetchall()
    return Measure(
        since=since,
        until=until,
        rows=rows,
        keys=entities,
        nulls=tuple((feature, count / rows) for feature, count in zip(features, missing, strict=True)) if rows else (),
        newest=None if newest is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=newest),
    )
