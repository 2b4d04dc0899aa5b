"""Taking a staged version over: sorted, indexed, hashed, fsynced, renamed. Then it never changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path

from batch_scoring.codec import to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.domain import (
    EXPLANATION_INDEX,
    EXPLANATIONS,
    FEATURES,
    INDEX,
    MANIFEST,
    MODEL,
    PREDICTIONS,
    FileFact,
    Manifest,
    Staged,
    VersionId,
)
from batch_scoring.errors import StoreUnavailable
from batch_scoring.store.files import Files, hold_folder, plain_errors
from batch_scoring.store.index import write_index
from batch_scoring.store.layout import (
    BUILDING,
    SUMS,
    Store,
    folder_name,
    is_table_name,
    numbers_in,
    read_current,
    readable_versions,
    unknown_table,
    version_folder,
    versions_folder,
)
from batch_scoring.store.lock import locked
from batch_scoring.store.tombstones import Tombstones, read_tombstones

SPILL = "spill"
_GROWTH = 6
"""Stored bytes for each staged one, indexes and spilled sorting included, when no version tells better: generous."""
_PATIENCE = 600.0
"""Seconds to wait for the lock at the end of a build: an erasure holds it for minutes, and the work of hours is at stake."""
_NO_LINKS = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}


def build_version(store: Store, staged: Staged, *, memory_limit: str = "2GB", threads: int = 2) -> Manifest:
    """Store a draft as the next version of its table. Publishing it is another step.

    The staged Parquet files may be in any row order; the same rows and the same version number give the same bytes.
    A version that failed its gates is stored too, for the record, as long as it is well formed.

    Args:
        memory_limit: of DuckDB while sorting; beyond it, it spills into the version's own folder.

    Raises:
        StoreCorrupt: the staged files disagree with each other or with the draft: columns, rows, or keys that are
            null or repeated. Nothing is stored then.
        StoreUnavailable: there is no store, it cannot be written, or the disk is full.
        StoreLocked: somebody held the store's lock for ten minutes when the version was to get its name.
    """
    draft = staged.draft
    if not is_table_name(draft.table):
        raise unknown_table(store.root, draft.table)
    with plain_errors(store.root):
        read_current(store.root)  # says so when there is no store
        with _claimed(store, draft.table) as (version, folder):
            require_space(store, folder, _estimate(store.root, staged), f"build of '{draft.table}'")
            while True:  # until nobody was erased meanwhile
                erased = read_tombstones(store.root, draft.table)
                rows, facts = _fill(store, staged, version, folder, erased, memory_limit=memory_limit, threads=threads)
                manifest = Manifest(version=version, draft=replace(draft, rows=rows), files=facts)
                store.files.write(folder / MANIFEST, to_pretty_json(manifest))
                seal(store.files, folder, facts, MANIFEST)
                if _name(store, manifest, folder, erased):
                    return manifest
                for path in sorted(folder.iterdir()):  # the folder itself stays: it is what is claimed and locked
                    store.files.remove_tree(path)


def _name(store: Store, manifest: Manifest, folder: Path, seen: Tombstones | None) -> bool:
    """Give a sealed folder the name of its version, unless somebody was erased since its rows were chosen; whether it did.

    An erasure holds the lock from before its tombstone until its last version is rewritten. So under the lock either the
    tombstone is seen here, or the erasure will see the version.
    """
    table = manifest.draft.table
    patient = replace(store, patience=max(store.patience, _PATIENCE))
    with locked(patient, f"name version {manifest.version} of '{table}'"):
        if read_tombstones(store.root, table) != seen:
            return False
        store.files.rename(folder, version_folder(store.root, table, manifest.version))
        store.files.sync_folder(folder.parent)
    return True


def require_space(store: Store, folder: Path, needed: int, subject: str) -> None:
    """Refuse early what would fill the disk.

    Raises:
        StoreUnavailable: fewer bytes than ``needed`` are free.
    """
    free = store.files.free_bytes(folder)
    if free < needed:
        raise StoreUnavailable(
            subject,
            expected=f"about {needed:,} free bytes at {store.root}",
            found=f"{free:,}",
            fix="Free some space and run it again; nothing was written.",
        )


def _estimate(root: Path, staged: Staged) -> int:
    """Bytes that a version is going to need: as many per row as the newest one took, or a guess from what is staged.

    Sorting may spill about as much again as is staged.
    """
    parts = [staged.folder / name for name in (PREDICTIONS, EXPLANATIONS, FEATURES, MODEL)]
    stored = sum(path.stat().st_size for path in parts if path.exists())
    known = [each for each in readable_versions(root, staged.draft.table) if each.draft.rows]
    if not known:
        return _GROWTH * stored
    return stored + sum(fact.bytes for fact in known[-1].files) * staged.draft.rows // known[-1].draft.rows


def share_or_copy(files: Files, path: Path, source: Path) -> None:
    """The same file under a second name; its bytes where the file system has no hard links."""
    try:
        files.share(path, source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        files.write(path, source.read_bytes())


def fact_of(path: Path) -> FileFact:
    """What a file is."""
    return FileFact(name=path.name, bytes=path.stat().st_size, sha256=digest(path))


def seal(files: Files, folder: Path, facts: tuple[FileFact, ...], *unhashed: str) -> None:
    """Make a finished folder durable: checksums of every file, each synced and made read-only, then the folder.

    Args:
        facts: the files already hashed. unhashed: the rest.
    """
    known = {fact.name: fact.sha256 for fact in facts}
    known.update((name, digest(folder / name)) for name in unhashed)
    lines = "".join(f"{known[name]}  {name}\n" for name in sorted(known))
    files.write(folder / SUMS, lines.encode("ascii"))
    for name in (*sorted(known), SUMS):
        files.sync(folder / name)
        files.protect(folder / name)
    files.sync_folder(folder)


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def _claimed(store: Store, table: TableName) -> Iterator[tuple[VersionId, Path]]:
    """Claim the next number by creating its building folder; remove the folder again if the build fails.

    The folder is flocked while its builder lives, which is how ``repair`` tells rubbish from work in progress.
    """
    parent = versions_folder(store.root, table)
    for folder in (parent.parent, parent):
        store.files.ensure_folder(folder)
    number = _next_number(store, table)
    while (handle := _claim(store, table, number)) is None:
        number += 1
    folder = parent / f"{BUILDING}{folder_name(number)}"
    try:
        yield VersionId(number), folder
    except BaseException:
        _discard(store.files, folder)
        raise
    finally:
        os.close(handle)


def _claim(store: Store, table: TableName, number: int) -> int | None:
    """The lock of the building folder of a number; None when somebody else has had that number."""
    target = version_folder(store.root, table, VersionId(number))
    folder = target.with_name(f"{BUILDING}{target.name}")
    try:
        store.files.make_folder(folder)
    except FileExistsError:
        return None
    if target.exists():  # finished by somebody between the listing and the claim
        store.files.remove_folder(folder)
        return None
    return hold_folder(folder)  # None when a repair took it for a leftover in the moment before


def _discard(files: Files, folder: Path) -> None:
    """Best effort: the disk may be refusing everything; ``repair`` finishes the job."""
    try:
        files.remove_tree(folder)
    except OSError:
        return


def _next_number(store: Store, table: TableName) -> int:
    """One more than any number ever mentioned, so that a number never means two things."""
    parent = versions_folder(store.root, table)
    mentioned = [0, *numbers_in(parent), *numbers_in(parent, BUILDING)]
    served = read_current(store.root).tables.get(table)
    if served is not None:
        mentioned += [number for number in (served.live, served.shadow, *served.barred) if number is not None]
    return max(mentioned) + 1


def _fill(
    store: Store, staged: Staged, version: VersionId, folder: Path, erased: Tombstones | None, *, memory_limit: str, threads: int
) -> tuple[int, tuple[FileFact, ...]]:
    """Write everything but the manifest into a building folder; the number of rows, and the files."""
    from batch_scoring.store.sorting import (
        check_rows,
        connect,
        copy_sorted,
        count_rows,
        explanation_rows,
        prediction_rows,
        shape_of,
    )

    files = store.files

    def copy(path: Path) -> None:
        copy_sorted(con, shape, path.name, path)

    def index(path: Path) -> None:
        rows = prediction_rows if path.name == INDEX else explanation_rows
        written = write_index(path, rows(con, shape, folder, long=False), ordered=True)
        if written < stored:
            write_index(path, rows(con, shape, folder, long=True), ordered=False)

    with connect(folder / SPILL, memory_limit=memory_limit, threads=threads) as con:
        shape = shape_of(con, staged, version, erased)
        for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
            files.produce(folder / name, copy)
        stored = count_rows(con, folder / PREDICTIONS)
        check_rows(con, shape, folder)
        for name in (INDEX, EXPLANATION_INDEX):
            files.produce(folder / name, index)
    files.remove_tree(folder / SPILL)
    same = _same_model(store.root, staged)
    if same is None:
        files.write(folder / MODEL, (staged.folder / MODEL).read_bytes())
    else:
        share_or_copy(files, folder / MODEL, same)
    names = (PREDICTIONS, EXPLANATIONS, FEATURES, MODEL, INDEX, EXPLANATION_INDEX)
    return stored, tuple(fact_of(folder / name) for name in names)


def _same_model(root: Path, staged: Staged) -> Path | None:
    """The model of the newest kept version, if it is the staged one, byte for byte."""
    kept = readable_versions(root, staged.draft.table)[-1:]
    path = version_folder(root, staged.draft.table, kept[0].version) / MODEL if kept else None
    return path if path is not None and path.exists() and digest(path) == digest(staged.folder / MODEL) else None
