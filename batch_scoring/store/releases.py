"""Changing what is live: one release and one flip, under a lock, compared with what was there.

:func:`publish` and :func:`rollback` decide on values first (:func:`_admit`, :func:`_target`) and then commit through
:func:`commit`, the only function that moves ``current``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from batch_scoring.codec import to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.domain import Action, Channel, Manifest, Release, ReleaseId, Served, VersionId
from batch_scoring.errors import GateFailed, StoreConflict, StoreCorrupt, StoreUnavailable, UnknownVersion
from batch_scoring.store.build import seal
from batch_scoring.store.files import Files, hold_folder, plain_errors
from batch_scoring.store.layout import (
    BUILDING,
    CATALOG,
    CURRENT,
    DAMAGED,
    NEXT,
    RELEASE,
    RELEASES,
    TABLES,
    Store,
    check_version,
    folder_name,
    has_its_files,
    last_live,
    numbers_in,
    read_current,
    read_manifest,
    read_sound_current,
    read_sound_release,
    release_folder,
    releases_folder,
    table_names,
    version_folder,
    versions_folder,
)
from batch_scoring.store.lock import held, locked


def create_store(store: Store, *, who: str, when: datetime) -> Release:
    """Make an empty store with release 1, or return the current release of one that is there.

    Raises:
        StoreUnavailable: the folder cannot be written.
        StoreLocked: somebody else is creating or publishing.
    """
    root = store.root
    if "?" in str(root.absolute()):  # DuckDB would put its log elsewhere: it takes the rest for a URL's query
        raise StoreUnavailable(f"store {root}", expected="a path without '?'", found=str(root), fix="Choose another folder.")
    with plain_errors(root):
        if (root / CURRENT).is_symlink():
            return read_current(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        for folder in (root, root / RELEASES, root / TABLES):
            store.files.ensure_folder(folder)
        with held(store, "create the store"):
            if (root / CURRENT).is_symlink():
                store.files.sync_folder(root)
                return read_current(root)
            _clear_way(store)
            first = Release(
                id=ReleaseId(1), previous=None, tables={}, action=Action(kind="create"), who=who, when=when, why="the empty store"
            )
            return commit(store, first)


def _clear_way(store: Store) -> None:
    """Remove a first release that was written but never pointed at; refuse if there is more than that to lose."""
    releases = numbers_in(releases_folder(store.root))
    if releases[1:] or table_names(store.root):
        raise StoreCorrupt(
            f"store {store.root}", expected=f"a link '{CURRENT}'", found="releases but no link", fix="Run 'foretable repair'."
        )
    for number in releases:
        store.files.remove_tree(release_folder(store.root, ReleaseId(number)))


def publish(
    store: Store,
    table: TableName,
    version: VersionId,
    *,
    who: str,
    when: datetime,
    why: str,
    expected: ReleaseId | None = None,
    channel: Channel = "live",
    scheduled: bool = False,
    force: bool = False,
) -> Release:
    """Make a stored version live (or the shadow) in a new release. One that is so already changes nothing.

    Args:
        expected: refuse if the current release is another one.
        scheduled: nobody is watching: refuse what is not newer (as-of) than the live version.
        force: lift the bar of a version that was rolled back; needs a reason. It never passes a failed gate.

    Returns:
        The release that serves it, durable on disk.

    Raises:
        UnknownTable, UnknownVersion: it was never built, or is no longer kept.
        GateFailed: it is unjudged or failed a gate. Live is untouched.
        StoreConflict: not the expected release; barred; not newer; force without a reason.
        StoreCorrupt: its files are not what its manifest says.
        StoreLocked, StoreUnavailable: as they say.
    """
    _warm_up()
    with plain_errors(store.root), locked(store, f"publish version {version} of '{table}'"):
        current = read_sound_current(store.root)
        _require_expected(current, expected)
        served = current.tables.get(table, Served())
        if version == (served.live if channel == "live" else served.shadow):
            store.files.sync_folder(store.root)  # the flip may have been somebody's last act before a failed fsync
            return current
        manifest = read_manifest(store.root, table, version)
        _admit(manifest, served, why=why, force=force)
        if scheduled:
            _require_newer(store.root, manifest, served)
        check_version(store.root, manifest)
        store.files.sync_folder(versions_folder(store.root, table))  # its builder may have died before doing so
        after = after_publish(served, version, channel)
        before = served.live if channel == "live" else served.shadow
        action = Action(kind="publish", table=table, channel=channel, from_version=before, to_version=version)
        return commit(store, _next(store, current, table, after, action, who=who, when=when, why=why))


def rollback(
    store: Store,
    table: TableName,
    *,
    to: VersionId | None = None,
    who: str,
    when: datetime,
    why: str,
    expected: ReleaseId | None = None,
) -> Release:
    """Serve an earlier good version again, and bar the one that is live from scheduled publishes.

    The files of the version rolled back from are not looked at, so this works when they are corrupt.

    Args:
        to: a kept version that passed its gates; by default the one that was live before this one, leaving out barred,
            pruned and damaged ones. Naming the version that is live already changes nothing.
        expected: refuse if the current release is another one, unless that is this very rollback, made already: so it
            may be tried again when its answer was lost.

    Raises:
        UnknownTable, UnknownVersion: nothing is live; ``to`` is not kept; nothing is left to roll back to.
        StoreConflict: not the expected release; ``to`` is barred.
        GateFailed: ``to`` is unjudged or failed a gate.
        StoreCorrupt: the files of ``to`` are not what its manifest says.
        StoreLocked, StoreUnavailable: as they say.
    """
    _warm_up()
    with plain_errors(store.root), locked(store, f"roll back '{table}'"):
        current = read_sound_current(store.root)
        if _is_done(current, table, to, expected):
            store.files.sync_folder(store.root)  # the flip may have been somebody's last act before a failed fsync
            return current
        _require_expected(current, expected)
        served = current.tables.get(table, Served())
        if served.live is None:
            raise UnknownVersion(
                f"rollback of '{table}'",
                expected="a live version",
                found="none",
                fix="Publish a version first; see 'foretable versions'.",
            )
        if to == served.live:
            store.files.sync_folder(store.root)
            return current
        target = _target(store.root, current, table, served, to)
        after = after_rollback(served, target)
        action = Action(kind="rollback", table=table, from_version=served.live, to_version=target)
        return commit(store, _next(store, current, table, after, action, who=who, when=when, why=why))


def _warm_up() -> None:
    """Load and start DuckDB before the lock is taken: in a fresh process that takes longer than a flip."""
    from batch_scoring.store.catalog import engine

    engine(os.getpid())


def commit(store: Store, release: Release) -> Release:
    """Write a release folder, make it durable and flip ``current`` to it. The caller holds the lock.

    When this returns, the release survives a power cut. When it raises, ``current`` still names the release before,
    unless the very last step, making the flip durable, is what failed. The folder is flocked until then, which is how
    ``verify`` tells work in progress from what a killed process left.

    Raises:
        StoreCorrupt: the release before is not what was written: what it says must not be carried on under new checksums.
    """
    from batch_scoring.store.catalog import write_catalog

    files, parent = store.files, releases_folder(store.root)
    building, folder = parent / f"{BUILDING}{folder_name(release.id)}", release_folder(store.root, release.id)
    if release.previous is not None:
        read_sound_release(store.root, release.previous)
    with ExitStack() as held_until_the_end:
        try:
            files.remove_tree(building)  # of a publish that was killed: the lock says nobody is writing it
            files.make_folder(building)
            handle = hold_folder(building)
            assert handle is not None  # only a repair could have removed it, and a repair takes the store's lock
            held_until_the_end.callback(os.close, handle)
            files.write(building / RELEASE, to_pretty_json(release))
            files.produce(building / CATALOG, lambda path: write_catalog(path, store.root, release))
            seal(files, building, (), RELEASE, CATALOG)
            files.rename(building, folder)
            files.sync_folder(parent)
            flip(files, store.root, folder)
        except BaseException:
            _undo(store, building, folder)
            raise
        files.sync_folder(store.root)
    return release


def flip(files: Files, root: Path, folder: Path) -> None:
    """Point ``current`` at a release folder in one atomic step. Durable once ``root`` is synced."""
    link = root / NEXT
    if link.is_symlink():
        files.remove(link)
    files.link(link, f"{RELEASES}/{folder.name}")
    files.replace(link, root / CURRENT)


def _undo(store: Store, building: Path, folder: Path) -> None:
    """Best effort after a failure before the flip; ``repair`` finishes what this cannot."""
    try:
        if (store.root / CURRENT).is_symlink() and (store.root / CURRENT).resolve() == folder.resolve():
            return
        for left in (store.root / NEXT, building, folder):
            store.files.remove_tree(left)
    except OSError:
        return


def _next(
    store: Store, current: Release, table: TableName, served: Served, action: Action, *, who: str, when: datetime, why: str
) -> Release:
    tables: Mapping[TableName, Served] = {**current.tables, table: served}
    lives = lives_after(current, table, served, lambda version: version_folder(store.root, table, version).is_dir())
    number = next_release(store.root, current)
    return Release(id=number, previous=current.id, tables=tables, action=action, who=who, when=when, why=why, lives=lives)


def lives_after(
    current: Release, table: TableName, served: Served, is_kept: Callable[[VersionId], bool]
) -> Mapping[TableName, tuple[VersionId, ...]]:
    """:attr:`Release.lives` of the release in which ``served`` comes after the current one."""
    kept = (version for version in last_live(current, table) if is_kept(version))
    return {**current.lives, table: tuple(dict.fromkeys(each for each in (served.live, *kept) if each is not None))}


def next_release(root: Path, current: Release) -> ReleaseId:
    """The number after the current one that no folder has: a publish may have been killed just before its flip, a damaged
    release have been put aside."""
    number = current.id + 1
    while any((releases_folder(root) / f"{prefix}{folder_name(number)}").exists() for prefix in ("", DAMAGED)):
        number += 1
    return ReleaseId(number)


def after_rollback(served: Served, version: VersionId) -> Served:
    """What is served of a table once ``version`` is live again, and the one before it barred."""
    assert served.live is not None
    return replace(served, live=version, barred=tuple(sorted({*served.barred, served.live})))


def after_publish(served: Served, version: VersionId, channel: Channel) -> Served:
    """What is served of a table once ``version`` is in a channel."""
    barred = tuple(number for number in served.barred if number != version)
    if channel == "shadow":
        return replace(served, shadow=version, barred=barred)
    return Served(live=version, shadow=None if served.shadow == version else served.shadow, barred=barred)


def _is_done(current: Release, table: TableName, to: VersionId | None, expected: ReleaseId | None) -> bool:
    """Whether the current release is the rollback that was asked for of the expected one."""
    action = current.action
    asked = ("rollback", table) == (action.kind, action.table) and to in (None, action.to_version)
    return asked and expected is not None and expected == current.previous


def _require_expected(current: Release, expected: ReleaseId | None) -> None:
    if expected is not None and expected != current.id:
        raise StoreConflict(
            "publish",
            expected=f"release {expected}",
            found=f"{current.id}",
            fix="Somebody published first: look at it and run this again.",
        )


def _admit(manifest: Manifest, served: Served, *, why: str, force: bool) -> None:
    """Refuse a version that must not be served."""
    _require_gates(manifest)
    subject = f"version {manifest.version} of '{manifest.draft.table}'"
    if force and not why.strip():
        raise StoreConflict(subject, expected="a reason for --force", found="none", fix="Say why with --reason.")
    if manifest.version in served.barred and not force:
        raise StoreConflict(
            subject,
            expected="a version that was not rolled back",
            found="one that was",
            fix=f"Lift the bar with 'foretable publish {manifest.draft.table} {manifest.version} --force --reason …'.",
        )


def _require_gates(manifest: Manifest) -> None:
    subject = f"version {manifest.version} of '{manifest.draft.table}'"
    gates = manifest.draft.gates
    if not gates:
        raise GateFailed(
            subject, expected="the verdicts of its gates", found="none", fix="Judge it before it is published; live is untouched."
        )
    failed = [gate for gate in gates if gate.stops]
    if failed:
        seen = "; ".join(
            f"{gate.gate} (observed {_number(gate.observed)}, limit {gate.limit:g}): {gate.message}" for gate in failed
        )
        raise GateFailed(
            subject, expected="every gate passed", found=seen, fix="Live is untouched; correct the data or the gate."
        )


def _number(observed: float | None) -> str:
    return "nothing" if observed is None else f"{observed:.6g}"


def _require_newer(root: Path, manifest: Manifest, served: Served) -> None:
    """Refuse what does not speak for a later moment than the live version and every one that was rolled back.

    Without the latter, the same run made again would bring back under a new number what somebody took down.
    """
    table = manifest.draft.table
    earlier = [as_of for version in (served.live, *served.barred) if (as_of := _as_of(root, table, version)) is not None]
    if earlier and manifest.draft.as_of <= max(earlier):
        raise StoreConflict(
            f"scheduled publish of version {manifest.version} of '{table}'",
            expected=f"an as-of after {max(earlier):%Y-%m-%d %H:%M} UTC, the latest that is live or was rolled back",
            found=f"{manifest.draft.as_of:%Y-%m-%d %H:%M} UTC",
            fix=f"Publish it by hand with 'foretable publish {table} {manifest.version} --reason …' if it shall be live.",
        )


def _as_of(root: Path, table: TableName, version: VersionId | None) -> datetime | None:
    if version is None:
        return None
    try:
        return read_manifest(root, table, version).draft.as_of
    except (UnknownVersion, StoreCorrupt):
        return None  # a damaged version must not keep a good new one out; a pruned one is older than all that is kept


def _target(root: Path, current: Release, table: TableName, served: Served, to: VersionId | None) -> VersionId:
    """The version to roll back to."""
    if to is None:
        for version in last_live(current, table):
            if version != served.live and version not in served.barred and _is_whole(root, table, version):
                return version
        raise UnknownVersion(
            f"rollback of '{table}'",
            expected=f"an earlier good version than {served.live}",
            found="none that is kept, whole and not barred",
            fix="See 'foretable versions'; name one with --to, or publish one with --force.",
        )
    manifest = read_manifest(root, table, to)
    command = f"Use 'foretable publish {table} {to} --force --reason …' if you mean it."
    if to in served.barred:
        raise StoreConflict(
            f"rollback of '{table}' to {to}", expected="a version that was not rolled back", found="one that was", fix=command
        )
    _require_gates(manifest)
    check_version(root, manifest)
    return to


def _is_whole(root: Path, table: TableName, version: VersionId) -> bool:
    try:
        manifest = read_manifest(root, table, version)
    except (UnknownVersion, StoreCorrupt):
        return False
    return manifest.passed and has_its_files(root, manifest)
