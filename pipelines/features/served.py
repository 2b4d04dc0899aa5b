"""Training on what was served: the features of past versions, as they were published, with labels known since.

What a model sees in training is then by construction what it saw in scoring: no join is made again, so nothing that was
corrected or arrived since can differ. The price is patience: there are only as many days as there are kept versions.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.domain import FEATURES, Column, Manifest
from batch_scoring.errors import NoData
from batch_scoring.settings import Settings
from pipelines.delivery import current_delivery, require_current
from pipelines.features.port import FeatureSource
from pipelines.features.retrieved import retrieved_examples
from pipelines.features.sources import Source
from pipelines.features.training_set import (
    EVENT,
    KNOWN,
    LABEL,
    Planned,
    describe_inputs,
    known_examples,
    plan_history,
)
from pipelines.repository import Product

if TYPE_CHECKING:
    import pyarrow as pa

    from batch_scoring.declare import PredictionTable

_log = logging.getLogger(__name__)


def plan_declared(product: Product, settings: Settings, source: FeatureSource, as_of: datetime) -> Planned:
    """The training set that the table's ``train_on`` asks for.

    Too few served versions are no reason to stop: the run is made on history then, and says so in the log, in its version
    and here, in ``note``.

    Raises:
        NoData: as :func:`pipelines.features.training_set.plan_history`.
    """
    if product.table.train_on == "history":
        return plan_history(product, settings, source, as_of)
    delivery = current_delivery(product.table.name, settings).id
    versions = served_versions(product.table, settings.store, source.columns(), as_of)
    examples = served_examples(product, settings, source, as_of, versions)
    if lacking := why_too_few(product.table, examples):
        note = f"train_on='served': {len(versions)} usable versions are too few, {lacking}; trained on history instead"
        _log.warning("'%s' as of %s: %s.", product.table.name, f"{as_of:%Y-%m-%d %H:%M} UTC", note)
        return replace(plan_history(product, settings, source, as_of), note=note)
    sources = tuple(Source(name=f"version {each.version}", sha256=_features_hash(each)) for each in versions)
    views = source.definitions()
    require_current(product.table.name, delivery, settings)
    recipe = describe_inputs(product, as_of, examples, train_on="served", views=views, sources=sources)
    return Planned(recipe=recipe, make=lambda: examples, delivery=delivery)


def served_versions(table: PredictionTable, store: Path, columns: tuple[Column, ...], as_of: datetime) -> tuple[Manifest, ...]:
    """The kept versions that were live and whose labels may be known by now, one for each as-of, in order.

    Of several for one as-of the one that was live last counts. A version that lacks a feature of today is left out.
    """
    from batch_scoring.store import Store, history, versions

    if not (store / "current").exists():
        return ()
    served = (release.tables[table.name].live for release in history(Store(root=store)) if table.name in release.tables)
    order = [version for version in dict.fromkeys(served) if version is not None]
    if not order:
        return ()
    wanted = {(column.name, column.type) for column in columns}
    kept = {manifest.version: manifest for manifest in versions(Store(root=store), table.name)}
    chosen: dict[datetime, Manifest] = {}
    for version in order:
        manifest = kept.get(version)
        if manifest is None or manifest.draft.as_of + table.label.matures_after > as_of:
            continue
        if wanted <= {(column.name, column.type) for column in manifest.draft.columns}:
            chosen.setdefault(manifest.draft.as_of, manifest)
    return tuple(manifest for _, manifest in sorted(chosen.items()))


def served_examples(
    product: Product, settings: Settings, source: FeatureSource, as_of: datetime, versions: tuple[Manifest, ...]
) -> pa.Table:
    """The served rows whose label was known at the cut-off: columns, types and order as in any training set."""
    import polars as pl
    import pyarrow.parquet as pq

    from batch_scoring.store import version_folder

    table = product.table
    keys = list(table.entity.key_names)
    retrieved = retrieved_examples(product, settings, source)
    schema = pq.read_schema(retrieved)
    labels = known_examples(pq.read_table(retrieved, columns=[*keys, EVENT, LABEL, KNOWN]), table.label, as_of)
    features = [column.name for column in source.columns()]
    frames = [
        pl.read_parquet(version_folder(settings.store, table.name, each.version) / FEATURES, columns=[*keys, *features])
        .with_columns(pl.lit(each.draft.as_of).cast(pl.Datetime("us", "UTC")).alias(EVENT))
        for each in versions
    ]  # fmt: skip
    if not frames:
        return schema.empty_table()
    joined = pl.DataFrame(labels).join(pl.concat(frames), on=[*keys, EVENT], how="inner").sort(EVENT, *keys)
    return joined.select(schema.names).to_arrow().cast(schema)


def why_too_few(table: PredictionTable, examples: pa.Table) -> str:
    """Why these examples do not allow a search and a hold-out; empty when they do. Pure."""
    from pipelines.training.folds import kept_apart, known, plan_blocks

    events, known_at = (examples[name].to_numpy() for name in (EVENT, KNOWN))
    labels = examples[LABEL].to_numpy(zero_copy_only=False)
    try:
        blocks = plan_blocks(events, table.schedule, table.holdout, table.label)
    except NoData as error:
        return f"expected {error.expected}, found {error.found}"
    for block in blocks:
        before = known(events, known_at, table.label, block.cutoff) & ~kept_apart(events, block)
        if len(set(labels[before].tolist())) < 2:
            return f"found {int(before.sum())} rows with one outcome at most before {block.cutoff:%Y-%m-%d}"
    return ""


def _features_hash(manifest: Manifest) -> str:
    return next(fact.sha256 for fact in manifest.files if fact.name == FEATURES)
