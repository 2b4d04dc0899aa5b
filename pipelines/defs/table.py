"""One prediction table as Dagster definitions: a chain of assets, its jobs and its schedule."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from batch_scoring.declare import Schedule
from pipelines.defs.assets import table_assets
from pipelines.defs.rollback import rollback_job
from pipelines.repository import Product


def table_definitions(product: Product) -> dg.Definitions:
    """Everything Dagster shows of a table: group, assets with checks, a run job, its schedule, a rollback job."""
    table = product.table
    partitions = partitions_of(table.schedule)
    run_job = dg.define_asset_job(
        f"{table.name}_run",
        selection=dg.AssetSelection.groups(table.name),
        description=f"One whole run of {table.name}: from raw files to a published version.",
    )

    @dg.schedule(
        name=f"{table.name}_schedule",
        job=run_job,
        cron_schedule=table.schedule.cron,
        execution_timezone=table.schedule.timezone,
        description=f"Runs {table.name} every {table.schedule.every} at {table.schedule.at} {table.schedule.timezone}.",
    )
    def scheduled_run(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = context.scheduled_execution_time.astimezone(ZoneInfo(table.schedule.timezone)).date().isoformat()
        if not partitions.has_partition_key(day):
            return dg.SkipReason(f"{day} is outside the declared days, {table.schedule.since} to {table.schedule.until}.")
        return dg.RunRequest(run_key=day, partition_key=day)

    return dg.Definitions(
        assets=table_assets(product, partitions),
        jobs=[run_job, rollback_job(product)],
        schedules=[scheduled_run],
    )


def partitions_of(schedule: Schedule) -> dg.TimeWindowPartitionsDefinition:
    """A partition per scheduled local day; its key is the day, and today's is there as soon as the day begins."""
    first = next(day for n in range(7) if schedule.speaks_on(day := schedule.since + timedelta(days=n)))
    # Dagster's end is exclusive: the partition of the last day begins on it and ends a period later.
    end = None if schedule.until is None else (schedule.until + schedule.period).isoformat()
    today = 1  # so many partitions beyond the last one that is over: today's is there as soon as the day begins
    if schedule.every == "day":
        return dg.DailyPartitionsDefinition(
            start_date=first.isoformat(), end_date=end, timezone=schedule.timezone, end_offset=today
        )
    weekday = int(schedule.cron.split()[-1])
    return dg.WeeklyPartitionsDefinition(
        start_date=first.isoformat(), end_date=end, timezone=schedule.timezone, end_offset=today, day_offset=weekday
    )
