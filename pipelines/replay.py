"""Replaying history: every scheduled as-of of a span, run as it would have been run then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.domain import Manifest, VersionId
from batch_scoring.errors import GateFailed, NoData, StoreConflict
from batch_scoring.settings import Settings
from batch_scoring.store import version_folder
from pipelines.features import FeatureSource
from pipelines.realised import Realised, join_outcomes, read_examples, score_outcomes
from pipelines.repository import Product
from pipelines.run import plan_run
from pipelines.steps import Progress, build_training_set, quiet, run_all

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay did.

    Attributes:
        published: manifests in as-of order. refused: (day, sentence) of days whose version failed its gates or is not newer.
        realised: published predictions against the labels that came to be known, per version and together.
    """

    published: tuple[Manifest, ...]
    refused: tuple[tuple[date, str], ...]
    realised: tuple[Realised, ...]


def replay(
    product: Product,
    settings: Settings,
    source: FeatureSource,
    first: date,
    last: date,
    *,
    clock: Callable[[], datetime],
    on_day: Callable[[date, Manifest | None], None] = lambda *_: None,
    progress: Progress = quiet,
) -> Replayed:
    """Run every scheduled day from first to last, each knowing only what was known then.

    A day whose version fails its gates is refused and the replay goes on, as production would.

    Raises:
        NoData: no run is due in the span.
    """
    days = product.table.schedule.days(first, last)
    if not days:
        raise NoData(
            f"replay of '{product.table.name}' from {first} to {last}",
            expected="at least one scheduled day",
            found="none",
            fix="Give a longer span, the earlier day first.",
        )
    runs = tuple(plan_run(product, settings, day, reason="replay") for day in days)
    progress("training set")
    examples = read_examples(product.table, Path(build_training_set(runs[0], source).path))
    published: list[Manifest] = []
    refused: list[tuple[date, str]] = []
    outcomes: list[tuple[VersionId, datetime, pl.DataFrame]] = []
    for day, run in zip(days, runs, strict=True):
        try:
            manifest, _ = run_all(run, source, clock=clock, scheduled=True, progress=progress)
        except (GateFailed, StoreConflict) as error:
            refused.append((day, str(error)))
            on_day(day, None)
            continue
        published.append(manifest)
        folder = version_folder(settings.store, product.table.name, manifest.version)
        outcomes.append((manifest.version, run.as_of, join_outcomes(product.table, examples, run.as_of, folder)))
        on_day(day, manifest)
    return Replayed(published=tuple(published), refused=tuple(refused), realised=score_outcomes(tuple(outcomes)))
