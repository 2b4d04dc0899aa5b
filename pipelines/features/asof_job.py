"""An as-of query on its way: it runs when it is asked for its rows, in a DuckDB of its own under a memory limit."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView

from batch_scoring.errors import DeclarationError
from pipelines.features.asof_inputs import path_of, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to run, and how much of the machine to use for it.

    Attributes:
        plan: registers what the query reads on a connection and writes its SQL.
    """

    memory_limit: str
    threads: int
    temp_directory: str | None
    plan: Callable[[duckdb.DuckDBPyConnection], str]

    @contextmanager
    def open(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """A connection and the SQL to run on it. Closing it removes what was spilled."""
        with tempfile.TemporaryDirectory(prefix="asof-", dir=self.temp_directory) as spill:
            limits: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": _counted(self.memory_limit),
                "threads": self.threads,
                "temp_directory": spill,
            }
            con = duckdb.connect(":memory:", config=limits)
            try:
                # A wrong guess at the number of rows must not turn a sorted as-of join into a loop over all pairs.
                con.execute("SET TimeZone = 'UTC'; SET asof_loop_join_threshold = 0")
                yield con, self.plan(con)
            finally:
                con.close()


def _counted(limit: str) -> str:
    """The part of a memory limit that DuckDB may fill; buffers of its windows and its Parquet writer are not in its count."""
    size = re.fullmatch(r"([\d.]+)\s*([KMGT]i?B)", limit)
    return f"{float(size[1]) * 0.94:.3f}{size[2]}" if size else limit


class AsofRetrievalJob(RetrievalJob):
    """A query that has not run yet. Feast's own ``to_df`` and ``to_arrow`` run it and apply on-demand views."""

    def __init__(
        self,
        query: Query,
        *,
        repo: Path | None,
        on_demand: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: Callable[[], RetrievalMetadata] | None = None,
    ) -> None:
        self._query = query
        self._repo = repo
        self._on_demand = on_demand or []
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for; reads the span of the entity rows."""
        return self._metadata() if self._metadata else None

    def to_sql(self) -> str:
        """The query as it would run now; ``entities`` stands for the entity rows."""
        with self._query.open() as (_, sql):
            return sql

    def batches(self, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """The result in its order, ``rows`` at a time, so that it never has to fit into memory.

        Raises:
            DeclarationError: the service has on-demand views, which Feast computes on whole results only.
        """
        if self._on_demand:
            raise DeclarationError(
                "retrieval in batches",
                expected="features that are stored",
                found=f"on-demand view '{self._on_demand[0].name}'",
                fix="Use to_arrow().",
            )
        with self._query.open() as (con, sql):
            yield from con.sql(sql).to_arrow_reader(rows)

    def to_parquet(self, path: Path) -> int:
        """Write the result in its order, whole or not at all; returns the number of rows."""
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if self._on_demand:
                import pyarrow.parquet as pq

                table = self.to_arrow()
                pq.write_table(table, unfinished, compression="zstd")
                rows: int = table.num_rows
            else:
                target = text(str(unfinished))
                with self._query.open() as (con, sql):
                    written = con.execute(f"COPY ({sql}) TO {target} (FORMAT parquet, COMPRESSION zstd)").fetchall()
                rows = int(written[0][0])
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return rows

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:  # noqa: ARG002  # Feast's
        """As promised by Feast; one Parquet file, in place atomically."""
        source = storage.to_data_source()
        path = path_of(source, self._repo)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=source.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.to_parquet(path)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's
        with self._query.open() as (con, sql):
            return con.sql(sql).to_arrow_table()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()
