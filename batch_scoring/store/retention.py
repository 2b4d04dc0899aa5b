"""How long versions are kept, and how they go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batch_scoring.declare import LEAST_VERSIONS, Retention, TableName
from batch_scoring.domain import Manifest, Release, ReleaseId, Served, VersionId
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store.files import plain_errors, take_flock
from batch_scoring.store.layout import (
    BUILDING,
    CATALOG,
    Store,
    folder_name,
    last_live,
    numbers_in,
    read_release,
    read_sound_current,
    readable_versions,
    release_folder,
    releases_folder,
    version_folder,
    version_ids,
)
from batch_scoring.store.lock import locked

_NO_LIMIT = sys.maxsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune removed, or would remove.

    Attributes:
        versions: oldest first. bytes: of files that no kept version shares.
        leased: versions that would have gone, had a reader not had them open.
    """

    versions: tuple[VersionId, ...]
    bytes: int
    leased: tuple[VersionId, ...]


def prune(store: Store, table: TableName, keep: Retention | None = None, *, dry_run: bool = False) -> Pruned:
    """Remove versions that nobody needs any more, oldest first.

    Kept are: what :func:`surplus_versions` protects, and whatever a reader of any process has open. Catalogs of earlier
    releases that need a removed version go too; their ``release.json`` stays forever. The connection of an analyst to an
    earlier release's catalog is no lease.

    Args:
        keep: the limits; by default the least that the store promises. dry_run: remove nothing, say what would go.

    Raises:
        StoreCorrupt: the current release is not what was written, so nobody knows what to keep.
        StoreLocked, StoreUnavailable: as they say.
    """
    with plain_errors(store.root), locked(store, f"prune '{table}'"):
        current = read_sound_current(store.root)
        kept = version_ids(store.root, table)
        surplus = surplus_versions(
            kept,
            served=current.tables.get(table, Served()),
            last_live=last_live(current, table),
            manifests=readable_versions(store.root, table),
            keep=keep or Retention(),
            sizes={version: sum(_sizes(version_folder(store.root, table, version))) for version in kept},
        )
        sizes = {version: sum(_sizes(version_folder(store.root, table, version), shared=False)) for version in surplus}
        removed = tuple(version for version in surplus if _remove_version(store, table, version, dry_run=dry_run))
        if removed and not dry_run:
            store.files.sync_folder(version_folder(store.root, table, removed[0]).parent)
            _remove_catalogs(store, current)
        return Pruned(
            versions=removed,
            bytes=sum(sizes[version] for version in removed),
            leased=tuple(version for version in surplus if version not in removed),
        )


def surplus_versions(
    kept: Sequence[VersionId],
    *,
    served: Served,
    last_live: Sequence[VersionId],
    manifests: Sequence[Manifest],
    keep: Retention,
    sizes: Mapping[VersionId, int],
) -> tuple[VersionId, ...]:
    """Which versions may go. Pure.

    Protected are live and shadow, the newest good one by as-of, the newest by number, and of those that were ever live and
    of those that never were, the seven latest and then as many as are within every limit.

    Args:
        kept: versions on disk, ascending. last_live: versions that were ever live, the latest first. sizes: bytes of each.
    """
    there = [version for version in last_live if version in set(kept)]
    never_live = [version for version in reversed(kept) if version not in set(last_live)]
    good = [(each.draft.as_of, each.version) for each in manifests if each.passed and each.version not in served.barred]
    needed: set[VersionId | None] = {
        *there[:LEAST_VERSIONS],
        *never_live[:LEAST_VERSIONS],
        served.live,
        served.shadow,
        max(good)[1] if good else None,
        *kept[-1:],  # so that its number is never given out again
    }
    most = keep.versions or (LEAST_VERSIONS if keep.days is None and keep.bytes is None else _NO_LIMIT)
    as_of = {each.version: each.draft.as_of for each in manifests}
    left = (keep.bytes or _NO_LIMIT) - sum(sizes[version] for version in kept if version in needed)
    for version in (*there[LEAST_VERSIONS:most], *never_live[LEAST_VERSIONS:most]):
        if version in needed or _is_older(as_of, version, keep.days):
            continue
        left -= sizes[version]
        if left < 0:
            break
        needed.add(version)
    return tuple(version for version in kept if version not in needed)


def _is_older(as_of: Mapping[VersionId, datetime], version: VersionId, days: int | None) -> bool:
    """Whether a version speaks for a day so long before the newest one; one that cannot be read does."""
    if days is None:
        return False
    return version not in as_of or (max(as_of.values()) - as_of[version]).days >= days


def _sizes(folder: Path, *, shared: bool = True) -> Iterator[int]:
    """Bytes of each file of a version; on request only of those that no other version shares."""
    for path in folder.iterdir():
        found = path.stat()
        if shared or found.st_nlink == 1:
            yield found.st_size


def _remove_version(store: Store, table: TableName, version: VersionId, *, dry_run: bool) -> bool:
    """Remove one version unless a reader holds its lease. It first loses its name, so nobody sees half of it."""
    folder = version_folder(store.root, table, version)
    handle = take_flock(folder, exclusive=True)
    if handle is None:
        return False
    try:
        if dry_run:
            return True
        doomed = folder.with_name(f"{BUILDING}{folder.name}")
        store.files.rename(folder, doomed)
        store.files.sync_folder(folder.parent)  # or a power cut could bring the name back with half of its files
        store.files.remove_tree(doomed)
    finally:
        os.close(handle)
    return True


def _remove_catalogs(store: Store, current: Release) -> None:
    """Remove the catalogs of earlier releases that serve a version which is gone."""
    for number in numbers_in(releases_folder(store.root)):
        catalog = releases_folder(store.root) / folder_name(number) / CATALOG
        if number == current.id or not catalog.exists():
            continue
        try:
            release = read_release(store.root, ReleaseId(number))
        except StoreCorrupt:  # what it serves is not known any more; 'foretable verify' reports it
            continue
        if not all(_is_kept(store.root, table, served) for table, served in release.tables.items()):
            store.files.remove(release_folder(store.root, release.id) / CATALOG)


def _is_kept(root: Path, table: TableName, served: Served) -> bool:
    return all(version is None or version_folder(root, table, version).is_dir() for version in (served.live, served.shadow))
