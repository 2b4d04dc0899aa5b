"""A Feast offline store on native DuckDB as-of joins: the ``offline_store.type`` of ``feature_store.yaml``.

Feast finds the class and, by its name, the configuration beside it. Sources are Parquet files (``FileSource``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
from feast import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from batch_scoring.errors import DeclarationError
from pipelines.features import asof_sql
from pipelines.features.asof_inputs import check_names, everyone, register, view_of
from pipelines.features.asof_job import AsofRetrievalJob, Query
from pipelines.features.asof_pull import Pull, pull_sql
from pipelines.features.asof_sql import Rows, Span, View


class AsofDuckDBOfflineStoreConfig(FeastConfigBaseModel):
    """The ``offline_store`` section of ``feature_store.yaml``.

    Attributes:
        memory_limit: of DuckDB, per retrieval; what does not fit is spilled to ``temp_directory`` (default: the system's).
        threads: default two.
        created_timestamp_cutoff: rows created after an entity row's moment are not seen by it. ``false`` opts out, for
            sources whose created time says nothing; ``filter_by_created_timestamp=True`` in a call wins over it.
    """

    type: StrictStr = "pipelines.features.asof_store.AsofDuckDBOfflineStore"
    memory_limit: str = "2GB"
    threads: int = 2
    temp_directory: str | None = None
    created_timestamp_cutoff: bool = True

    def query(self, plan: Callable[[duckdb.DuckDBPyConnection], str]) -> Query:
        """A query under these limits."""
        return Query(memory_limit=self.memory_limit, threads=self.threads, temp_directory=self.temp_directory, plan=plan)


class AsofDuckDBOfflineStore(OfflineStore):
    """Point in time correct by event time and by created time, row for row, in bounded memory."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # the signature is Feast's
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Features for entity rows, in their order, repeats included.

        Args:
            entity_df: pandas, Arrow or polars rows, SQL for DuckDB, or the path of a Parquet file; with the join keys and
                ``event_timestamp`` (or a single timestamp column of another name). None takes every key with a row
                between ``start_date`` and ``end_date``, each at ``end_date``.
            full_feature_names: features are called ``view__feature``.
            filter_by_created_timestamp: on by default here, see the configuration.

        Raises:
            DeclarationError: a column or a file that is not there, or two columns of one name.
        """
        settings: AsofDuckDBOfflineStoreConfig = config.offline_store
        cutoff = settings.created_timestamp_cutoff or filter_by_created_timestamp

        def views(con: duckdb.DuckDBPyConnection) -> tuple[View, ...]:
            return tuple(view_of(con, view, feature_refs, full_feature_names, cutoff, config.repo_path) for view in feature_views)

        def plan(con: duckdb.DuckDBPyConnection) -> str:
            wanted = views(con)
            entities = register(con, everyone(wanted, start_date, end_date) if entity_df is None else entity_df)
            check_names(entities.columns, wanted)
            return asof_sql.joined(entities, tuple((view, _rows(con, view, entities.span)) for view in wanted))

        def metadata() -> RetrievalMetadata:
            with settings.query(lambda _: "").open() as (con, _):
                entities = register(con, everyone(views(con), start_date, end_date) if entity_df is None else entity_df)
            keys = [column for column in entities.columns if column != entities.moment_column]
            return RetrievalMetadata(feature_refs, keys, entities.span.first, entities.span.last)

        return AsofRetrievalJob(
            settings.query(plan),
            repo=config.repo_path,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names=full_feature_names,
            metadata=metadata,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """What became known between two moments (both included): the newest row of each key at the last of them, if new.

        A row is known from its event time or its created time on, whichever is later, so that going on where the last
        interval ended misses nothing that arrived late, and an old row that arrives late hides no newer one. From the
        earliest time on it is everything that is known. Without the created-time cut-off it is the newest row with an
        event time between the two.
        """
        pull = Pull(
            source=data_source,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            event=timestamp_field,
            created=created_timestamp_column or None,
            start=start_date,
            end=end_date,
            latest="known" if config.offline_store.created_timestamp_cutoff else "any",
        )
        return AsofRetrievalJob(config.offline_store.query(partial(pull_sql, pull, config.repo_path)), repo=config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows between two moments (both included; none is open)."""
        pull = Pull(
            source=data_source,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            event=timestamp_field,
            created=created_timestamp_column or None,
            start=start_date,
            end=end_date,
            latest=None,
        )
        return AsofRetrievalJob(config.offline_store.query(partial(pull_sql, pull, config.repo_path)), repo=config.repo_path)

    @staticmethod
    def offline_write_batch(config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Any) -> None:  # noqa: ARG004
        """Refused: sources are the outcome of a checked delivery, and rewriting one in place is not atomic."""
        raise DeclarationError(
            f"feature view '{feature_view.name}'",
            expected="new rows in a delivery",
            found="a write into its source",
            fix="Deliver them as files and run 'foretable ingest'.",
        )


def _rows(con: duckdb.DuckDBPyConnection, view: View, span: Span) -> Rows:
    if span.first == span.last:
        return asof_sql.latest(view, span)
    [(late, tied)] = con.execute(asof_sql.disorder(view, span)).fetchall()
    return asof_sql.timeline(view, span) if late or tied else asof_sql.plain(view, span)
