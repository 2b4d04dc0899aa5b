"""Reading the store while others publish: one release per snapshot, whatever happens meanwhile.

Import-light (LMDB and msgspec only) and thread-safe. Resolving ``current`` costs one system call; everything behind it
is opened once per release and shared by all readers of the process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from batch_scoring.declare import TableName
from batch_scoring.domain import EXPLANATION_INDEX, INDEX, Manifest, Release, Served, VersionId
from batch_scoring.errors import StoreCorrupt, StoreError, UnknownTable, UnknownVersion
from batch_scoring.store.files import identity, plain_errors, take_flock
from batch_scoring.store.index import index_key, iterate, open_index, render_explanation
from batch_scoring.store.layout import (
    CURRENT,
    check_version,
    read_manifest,
    read_sound_release,
    read_target,
    readable_versions,
    release_of,
    version_folder,
)

if TYPE_CHECKING:
    import lmdb

_log = logging.getLogger(__name__)


_TRY_AGAIN = 5.0
"""Seconds after which a release that could not be opened is tried again."""
_PATIENCE = 2.0
"""Seconds to wait for somebody who is in the way only for a moment."""


class OpenVersion:
    """The two indexes of one version, open. Its lease, a shared flock on the version's folder, keeps it from being pruned.

    Should an erasure put a rewritten folder under the same number, this stays what it was.
    """

    __slots__ = ("__weakref__", "_explanations", "_lease", "_lookup", "manifest")

    def __init__(self, root: Path, table: TableName, version: VersionId) -> None:
        folder = version_folder(root, table, version)
        self.manifest = read_manifest(root, table, version)
        self._lease: int | None = _take_lease(folder)
        try:
            check_version(root, self.manifest)  # reading a truncated memory map would kill the process
            self._lookup = _open(folder / INDEX)
            self._explanations = _open(folder / EXPLANATION_INDEX)
        except BaseException:
            self._release()
            raise

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        lease, self._lease = getattr(self, "_lease", None), None
        if lease is not None:
            os.close(lease)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the folder that is open."""
        found = os.fstat(-1 if self._lease is None else self._lease)
        return found.st_dev, found.st_ino

    def lookup_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (index key, JSON) of the lookup index, in index order."""
        return iterate(self._lookup)

    def explanation_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (index key, record) of the explanation index, in index order."""
        return iterate(self._explanations)

    def prediction(self, key: str) -> bytes | None:
        """The JSON of one prediction, or None."""
        with self._lookup.begin() as txn:
            return _bytes(txn.get(index_key(key)))

    def predictions(self, keys: Sequence[str]) -> list[bytes | None]:
        """The JSON of many predictions, in the order of the keys, in one transaction."""
        with self._lookup.begin() as txn:
            return [_bytes(txn.get(index_key(key))) for key in keys]

    def explanation(self, key: str) -> bytes | None:
        """The JSON of one explanation, or None."""
        with self._explanations.begin() as txn:
            record = _bytes(txn.get(index_key(key)))
        return None if record is None else render_explanation(self.manifest, key, record)


def _take_lease(folder: Path) -> int:
    """Hold a version against pruning. Waits for a builder that has just named the folder to let go of it."""
    give_up = time.monotonic() + _PATIENCE
    gone = UnknownVersion(f"version {folder}", expected="a kept one", found="one that is being removed", fix="Choose another.")
    while True:
        try:
            lease = take_flock(folder, exclusive=False)
        except FileNotFoundError:
            raise gone from None
        if lease is not None:
            return lease
        if time.monotonic() > give_up:
            raise gone
        time.sleep(0.001)


def _bytes(found: object) -> bytes | None:
    return found if isinstance(found, bytes) else None


def _open(path: Path) -> lmdb.Environment:
    """Open an index; waits a moment for another thread that is just closing its last use of the same file."""
    import lmdb

    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return open_index(path)
        except lmdb.Error as error:
            if "already open" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.001)


# LMDB must not open a file twice in one process, so all readers of a process share what is open.
_open_versions: WeakValueDictionary[tuple[Path, tuple[int, int] | None], OpenVersion] = WeakValueDictionary()
_opening = threading.Lock()


def open_version(root: Path, table: TableName, version: VersionId) -> OpenVersion:
    """One version, opened once per process; anew after an erasure has rewritten it.

    Raises:
        UnknownTable, UnknownVersion, StoreCorrupt: as :func:`~batch_scoring.store.layout.read_manifest`.
    """
    path = version_folder(root, table, version)
    with _opening:
        while True:
            now = identity(path)
            found = _open_versions.get((path, now))
            if found is not None:
                return found
            try:
                opened = OpenVersion(root, table, version)
            except StoreError:
                if identity(path) == now:
                    raise
                continue  # an erasure came between two of its files
            if opened.identity == now == identity(path):
                _open_versions[path, now] = opened
                return opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One release, held open: every answer is of it, even after later flips and prunes.

    Live versions are open from the start; another version of a table is opened when it is asked for, and may be gone.
    """

    root: Path
    release: Release
    live: Mapping[TableName, OpenVersion] = field(repr=False)

    def tables(self) -> tuple[TableName, ...]:
        """Tables that have ever been published, in alphabetical order."""
        return tuple(sorted(self.release.tables))

    def served(self, table: str) -> Served:
        """What this release says of a table; nothing, if it was never published."""
        return self.release.tables.get(TableName(table), Served())

    def manifest(self, table: str, version: int | None = None) -> Manifest:
        """The manifest of the live version, or of a kept one.

        Raises:
            UnknownTable, UnknownVersion: never published, or no longer kept.
        """
        return self._version(table, version).manifest

    def prediction(self, table: str, key: str, version: int | None = None) -> bytes | None:
        """The JSON of one prediction, by canonical key; None for an unknown key.

        Raises:
            UnknownTable, UnknownVersion: as :meth:`manifest`.
        """
        return self._version(table, version).prediction(key)

    def predictions(self, table: str, keys: Sequence[str], version: int | None = None) -> list[bytes | None]:
        """As :meth:`prediction`, for many keys at once, in their order."""
        return self._version(table, version).predictions(keys)

    def explanation(self, table: str, key: str, version: int | None = None) -> bytes | None:
        """The JSON of one explanation (:func:`~batch_scoring.store.index.render_explanation`); None for an unknown key."""
        return self._version(table, version).explanation(key)

    def versions(self, table: str) -> tuple[Manifest, ...]:
        """The manifests of the kept versions of a table that can be read, ascending. They are read from disk each time.

        Raises:
            UnknownTable: it was never published.
        """
        self._require(table)
        return readable_versions(self.root, TableName(table))

    def _version(self, table: str, version: int | None) -> OpenVersion:
        name = self._require(table)
        served = self.release.tables[name]
        if version is None or version == served.live:
            if name in self.live:
                return self.live[name]
            raise UnknownVersion(
                f"table '{table}'", expected="a live version", found="none", fix="Publish one with 'foretable publish'."
            )
        with plain_errors(self.root):
            return open_version(self.root, name, VersionId(version))

    def _require(self, table: str) -> TableName:
        if table in self.release.tables:
            return TableName(table)
        known = ", ".join(self.tables()) or "none yet"
        raise UnknownTable(f"table '{table}'", expected=f"one of: {known}", found=f"'{table}'", fix="Choose a published table.")


class Reader:
    """Follows ``current``. One per process is enough; any number of threads may share it.

    If a new release cannot be opened, the last good one stays and :attr:`problem` says why.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._pointer = str(self._root / CURRENT)
        self._lock = threading.Lock()
        self._state: tuple[str, Snapshot] | None = None
        self._refused: tuple[str, StoreError, float] | None = None

    @property
    def problem(self) -> str | None:
        """Why the release that ``current`` names is not the one that is served, if so."""
        refused = self._refused
        return None if refused is None else str(refused[1])

    def snapshot(self) -> Snapshot:
        """The release that is current now.

        Raises:
            StoreUnavailable: there is no store.
            StoreCorrupt: the current release or a live version is damaged, and no earlier one was open.
        """
        state = self._state
        try:
            if state is not None and os.readlink(self._pointer) == state[0]:  # noqa: PTH115 -- once per request
                return state[1]
        except OSError:  # said in a sentence below
            pass
        with plain_errors(self._root):
            return self._follow()

    def _follow(self) -> Snapshot:
        with self._lock:
            target = read_target(self._root)
            if self._state is not None and (self._state[0] == target or self._is_refused(target)):
                return self._state[1]
            try:
                snapshot = self._load(target)
            except StoreError as error:
                if self._state is None:
                    raise
                self._refused = (target, error, time.monotonic() + _TRY_AGAIN)
                _log.error("%s cannot be served, %s stays: %s", target, self._state[0], error)
                return self._state[1]
            self._state, self._refused = (target, snapshot), None
            return snapshot

    def _is_refused(self, target: str) -> bool:
        return self._refused is not None and self._refused[0] == target and time.monotonic() < self._refused[2]

    def _load(self, target: str) -> Snapshot:
        """Open a release; when it was superseded and its versions pruned in that moment, open the one after."""
        while True:
            try:
                return open_release(self._root, target)
            except (UnknownVersion, StoreCorrupt):
                target, before = read_target(self._root), target
                if target == before:
                    raise


def open_release(root: Path, target: str) -> Snapshot:
    """Open the live version of every table of a release."""
    release = read_sound_release(root, release_of(root, target))
    live = {table: open_version(root, table, served.live) for table, served in release.tables.items() if served.live is not None}
    return Snapshot(root=root, release=release, live=live)
