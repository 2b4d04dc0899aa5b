"""Proving that a store holds what it promises, and putting it back in order.

:func:`verify` only reads. :func:`repair` removes rubbish and rebuilds what can be derived; it never touches a version
that is served.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from batch_scoring.codec import to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.domain import MANIFEST, Release, ReleaseId, VersionId
from batch_scoring.errors import NotFound, StoreCorrupt, StoreError
from batch_scoring.store.build import digest, seal
from batch_scoring.store.files import identity, no_store, plain_errors, unless_busy
from batch_scoring.store.layout import (
    BUILDING,
    CATALOG,
    CURRENT,
    DAMAGED,
    ERASED,
    ERASED_NEXT,
    LOCK,
    NEXT,
    RELEASE,
    RELEASES,
    SUMS,
    TABLES,
    VERSIONS,
    Store,
    folder_name,
    is_table_name,
    number_in,
    numbers_in,
    read_current,
    read_manifest,
    read_sound_current,
    read_sound_release,
    read_sums,
    read_target,
    release_folder,
    release_of,
    releases_folder,
    table_names,
    version_folder,
    version_ids,
    versions_folder,
    walk_back,
)
from batch_scoring.store.lock import held
from batch_scoring.store.tombstones import read_tombstones, tombstones_file

STATE = "state.db"
"""What people wrote, beside the versions; not this module's to judge."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        path: relative to the store. harmless: rubbish that ``repair`` removes and no reader ever sees.
    """

    path: str
    problem: str
    fix: str
    harmless: bool = False


_REPAIR = "Run 'foretable repair'."


def verify(store: Store, progress: Progress | None = None) -> tuple[Finding, ...]:
    """Re-hash every file and follow every pointer. Reads only; publishes may go on meanwhile.

    Args:
        progress: told the name of each file that is about to be checked; :func:`count_files` says how many there will be.

    Raises:
        StoreUnavailable: there is no store, or it cannot be read.
    """
    root = store.root
    with plain_errors(root):
        if not (root / RELEASES).is_dir():
            raise no_store(root)
        say = progress or (lambda _: None)
        names = _lasting(lambda: (*_check_pointer(root), *_check_names(root)))
        return (*names, *_check_releases(root, say), *_check_versions(root, say))


_MOMENT = 0.02
"""Seconds, longer than a name that is on its way to another one lasts."""


def _lasting(check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """What is found a moment later still: a publish may have been between two of its steps at first."""
    found = check()
    if not found:
        return ()
    time.sleep(_MOMENT)
    again = check()
    return tuple(finding for finding in found if finding in again)


def count_files(store: Store) -> int:
    """About how many files :func:`verify` is going to check."""
    total = 0
    for folder in (*store.root.glob(f"{RELEASES}/[0-9]*"), *store.root.glob(f"{TABLES}/*/{VERSIONS}/[0-9]*")):
        with suppress(FileNotFoundError, NotADirectoryError):  # pruned meanwhile, or a stranger
            total += len(os.listdir(folder)) - 1  # noqa: PTH208 -- all but the checksums themselves
    return total


def _check_pointer(root: Path) -> Iterator[Finding]:
    if not os.path.lexists(root / CURRENT):
        yield Finding(path=CURRENT, problem="there is no pointer to the current release", fix=_REPAIR)
        return
    try:
        release = read_current(root)
    except (StoreError, OSError) as error:
        yield Finding(path=CURRENT, problem=f"does not lead to a release ({error})", fix=_REPAIR)
        return
    for table, served in release.tables.items():
        for channel, version in (("live", served.live), ("shadow", served.shadow)):
            if version is not None and not version_folder(root, table, version).is_dir():
                path = str(version_folder(root, table, version).relative_to(root))
                yield Finding(path=path, problem=f"the {channel} version is missing", fix=_rollback(table))


def _rollback(table: str) -> str:
    return f"Roll back with 'foretable rollback {table} --reason …'."


def _check_names(root: Path) -> Iterator[Finding]:
    """Names that the store did not give."""
    known = {CURRENT, LOCK, RELEASES, TABLES}
    for path in sorted(root.iterdir()):
        if path.name == NEXT:
            yield _rubbish(root, path)
        elif path.name not in known and not path.name.startswith(STATE):
            yield _foreign(root, path)
    yield from _check_folder_names(root, releases_folder(root))
    for path in sorted((root / TABLES).iterdir()):
        if not is_table_name(path.name) or not path.is_dir():
            yield _foreign(root, path)
            continue
        for inner in sorted(path.iterdir()):
            if inner.name == ERASED_NEXT:
                yield _rubbish(root, inner)
            elif inner.name not in (VERSIONS, ERASED):
                yield _foreign(root, inner)
        yield from _check_tombstones(root, TableName(path.name))
        yield from _check_folder_names(root, path / VERSIONS)


def _check_tombstones(root: Path, table: TableName) -> Iterator[Finding]:
    try:
        read_tombstones(root, table)
    except StoreCorrupt as error:
        yield Finding(path=str(tombstones_file(root, table).relative_to(root)), problem=str(error), fix=error.fix)


def _check_folder_names(root: Path, parent: Path) -> Iterator[Finding]:
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        if number_in(path.name, BUILDING) is not None:
            with unless_busy(path) as left:
                if left:
                    yield _rubbish(root, path)
        elif parent.name == RELEASES and number_in(path.name, DAMAGED) is not None:
            yield Finding(path=str(path.relative_to(root)), problem=_ASIDE, fix=_LOOK)
        elif number_in(path.name) is None:
            yield _foreign(root, path)


_ASIDE = "a release that could not be read any more, put aside by a repair that went back to the one before"
_LOOK = "See that the right versions are live and barred; publish or roll back what is not, then move this out of the store."


def _rubbish(root: Path, path: Path) -> Finding:
    return Finding(
        path=str(path.relative_to(root)),
        problem="left over by a process that did not finish; nothing reads it",
        fix="Run 'foretable repair' to remove it.",
        harmless=True,
    )


def _foreign(root: Path, path: Path) -> Finding:
    return Finding(path=str(path.relative_to(root)), problem="the store did not put it there", fix="Move it out of the store.")


def _check_releases(root: Path, say: Progress) -> Iterator[Finding]:
    there = numbers_in(releases_folder(root))  # before the chain, so that one which is made meanwhile is in neither
    try:
        chain = tuple(release.id for release in walk_back(root, read_current(root)))
    except (StoreError, OSError):
        chain = ()
    for number in there:
        release = ReleaseId(number)
        folder = release_folder(root, release)
        if chain and number > chain[0]:
            with unless_busy(folder) as left:
                if left and number > (_named(root) or 0):  # else it was finished just now
                    yield _rubbish(root, folder)
            continue
        fix = "Run 'foretable repair' to restore it." if number in chain[:1] else "Restore it from a backup."
        for finding in _check_sums(root, folder, (RELEASE, CATALOG), fix, say):
            gone = finding.path.endswith(CATALOG) and finding.problem == _MISSING
            if not gone or number == _named(root):  # that of an earlier release is pruned with its versions
                yield finding
    if chain and chain[-1] != 1:
        path = str(release_folder(root, chain[-1]).relative_to(root))
        yield Finding(
            path=path, problem="the release before it cannot be read, so history ends here", fix="Restore it from a backup."
        )


def _check_versions(root: Path, say: Progress) -> Iterator[Finding]:
    for table in table_names(root):
        for version in version_ids(root, table):
            folder = version_folder(root, table, version)
            found: tuple[Finding, ...] = ()
            now = identity(folder)
            while now is not None:
                with suppress(FileNotFoundError, NotFound):
                    found = tuple(_check_version(root, table, version, say))
                before, now = now, identity(folder)
                if now == before:
                    yield from found
                    break  # else it was pruned, or an erasure put another in its place


def _check_version(root: Path, table: TableName, version: VersionId, say: Progress) -> Iterator[Finding]:
    folder = version_folder(root, table, version)
    try:
        manifest = read_manifest(root, table, version)
    except StoreCorrupt as error:
        yield Finding(path=str(folder.relative_to(root)), problem=str(error), fix=_rollback(table))
        return
    names = (MANIFEST, *(fact.name for fact in manifest.files))
    yield from _check_sums(root, folder, names, _rollback(table), say)
    recorded = read_sums(folder)
    for fact in manifest.files:
        if recorded.get(fact.name, fact.sha256) != fact.sha256:
            path = str((folder / fact.name).relative_to(root))
            yield Finding(path=path, problem=f"manifest and {SUMS} disagree about it", fix=_rollback(table))


_MISSING = "is missing"


def _check_sums(root: Path, folder: Path, names: tuple[str, ...], fix: str, say: Progress) -> Iterator[Finding]:
    """Compare a finished folder with its checksums, byte for byte, and with the names that belong there."""

    def finding(name: str, problem: str) -> Finding:
        return Finding(path=str((folder / name).relative_to(root)), problem=problem, fix=fix)

    recorded = read_sums(folder)
    for name in names:
        path = folder / name
        say(str(path.relative_to(root)))
        try:
            found, size = digest(path), path.stat().st_size
        except FileNotFoundError:  # perhaps just now
            yield finding(name, _MISSING)
            continue
        if name not in recorded:
            yield finding(SUMS, f"holds no checksum of {name}")
        elif found != recorded[name]:
            yield finding(name, f"does not have the recorded checksum (now {size:,} bytes)")
    for path in sorted(folder.iterdir()):
        if path.name not in (*names, SUMS):
            yield _foreign(root, path)


def repair(store: Store, *, force: bool = False) -> tuple[str, ...]:
    """Remove rubbish, restore the pointer, the record and the catalog of the current release.

    An erasure that was cut short is carried through. Otherwise never touches a version or a release that was acknowledged.

    Args:
        force: when the record of the current release is lost for good, put it aside and go back to the newest whole one
            before it. What was published, rolled back and barred since is lost then.

    Returns:
        What was done, one sentence each.

    Raises:
        StoreUnavailable: there is no store, or it cannot be written.
        StoreCorrupt: no release is left that could be served; or only an earlier one, and this is not forced.
        StoreLocked: somebody is publishing.
    """
    root = store.root
    with plain_errors(root):
        if not (root / RELEASES).is_dir():
            raise no_store(root)
        with held(store, "repair the store"):
            return (
                *_restore_release(store, force=force),
                *_remove_rubbish(store),
                *_restore_catalog(store),
                *_finish_erasures(store),
            )


def _restore_release(store: Store, *, force: bool) -> Iterator[str]:
    """Let ``current`` lead to a release that is what was written."""
    from batch_scoring.store.recovery import rebuilt_release
    from batch_scoring.store.releases import flip

    root = store.root
    with suppress(StoreError, OSError):
        read_sound_current(root)
        return
    there = tuple(ReleaseId(number) for number in reversed(numbers_in(releases_folder(root))))
    named = _named(root)
    candidates = tuple(release for release in there if named is None or named not in there or release <= named)
    whole = [release for release in candidates if _is_sound(root, release)]
    newest = next(iter(candidates), None)
    if newest is not None and newest not in whole:
        rebuilt = rebuilt_release(root, newest)
        if rebuilt is not None:
            _write_anew(store, rebuilt)
            whole.insert(0, newest)
            yield f"restored the record of release {newest} from its catalog and the release before it."
    if not whole:
        raise StoreCorrupt(
            f"store {root}", expected="at least one whole release", found="none", fix="Restore the store from a backup."
        )
    lost = [release for release in candidates if release > whole[0]]
    if lost and not force:
        raise StoreCorrupt(
            f"release {lost[0]}",
            expected="a record with its checksum, or a catalog that tells what it was",
            found="neither",
            fix=f"Restore {release_folder(root, lost[0])} from a backup, or go back to release {whole[0]} with "
            "'foretable repair --force': what was published, rolled back and barred since is lost then.",
        )
    for release in reversed(lost):  # before the flip: it must never look like one that was not acknowledged
        folder = release_folder(root, release)
        store.files.rename(folder, folder.with_name(f"{DAMAGED}{folder.name}"))
        yield f"put release {release}, which cannot be read, aside; what was barred in it is not any more."
    store.files.sync_folder(releases_folder(root))
    if named != whole[0]:
        flip(store.files, root, release_folder(root, whole[0]))
        store.files.sync_folder(root)
        yield f"current points at release {whole[0]} again."


def _named(root: Path) -> ReleaseId | None:
    """The release that ``current`` names, whether it is there or not; None if it names none."""
    try:
        return release_of(root, read_target(root))
    except (StoreError, OSError):
        return None


def _is_sound(root: Path, release: ReleaseId) -> bool:
    try:
        read_sound_release(root, release)
    except StoreCorrupt:
        return False
    return True


def _holds(root: Path, release: ReleaseId, name: str) -> bool:
    """Whether one file of a release has its recorded checksum."""
    path = release_folder(root, release) / name
    return path.exists() and read_sums(path.parent).get(name) == digest(path)


def _remove_rubbish(store: Store) -> Iterator[str]:
    root = store.root
    current = read_current(root)
    doomed = [root / NEXT] if os.path.lexists(root / NEXT) else []
    doomed += [release_folder(root, ReleaseId(number)) for number in numbers_in(releases_folder(root)) if number > current.id]
    for parent in (releases_folder(root), *(versions_folder(root, table) for table in table_names(root))):
        doomed += [parent / f"{BUILDING}{folder_name(number)}" for number in numbers_in(parent, BUILDING)]
    doomed += sorted((root / TABLES).glob(f"*/{ERASED_NEXT}"))
    for path in doomed:
        with unless_busy(path) if path.name.startswith(BUILDING) else nullcontext(True) as left:
            if left:
                store.files.remove_tree(path)
                store.files.sync_folder(path.parent)
                yield f"removed {path.relative_to(root)}."


def _restore_catalog(store: Store) -> Iterator[str]:
    current = read_sound_current(store.root)
    if not _holds(store.root, current.id, CATALOG):
        _write_anew(store, current)
        yield f"rebuilt the catalog of release {current.id}."


def _write_anew(store: Store, release: Release) -> None:
    """Put record, catalog and checksums of a release in the place of damaged ones."""
    from batch_scoring.store.catalog import write_catalog

    folder = release_folder(store.root, release.id)
    aside = folder.with_name(f"{BUILDING}{folder.name}")
    store.files.remove_tree(aside)
    store.files.make_folder(aside)
    store.files.write(aside / RELEASE, to_pretty_json(release))
    store.files.produce(aside / CATALOG, lambda path: write_catalog(path, store.root, release))
    seal(store.files, aside, (), RELEASE, CATALOG)
    for name in (RELEASE, CATALOG, SUMS):  # the record first: the old catalog is what proves it
        store.files.replace(aside / name, folder / name)
    store.files.sync_folder(folder)
    store.files.remove_tree(aside)


def _finish_erasures(store: Store) -> Iterator[str]:
    from batch_scoring.store.erasure import settle

    for table in table_names(store.root):
        before = read_current(store.root).id
        try:
            tombstones = read_tombstones(store.root, table)
            if tombstones is None:
                continue
            done = settle(store, table, tombstones)
        except StoreCorrupt as error:
            yield f"could not finish the erasures from '{table}': {error}"
            continue
        if done.release != before:
            touched = f"{done.rows:,} rows of {len(done.versions)} versions"
            yield f"finished an erasure from '{table}': {touched}, release {done.release}."
