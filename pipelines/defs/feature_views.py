"""Feature views as assets: one per view, partitioned by day, a span of days in one run. Materializing brings it online."""

import warnings
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipelines.defs.assets import one_sentence
from pipelines.defs.workspace import Workspace
from pipelines.features.declared import declared_views
from pipelines.repository import Product

if TYPE_CHECKING:
    from pipelines.features.asof_measure import Measure
    from pipelines.features.materialize import Materialized


def feature_view_definitions(product: Product) -> dg.Definitions:
    """The group ``<table>_online``: an asset for every view that the table's folder declares, and a job for all of them."""
    days = _days(product)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster calls backfill_policy beta
        assets = [_asset(product, view, days) for view in declared_views(product.folder)]
    if not assets:
        return dg.Definitions()
    group = f"{product.table.name}_online"
    job = dg.define_asset_job(
        group, selection=dg.AssetSelection.groups(group), description=f"Bring the features of {product.table.name} online."
    )
    return dg.Definitions(assets=assets, jobs=[job])


def _days(product: Product) -> dg.DailyPartitionsDefinition:
    """Every local day of the table's schedule, whether it speaks on it or not; today's as soon as it begins."""
    schedule = product.table.schedule
    end = None if schedule.until is None else (schedule.until + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(
        start_date=schedule.since.isoformat(), end_date=end, timezone=schedule.timezone, end_offset=1
    )


def _asset(product: Product, view: str, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    table = product.table.name

    @dg.asset(
        key=[table, "online", view],
        group_name=f"{table}_online",
        kinds={"feast"},
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[[table, "feature_definitions"]],
        description=f"What is known of {view} at the end of the day, in the online store.",
    )
    @one_sentence
    def online(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        from pipelines.features.materialize import materialize

        ends = _ends(context, days)
        done = materialize(workspace.settings(), view, [min(moment, workspace.now()) for moment in ends])
        for key, part in zip(context.partition_keys, done.parts, strict=True):
            context.add_asset_metadata(_part(part), partition_key=key)
        return dg.MaterializeResult(metadata=_whole(done))

    return online


def _ends(context: dg.AssetExecutionContext, days: dg.DailyPartitionsDefinition) -> list[datetime]:
    """The beginning of the first day and the end of each."""
    windows = [days.time_window_for_partition_key(key) for key in context.partition_keys]
    return [windows[0].start, *(window.end for window in windows)]


def _part(part: "Measure") -> dict[str, dg.MetadataValue | int | float]:
    newest = {} if part.newest is None else {"newest row": dg.MetadataValue.timestamp(part.newest)}
    hours = {} if part.age is None else {"freshness_hours": part.age / timedelta(hours=1)}
    nulls = {f"null share {feature}": share for feature, share in part.nulls}
    return {"dagster/partition_row_count": part.rows, "entities": part.keys, **newest, **hours, **nulls}


def _whole(done: "Materialized") -> dict[str, dg.MetadataValue | bool]:
    return {
        "online since": dg.MetadataValue.timestamp(done.since),
        "online until": dg.MetadataValue.timestamp(done.until),
        "written": done.written,
    }
