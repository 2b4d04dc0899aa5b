"""Bring feature views online: for entities that appear between two batches, and for whoever reads Feast directly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.features import workspace

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from pipelines.features.asof_measure import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialized:
    """One materialization of a view.

    Attributes:
        since, until: what became known between these moments was to be brought online.
        written: False when the online store holds a later moment already, which an older one must not overwrite.
        parts: what became known between each two neighbours of the moments that were asked for.
    """

    view: str
    since: datetime
    until: datetime
    written: bool
    parts: tuple[Measure, ...]


def materialize(settings: Settings, view: str, moments: Sequence[datetime]) -> Materialized:
    """Bring online what is known of a view at the last of some moments and not yet there.

    It begins at the first moment, or earlier where the last materialization ended; the first materialization of all begins
    as far back as the view's TTL reaches, and so does the first into another online store. A row that arrived late counts
    from its arrival on. Bounded by the workspace's memory limit and resumable where ``feature_store.yaml`` names the chunked
    engine: an interval that was stopped is brought to its end first, and then what became known since.

    Args:
        moments: ascending; one of them is enough, and more are measured part by part.

    Raises:
        DeclarationError: no such view, or definitions that Feast refuses.
        NoData: its source was not ingested yet.
    """
    from pipelines.features.asof_measure import measure
    from pipelines.features.chunked_engine import first_moment, moved, note_online, read_progress
    from pipelines.features.feast_source import bound

    workspace.apply(settings)
    store = workspace.open_store(settings)
    bound(store.config.offline_store, settings)
    declared = _view(store, view)
    until = moments[-1]
    place = store.config, store.project, view
    ends = () if moved(*place) else (_utc(end) for _, end in declared.materialization_intervals)
    online = max(ends, default=None)
    since = min(moments[0], online or first_moment(declared, until))
    parts = measure(store.config, declared, (since, *moments) if len(moments) == 1 else tuple(moments))
    written = declared.online and (online is None or until >= online)
    if written:
        with workspace.registry_changes(settings), redirect_stdout(io.StringIO()):
            stopped, start = read_progress(*place), since
            if stopped is not None and start <= stopped.until < until and stopped.since <= start:
                store.materialize(stopped.since, stopped.until, feature_views=[view])
                start = stopped.until
            store.materialize(start, until, feature_views=[view])
            note_online(*place)
    return Materialized(view=view, since=since, until=until, written=written, parts=parts)


def _view(store: FeatureStore, name: str) -> FeatureView:
    views = {view.name: view for view in store.list_feature_views()}
    if name not in views:
        raise DeclarationError(
            f"feature view '{name}'",
            expected=f"one of {', '.join(sorted(views)) or 'none; none is declared'}",
            found=repr(name),
            fix="Name one of them, or declare it in features.py.",
        )
    return views[name]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
