"""Features through Feast from the as-of store, point in time correct by event time and by created time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batch_scoring.domain import Column
from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.delivery import current_delivery
from pipelines.features import workspace
from pipelines.features.port import ViewDefinition
from pipelines.repository import Product

if TYPE_CHECKING:
    import pyarrow as pa

_EVENT = "event_timestamp"
DUCKDB_TYPES = {
    **dict.fromkeys(("INT32", "INT64", "BOOL"), "BIGINT"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "DOUBLE"),
    "STRING": "VARCHAR",
}
"""How a feature of a Feast type is kept."""


@dataclass(frozen=True, kw_only=True)
class FeastFeatures:
    """:class:`~pipelines.features.port.FeatureSource` over the FeatureService that a product names."""

    product: Product
    settings: Settings

    def apply(self) -> None:
        """As promised by the port; applies the whole repository, as ``feast apply`` does."""
        workspace.apply(self.settings)

    def fingerprint(self) -> str:
        """As promised by the port; follows the files, so it needs no Feast."""
        return workspace.definitions_fingerprint(self.settings)

    def columns(self) -> tuple[Column, ...]:
        """As promised by the port."""
        store = workspace.open_store(self.settings)
        views = {view.name: view for view in store.list_feature_views()}
        return tuple(
            Column(
                name=field.name,
                type=_duckdb_type(self.product, field),
                role="feature",
                description=_description(views[projection.name], field.name),
            )
            for projection in self._service(store).feature_view_projections
            for field in projection.features
        )

    def definitions(self) -> tuple[ViewDefinition, ...]:
        """As promised by the port."""
        store = workspace.open_store(self.settings)
        views = {view.name: view for view in store.list_feature_views()}
        return tuple(
            _definition(views[projection.name], projection, self.settings)
            for projection in self._service(store).feature_view_projections
        )

    def training(self, examples: pa.Table) -> pa.Table:
        """As promised by the port."""
        names = [*self.product.table.entity.key_names, _EVENT]
        features = self._retrieve(examples.select(names))
        for name in features.column_names:
            examples = examples.append_column(name, features[name])
        return examples

    def population(self, keys: pa.Table, as_of: datetime) -> pa.Table:
        """As promised by the port."""
        import pyarrow as pa

        moments = pa.repeat(pa.scalar(as_of.astimezone(UTC), pa.timestamp("us", tz="UTC")), keys.num_rows)
        return self.training(keys.append_column(_EVENT, moments))

    def _retrieve(self, rows: pa.Table) -> pa.Table:
        """The feature columns for each row, in the order of the rows."""
        import pyarrow as pa

        current_delivery(self.product.table.name, self.settings)  # says what to do when nothing was ingested
        schema = pa.schema([(column.name, _arrow_type(column.type)) for column in self.columns()])
        store = workspace.open_store(self.settings)
        bound(store.config.offline_store, self.settings)
        job = store.get_historical_features(entity_df=rows, features=self._service(store), filter_by_created_timestamp=True)
        found = job.to_arrow()
        if found.num_rows != rows.num_rows:  # cannot happen: every join is a left join on at most one row
            raise RuntimeError(f"the offline store returned {found.num_rows} rows for {rows.num_rows}")
        return found.select(schema.names).cast(schema)

    def _service(self, store: Any) -> Any:
        from feast.errors import FeatureServiceNotFoundException

        name = self.product.table.feature_service
        try:
            service = store.get_feature_service(name)
        except FeatureServiceNotFoundException:
            known = ", ".join(service.name for service in store.list_feature_services()) or "none; run 'feast apply'"
            raise DeclarationError(
                f"{self.product.folder.name}/table.py: PredictionTable.feature_service",
                expected=f"a FeatureService of the repository: {known}",
                found=repr(name),
                fix="Name one of them, or declare it in features.py.",
            ) from None
        stored = {view.name for view in store.list_feature_views()}
        for projection in service.feature_view_projections:
            if projection.name not in stored:  # computed by code, which no hash of definitions and files can stand for
                raise DeclarationError(
                    f"{self.product.folder.name}/features.py: FeatureService '{name}'",
                    expected="feature views that are stored",
                    found=f"the on-demand view '{projection.name}'",
                    fix="Compute it in the SQL of a dataset.",
                )
        return service


def bound(config: Any, settings: Settings) -> None:
    """Give the offline store our limits; any other store would promise neither the order of rows nor bounded memory."""
    from pipelines.features.asof_store import AsofDuckDBOfflineStoreConfig

    if not isinstance(config, AsofDuckDBOfflineStoreConfig):
        raise DeclarationError(
            f"{settings.repo.name}/feature_store.yaml: offline_store",
            expected=f"type {AsofDuckDBOfflineStoreConfig().type}",
            found=f"type {getattr(config, 'type', config)}",
            fix="Set it, and run again.",
        )
    config.memory_limit, config.threads = settings.memory_limit, settings.threads


def _definition(view: Any, projection: Any, settings: Settings) -> ViewDefinition:
    from pipelines.features.asof_inputs import path_of

    source, data = view.batch_source, settings.data
    path = path_of(source, settings.repo)
    return ViewDefinition(
        name=view.name,
        keys={key: projection.join_key_map.get(key, key) for key in view.join_keys},
        ttl=view.ttl.total_seconds() if view.ttl else None,
        features=tuple((field.name, str(field.dtype)) for field in projection.features),
        source=str(path.relative_to(data)) if path.is_relative_to(data) else str(path),
        event=source.timestamp_field,
        created=source.created_timestamp_column or "",
        renamed=dict(source.field_mapping),
    )


def _duckdb_type(product: Product, field: Any) -> str:
    kind = field.dtype.to_value_type().name
    if kind not in DUCKDB_TYPES:
        raise DeclarationError(
            f"{product.folder.name}/features.py: Field '{field.name}'.dtype",
            expected="a number, a truth value or a string",
            found=kind.lower(),
            fix="Turn it into one in the dataset's SQL.",
        )
    return DUCKDB_TYPES[kind]


def _description(view: Any, feature: str) -> str:
    return next((field.description for field in view.features if field.name == feature), "")


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    return {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}[kind]
