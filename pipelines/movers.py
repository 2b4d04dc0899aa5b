"""The list behind the gate ``biggest_movers``: read from two stored versions, and kept nowhere.

A manifest never names an entity, so that an erasure need not look into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_scoring.declare import TableName
from batch_scoring.domain import PREDICTIONS, VersionId
from batch_scoring.errors import UnknownVersion

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Movers:
    """Who moved. ``moves``: as :func:`pipelines.against_live.moves`, the farthest first."""

    version: VersionId
    against: VersionId
    moves: pl.DataFrame


def biggest_movers(root: Path, table: TableName, version: int | None, against: int | None, top: int) -> Movers:
    """Compare a kept version, by default the newest, with another, by default the live one or the one kept before it.

    Raises:
        UnknownVersion: one of them is not kept, or there is nothing to compare with.
    """
    import polars as pl

    from batch_scoring.store import Reader, version_folder
    from pipelines.against_live import moves, read_scores

    snapshot = Reader(root).snapshot()
    kept = {manifest.version: manifest for manifest in snapshot.versions(table)}
    now = VersionId(max(kept, default=0) if version is None else version)
    live = snapshot.served(table).live
    earlier = max((number for number in kept if number < now), default=None)
    then = VersionId(against) if against is not None else (live if live is not None and live != now else earlier)
    if now not in kept or then is None or then not in kept:
        missing = now if now not in kept else then
        raise UnknownVersion(
            f"version {missing or 'to compare with'} of '{table}'",
            expected=f"one of {', '.join(map(str, sorted(kept))) or 'none'}",
            fix=f"See what is kept with 'foretable versions {table}'.",
        )
    keys = kept[now].draft.entity.key_names
    before, after = (read_scores(version_folder(root, table, number) / PREDICTIONS, keys) for number in (then, now))
    found = moves(before, after, keys)
    farthest = found.sort(pl.col("moved").abs(), *keys, descending=[True, *(False for _ in keys)]).head(top)
    return Movers(version=now, against=then, moves=farthest)
