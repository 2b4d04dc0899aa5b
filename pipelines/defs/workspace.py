"""The workspace as a Dagster resource: the way from an asset to settings, store and features."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg

from batch_scoring.domain import Trigger
from batch_scoring.gates import Waiver
from batch_scoring.settings import Settings, load_settings
from pipelines.repository import Product
from pipelines.run import Run, plan_run

if TYPE_CHECKING:
    from pipelines.features import FeatureSource


_WAIVE = "foretable/waive/"
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
        """The run a partition stands for. Its reason is the schedule's name, or that somebody asked for it.

        A tag ``foretable/waive/GATE`` waives that gate; its value is the reason.
        """
        tags = context.run.tags
        trigger, tag = next(((trigger, tag) for trigger, tag in _TRIGGERS.items() if tag in tags), ("manual", ""))
        waived = {name.removeprefix(_WAIVE): why for name, why in sorted(tags.items()) if name.startswith(_WAIVE)}
        day = date.fromisoformat(context.partition_key)
        planned = plan_run(product, self.settings(), day, tags.get(tag, "manual"), cast(Trigger, trigger))
        return replace(planned, waivers=tuple(Waiver(gate=gate, reason=why) for gate, why in waived.items()))

    def now(self) -> datetime:
        """The wall clock, for what is stamped and never for what is computed."""
        return datetime.now(UTC)
