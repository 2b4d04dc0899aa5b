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
from batch_scoring.store import Reader, Store, history, version_folder, versions
from pipelines.features import FeatureSource, retrieved_examples
from pipelines.features.served import plan_declared
from pipelines.realised import Realised, join_outcomes, read_examples, score_outcomes
from pipelines.repository import Product
from pipelines.run import plan_run
from pipelines.steps import Progress, quiet, run_all

if TYPE_CHECKING:
    import polars as pl

    from batch_scoring.declare import PredictionTable


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

    A day whose version fails its gates is refused and the replay goes on, as production would. A day that was published
    before from the same training set, parameters and windows is not run again, so a replay that was interrupted goes on
    where it ended.

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
    runs = tuple(plan_run(product, settings, day, reason="replay", trigger="replay") for day in days)
    progress("training set")
    examples = read_examples(product.table, retrieved_examples(product, settings, source))
    before = _published_before(product, settings, source, frozenset(run.as_of for run in runs))
    newest = _live_as_of(product.table, settings.store)
    published: list[Manifest] = []
    refused: list[tuple[date, str]] = []
    outcomes: list[tuple[VersionId, datetime, pl.DataFrame]] = []
    for day, run in zip(days, runs, strict=True):
        if run.as_of not in before and newest is not None and run.as_of <= newest:
            refused.append((day, f"the live version speaks for {newest:%Y-%m-%d %H:%M} UTC already"))
            on_day(day, None)
            continue
        try:
            manifest = before.get(run.as_of) or run_all(run, source, clock=clock, progress=progress)[0]
        except (GateFailed, StoreConflict) as error:
            refused.append((day, str(error)))
            on_day(day, None)
            continue
        published.append(manifest)
        folder = version_folder(settings.store, product.table.name, manifest.version)
        outcomes.append((manifest.version, run.as_of, join_outcomes(product.table, examples, run.as_of, folder)))
        on_day(day, manifest)
    return Replayed(
        published=tuple(published), refused=tuple(refused), realised=score_outcomes(tuple(outcomes), product.table.task)
    )


def _published_before(
    product: Product, settings: Settings, source: FeatureSource, moments: frozenset[datetime]
) -> dict[datetime, Manifest]:
    """Kept versions, by as-of, that were live once and would come out the same again."""
    from pipelines.training.recipe import plan_id

    table = product.table
    if not (settings.store / "current").exists():
        return {}
    store = Store(root=settings.store)
    served = {release.tables[table.name].live for release in history(store, table.name)}
    return {
        manifest.draft.as_of: manifest
        for manifest in (versions(store, table.name) if served else ())
        if manifest.version in served
        and manifest.draft.as_of in moments
        and manifest.draft.training.plan == plan_id(table)
        and manifest.draft.training.training_set == plan_declared(product, settings, source, manifest.draft.as_of).recipe.name
    }


def _live_as_of(table: PredictionTable, root: Path) -> datetime | None:
    """The moment the live version speaks for: no run of an earlier one would be published."""
    if not (root / "current").exists():
        return None
    snapshot = Reader(root).snapshot()
    return snapshot.manifest(table.name).draft.as_of if snapshot.served(table.name).live is not None else None
