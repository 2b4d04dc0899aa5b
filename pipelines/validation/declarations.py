"""Do declarations, SQL, checks and Feast objects fit together? Tried out on empty tables; nothing is written.

Every file is given its columns and types by its checks, so all SQL can be planned and run without any data.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain import Column
from batch_scoring.errors import ForetableError
from batch_scoring.settings import Settings
from pipelines.repository import Product, Repository

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.repo_contents import RepoContents

Datasets = dict[str, dict[str, str]]
"""Columns and DuckDB types of each dataset of a product."""

_RESERVED = ("event_timestamp", "created_timestamp", "label", "label_known_at")
_FITS = {
    "INT64": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    "DOUBLE": ("FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
    "BOOL": ("BOOLEAN",),
    "STRING": ("VARCHAR",),
}
_FITS |= {"INT32": _FITS["INT64"], "FLOAT": _FITS["DOUBLE"]}
_KEY_KIND = {"string": "STRING", "integer": "INT64"}


def problems(repository: Repository, settings: Settings) -> tuple[str, ...]:
    """One sentence per misfit; none means that a run can only fail for its data."""
    from pipelines.features.workspace import read_definitions

    datasets: dict[str, Datasets] = {}
    found: list[str] = []
    for product in repository.products:
        datasets[product.table.name] = {}
        try:
            for name, columns in _planned(product, settings):
                datasets[product.table.name][name] = columns
        except ForetableError as error:
            found.append(str(error))
    try:
        definitions = read_definitions(settings)
    except ForetableError as error:
        return (*found, str(error))
    for product in repository.products:
        found.extend(_misfits(product, settings, definitions, datasets[product.table.name]))
    return tuple(found)


def _planned(product: Product, settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """Run all SQL of a product on empty tables; each dataset with its columns as it comes to be."""
    import polars as pl

    from pipelines.ingest import derive, register_raw
    from pipelines.queries import ask_labels, ask_population
    from pipelines.sql import connection
    from pipelines.validation import CheckedFile, column_types, load_checks

    schemas = load_checks(product) if product.table.sources else {}
    with tempfile.TemporaryDirectory() as spill, connection(product, settings, Path(spill)) as con:
        for raw in product.table.sources:
            part = Path(spill) / f"{raw.name}.parquet"
            pl.DataFrame(schema=column_types(schemas[raw.checks])).write_parquet(part)
            register_raw(con, CheckedFile(raw=raw, parts=(part,), rows=0, bytes=0, sha256=""))
        for dataset in product.table.datasets:
            yield dataset.name, derive(con, product, dataset)
        ask_labels(con, product)
        ask_population(con, product, datetime(2000, 1, 1, tzinfo=UTC))


def _misfits(product: Product, settings: Settings, definitions: RepoContents, datasets: Datasets) -> Iterator[str]:
    table, where = product.table, f"{product.folder.name}/features.py"
    services = {service.name: service for service in definitions.feature_services}
    service = services.get(table.feature_service)
    if service is None:
        known = ", ".join(services) or "none is declared"
        yield f"{product.folder.name}/table.py: feature_service '{table.feature_service}' is not one of the services: {known}."
        return
    from pipelines.features.skew import misfits

    views = {view.name: view for view in definitions.feature_views}
    features: list[str] = []
    for projection in service.feature_view_projections:
        view = views.get(projection.name)
        if view is None:
            yield f"{where}: view '{projection.name}' of the service is not a plain FeatureView; foretable reads only those."
            continue
        features.extend(field.name for field in projection.features)
        yield from _view_misfits(product, settings, definitions, view, datasets)
    for name, count in Counter(features).items():
        if count > 1:
            yield f"{where}: {count} views have a feature '{name}'; rename all but one."
        if name in (*_RESERVED, *table.entity.key_names):
            yield f"{where}: a feature must not be called '{name}', which foretable uses; rename it."
    known_columns = {*features, *table.entity.key_names}
    for field, columns in [("segments", table.segments), *(("baseline.groups", group) for group in table.baseline.groups)]:
        if unknown := [column for column in columns if column not in known_columns]:
            yield f"{product.folder.name}/table.py: {field} names {', '.join(unknown)}, neither a key nor a feature."
    yield from (f"{product.folder.name}/table.py: {each}." for each in misfits(table.positional, _columns(service, views)))


def _columns(service: Any, views: dict[str, FeatureView]) -> tuple[Column, ...]:
    from pipelines.features.feast_source import DUCKDB_TYPES

    kinds = [
        (field.name, field.dtype.to_value_type().name)
        for projection in service.feature_view_projections
        if projection.name in views
        for field in projection.features
    ]
    return tuple(Column(name=name, type=DUCKDB_TYPES.get(kind, kind), role="feature") for name, kind in kinds)


def _view_misfits(
    product: Product, settings: Settings, definitions: RepoContents, view: FeatureView, datasets: Datasets
) -> Iterator[str]:
    where = f"{product.folder.name}/features.py: view '{view.name}'"
    yield from _key_misfits(product, definitions, view, where)
    source: Any = view.batch_source
    paths = {str(settings.dataset(product.table.name, dataset.name)): dataset.name for dataset in product.table.datasets}
    name = paths.get(getattr(source, "path", ""))
    if name is None:
        known = ", ".join(paths.values())
        yield f"{where} reads no dataset of '{product.table.name}' ({known}); use dataset_path('{product.table.name}', …)."
        return
    if (source.timestamp_field, source.created_timestamp_column) != ("event_timestamp", "created_timestamp"):
        yield f"{where}: its source must name event_timestamp and created_timestamp, or late data leaks into training."
    columns = datasets.get(name)
    for field in view.features:
        kind = field.dtype.to_value_type().name
        if kind not in _FITS:
            yield f"{where}: feature '{field.name}' is {kind}; foretable models numbers, truth values and strings."
        elif columns is not None and field.name not in columns:
            yield f"{where}: dataset '{name}' has no column '{field.name}'; it has {', '.join(columns)}."
        elif columns is not None and columns[field.name] not in _FITS[kind]:
            yield f"{where}: feature '{field.name}' is declared {kind}, but dataset '{name}' returns {columns[field.name]}."
        if not field.description:
            yield f"{where}: feature '{field.name}' has no description; reasons in words need one."


def _key_misfits(product: Product, definitions: RepoContents, view: FeatureView, where: str) -> Iterator[str]:
    entities = {entity.name: entity for entity in definitions.entities}
    kinds = {key.name: _KEY_KIND[key.type] for key in product.table.entity.keys}
    for name in view.entities:
        key, kind = entities[name].join_key, entities[name].value_type.name
        if key not in kinds:
            yield f"{where} is joined by '{key}', which is not a key of '{product.table.name}' ({', '.join(kinds)})."
        elif kind not in (kinds[key], "UNKNOWN"):
            yield f"{where}: key '{key}' is {kind} in Feast and {kinds[key]} in table.py; make them the same."
