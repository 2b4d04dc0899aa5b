"""The workspace as a Dagster resource: the way from an asset to settings, store and features."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg

from batch_scoring.domain import Trigger
from batch_scoring.settings import Settings, load_settings
from pipelines.repository import Product
from pipelines.run import Run, plan_run

if TYPE_CHECKING:
    from pipelines.features import FeatureSource


_TRIGGERS = {"schedule": "dagster/schedule_name", "sensor": "dagster/sensor_name", "backfill": "dagster/backfill"}


class Workspace(dg.ConfigurableResource):
    """A foretable workspace: the folder of ``foretable.toml``."""

    folder: str

    def settings(self) -> Settings:
        """The workspace's settings, read anew for every step."""
        return load_settings(Path(self.folder))

    def features(self, product: Product) -> FeatureSource:
        """The product's features, through Feast."""
        from pipelines.features import FeastFeatures

        return FeastFeatures(product=product, settings=self.settings())

    def run(self, product: Product, context: dg.AssetExecutionContext) -> Run:
        """The run a partition stands for. Its reason is the schedule's name, or that somebody asked for it."""
        tags = context.run.tags
        trigger, tag = next(((trigger, tag) for trigger, tag in _TRIGGERS.items() if tag in tags), ("manual", ""))
        return plan_run(
            product, self.settings(), date.fromisoformat(context.partition_key), tags.get(tag, "manual"), cast(Trigger, trigger)
        )

    def now(self) -> datetime:
        """The wall clock, for what is stamped and never for what is computed."""
        return datetime.now(UTC)
