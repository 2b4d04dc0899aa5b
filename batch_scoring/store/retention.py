"""How long versions are kept, and how they go."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from batch_scoring.declare import TableName
from batch_scoring.domain import Manifest, Release, ReleaseId, Served, VersionId
from batch_scoring.errors import StoreConflict
from batch_scoring.store.files import plain_errors, take_flock
from batch_scoring.store.layout import (
    BUILDING,
    CATALOG,
    Store,
    folder_name,
    numbers_in,
    read_current,
    read_release,
    readable_versions,
    release_folder,
    releases_folder,
    version_folder,
    version_ids,
    walk_back,
)
from batch_scoring.store.lock import locked

LEAST = 7
"""The fewest served versions that any table keeps."""


def prune(store: Store, table: TableName, *, keep: int) -> tuple[VersionId, ...]:
    """Remove versions that nobody needs any more, oldest first.

    Kept are: the ``keep`` versions that were live last, live and shadow, the newest good one, the ``keep`` newest that
    were never live, and whatever a reader of any process has open. Catalogs of earlier releases that need a removed
    version go too; their ``release.json`` stays forever.

    Returns:
        The versions that were removed.

    Raises:
        StoreConflict: fewer than seven are to be kept.
        StoreLocked, StoreUnavailable: as they say.
    """
    if keep < LEAST:
        raise StoreConflict(
            f"retention of '{table}'", expected=f"{LEAST} versions or more", found=str(keep), fix="Keep more of them."
        )
    with plain_errors(store.root), locked(store, f"prune '{table}'"):
        current = read_current(store.root)
        kept = version_ids(store.root, table)
        surplus = surplus_versions(
            kept,
            served=current.tables.get(table, Served()),
            last_live=last_live(store.root, current, table),
            manifests=readable_versions(store.root, table),
            keep=keep,
        )
        removed = tuple(version for version in surplus if _remove_version(store, table, version))
        if removed:
            store.files.sync_folder(version_folder(store.root, table, removed[0]).parent)
            _remove_catalogs(store, current)
        return removed


def surplus_versions(
    kept: Sequence[VersionId],
    *,
    served: Served,
    last_live: Sequence[VersionId],
    manifests: Sequence[Manifest],
    keep: int,
) -> tuple[VersionId, ...]:
    """Which versions may go. Pure.

    Args:
        kept: versions on disk, ascending. last_live: versions that were ever live, the latest first.
    """
    there = [version for version in last_live if version in set(kept)]
    never_live = [version for version in reversed(kept) if version not in set(last_live)]
    good = [(each.draft.as_of, each.version) for each in manifests if each.passed and each.version not in served.barred]
    needed: Collection[VersionId | None] = {
        *there[:keep],
        *never_live[:keep],
        served.live,
        served.shadow,
        max(good)[1] if good else None,
        *kept[-1:],  # so that its number is never given out again
    }
    return tuple(version for version in kept if version not in needed)


def last_live(root: Path, current: Release, table: TableName) -> tuple[VersionId, ...]:
    """Every version of a table that was ever live, the latest first."""
    lives = (release.tables[table].live for release in walk_back(root, current) if table in release.tables)
    return tuple(dict.fromkeys(live for live in lives if live is not None))


def _remove_version(store: Store, table: TableName, version: VersionId) -> bool:
    """Remove one version unless a reader holds its lease. It first loses its name, so nobody sees half of it."""
    folder = version_folder(store.root, table, version)
    handle = take_flock(folder, exclusive=True)
    if handle is None:
        return False
    try:
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
        release = read_release(store.root, ReleaseId(number))
        if not all(_is_kept(store.root, table, served) for table, served in release.tables.items()):
            store.files.remove(release_folder(store.root, release.id) / CATALOG)


def _is_kept(root: Path, table: TableName, served: Served) -> bool:
    return all(version is None or version_folder(root, table, version).is_dir() for version in (served.live, served.shadow))
