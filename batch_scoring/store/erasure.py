"""Removing entities from everything that the store keeps, for good.

The tombstone comes first: it is what a crash is rolled forward from, and what every later build honours. Then each kept
version that holds the entity is written anew beside the old one, sealed with fresh checksums, and takes its place under
the same number in one atomic exchange of names. Last comes a release, so that readers move on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
    Action,
    FileFact,
    ReleaseId,
    VersionId,
)
from batch_scoring.errors import BadKey, StoreConflict
from batch_scoring.store.build import SPILL, fact_of, require_space, seal, share_or_copy
from batch_scoring.store.files import Files, hold_folder, plain_errors, unless_busy
from batch_scoring.store.index import index_key, write_index
from batch_scoring.store.layout import (
    BUILDING,
    Store,
    check_version,
    folder_name,
    is_table_name,
    numbers_in,
    read_current,
    read_manifest,
    unknown_table,
    version_folder,
    version_ids,
    versions_folder,
    walk_back,
)
from batch_scoring.store.lock import locked
from batch_scoring.store.reader import OpenVersion, open_version
from batch_scoring.store.releases import commit, next_release
from batch_scoring.store.sorting import connect, scanning
from batch_scoring.store.sql import path_text
from batch_scoring.store.tombstones import Tombstones, new_tombstones, read_tombstones, write_tombstones

if TYPE_CHECKING:
    import duckdb

_DOOMED = "SELECT key FROM read_parquet({path}) WHERE {erased}"
_REST = """
COPY (SELECT * FROM read_parquet({path}) WHERE NOT {erased})
TO {target} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure did.

    Attributes:
        release: the one that readers move on to. versions: those that were rewritten. rows: removed in all of them.
    """

    release: ReleaseId
    versions: tuple[VersionId, ...]
    rows: int


def erase(
    store: Store,
    table: TableName,
    keys: Sequence[str],
    *,
    who: str,
    when: datetime,
    why: str,
    progress: Progress | None = None,
) -> Erasure:
    """Remove entities from every kept version of a table, and keep them out of later ones.

    Every other row keeps its values, ranks included; the numbers of versions and releases stay what they are. The model
    stays. Erasing what is already erased changes nothing. If the process dies, ``repair`` or the same call finishes it.

    Args:
        keys: canonical keys (:func:`batch_scoring.keys.encode_key`), known to the table or not.
        why: kept with the tombstone and in the history, so it must not name the entity.

    Raises:
        UnknownTable: nothing was ever built under that name.
        BadKey: no key, or one that is not canonical.
        StoreConflict: no reason, or one that names a key.
        StoreCorrupt: a kept version is damaged and cannot be rewritten; the tombstone is there already.
        StoreLocked, StoreUnavailable: as they say; nothing is half erased in any version.
    """
    _require_sense(table, keys, why)
    with plain_errors(store.root), locked(store, f"erase from '{table}'"):
        if not is_table_name(table) or not versions_folder(store.root, table).is_dir():
            raise unknown_table(store.root, table)
        before = read_tombstones(store.root, table) or new_tombstones()
        after = before.with_keys(keys, who=who, when=when, why=why)
        if after != before:
            write_tombstones(store.files, store.root, table, after)
        return settle(store, table, after, progress)


def _require_sense(table: TableName, keys: Sequence[str], why: str) -> None:
    if not keys or not all(key.isascii() for key in keys):
        raise BadKey(
            f"erasure from '{table}'", expected="one canonical key or more", found=repr(list(keys)), fix="Name the entity."
        )
    named = any(len(key) > 3 and key in why for key in keys)
    if not why.strip() or named:
        raise StoreConflict(
            f"erasure from '{table}'",
            expected="a reason that does not name the entity",
            found="one that does" if named else "none",
            fix="Give another with --reason, such as the number of the request.",
        )


def settle(store: Store, table: TableName, tombstones: Tombstones, progress: Progress | None = None) -> Erasure:
    """Rewrite every kept version that still holds an erased entity, clear what lies aside, flip. The caller holds the lock."""
    say = progress or (lambda _: None)
    rewritten: dict[VersionId, int] = {}
    with scanning() as con:
        for version in version_ids(store.root, table):
            say(f"version {version} of '{table}'")
            rewritten[version] = _rewrite(store, con, table, version, tombstones)
    _remove_leftovers(store, table)
    current = read_current(store.root)
    last = tombstones.entries[-1]
    recorded = any(
        each.action.kind == "erase" and each.action.table == table and each.when == last.when
        for each in walk_back(store.root, current)
    )
    if any(rewritten.values()) or not recorded:
        number = next_release(store.root, current)
        action = Action(kind="erase", table=table)
        told = replace(current, id=number, previous=current.id, action=action, who=last.who, when=last.when, why=last.why)
        current = commit(store, told)
    else:
        store.files.sync_folder(store.root)  # the flip may have been somebody's last act before a failed fsync
    touched = tuple(version for version, gone in rewritten.items() if gone)
    return Erasure(release=current.id, versions=touched, rows=sum(rewritten.values()))


def _remove_leftovers(store: Store, table: TableName) -> None:
    """Remove what a build, a prune or an erasure left when it was killed: whatever was erased may still be in there."""
    parent = versions_folder(store.root, table)
    for number in numbers_in(parent, BUILDING):
        folder = parent / f"{BUILDING}{folder_name(number)}"
        with unless_busy(folder) as left:  # a build at work looks at the tombstones before it names its version
            if left:
                store.files.remove_tree(folder)
                store.files.sync_folder(parent)


def _rewrite(store: Store, con: duckdb.DuckDBPyConnection, table: TableName, version: VersionId, tombstones: Tombstones) -> int:
    """Put a version without the erased rows in the place of one that holds some; the number of rows that went."""
    files, folder = store.files, version_folder(store.root, table, version)
    aside = folder.with_name(f"{BUILDING}{folder.name}")
    manifest = read_manifest(store.root, table, version)
    check_version(store.root, manifest)
    query = _DOOMED.format(path=path_text(folder / PREDICTIONS), erased=tombstones.holds("key"))
    doomed = frozenset(index_key(key) for (key,) in con.execute(query).fetchall())
    if not doomed:
        return 0
    require_space(store, folder.parent, sum(fact.bytes for fact in manifest.files), f"erasure from '{table}'")
    with _fresh_folder(files, aside), connect(aside / SPILL, memory_limit="1GB", threads=2) as writing:
        facts = _fill(files, writing, folder, aside, tombstones, doomed, open_version(store.root, table, version))
        draft = replace(manifest.draft, rows=manifest.draft.rows - len(doomed))
        files.write(aside / MANIFEST, to_pretty_json(replace(manifest, draft=draft, files=facts)))
        seal(files, aside, facts, MANIFEST)
    files.exchange(aside, folder)
    files.sync_folder(folder.parent)  # before the old bytes go: a power cut must find one of the two whole
    files.remove_tree(aside)
    files.sync_folder(folder.parent)
    return len(doomed)


@contextmanager
def _fresh_folder(files: Files, aside: Path) -> Iterator[None]:
    """An empty building folder, known as busy while it is filled, and removed again if that fails."""
    files.remove_tree(aside)  # of an erasure that was killed: the lock says nobody is writing it
    files.make_folder(aside)
    handle = hold_folder(aside)
    assert handle is not None  # only a repair could have removed it, and a repair takes the store's lock
    try:
        yield
    except BaseException:
        _discard(files, aside)
        raise
    finally:
        os.close(handle)


def _discard(files: Files, folder: Path) -> None:
    try:
        files.remove_tree(folder)
    except OSError:
        return


def _fill(
    files: Files,
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    aside: Path,
    tombstones: Tombstones,
    doomed: frozenset[bytes],
    held: OpenVersion,
) -> tuple[FileFact, ...]:
    """Every file of the new folder but its manifest: data and indexes without the doomed, the model as it is."""

    def copy(path: Path) -> None:
        source = path_text(folder / path.name)
        con.execute(_REST.format(path=source, erased=tombstones.holds("key"), target=path_text(path)))

    def index(path: Path) -> None:
        rows = held.lookup_rows() if path.name == INDEX else held.explanation_rows()
        write_index(path, ((key, value) for key, value in rows if key not in doomed), ordered=True)

    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        files.produce(aside / name, copy)
    for name in (INDEX, EXPLANATION_INDEX):
        files.produce(aside / name, index)
    files.remove_tree(aside / SPILL)
    share_or_copy(files, aside / MODEL, folder / MODEL)
    return tuple(fact_of(aside / name) for name in (PREDICTIONS, EXPLANATIONS, FEATURES, MODEL, INDEX, EXPLANATION_INDEX))
