"""What must never be stored again: salted hashes of erased keys, one file per table.

A tombstone names nobody: it is the SHA-256 of a random salt and the canonical key. Whoever may read the file can still
test a guess, as with every hash of something guessable, so the file is as readable as the store and no more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from batch_scoring.codec import from_json, to_json, to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store.files import Files
from batch_scoring.store.layout import ERASED, ERASED_NEXT, versions_folder
from batch_scoring.store.sql import text


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """One erased key: the SHA-256 (hex) of salt and canonical key; who asked for it, when and why."""

    hash: str
    who: str
    when: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstones:
    """All of a table.

    Attributes:
        salt: 32 random bytes, hex. check: SHA-256 of the rest, so that a damaged file is noticed.
    """

    salt: str
    entries: tuple[Tombstone, ...] = ()
    check: str = ""

    def hash_of(self, key: str) -> str:
        """The hash under which a canonical key is remembered."""
        return sha256((self.salt + key).encode("ascii")).hexdigest()

    def holds(self, key: str) -> str:
        """SQL condition that is true where the expression ``key`` is an erased canonical key."""
        hashes = ", ".join(text(digest) for digest in sorted({entry.hash for entry in self.entries}))
        return f"coalesce(sha256({text(self.salt)} || {key}) IN ({hashes}), false)"

    def with_keys(self, keys: Iterable[str], *, who: str, when: datetime, why: str) -> Tombstones:
        """The same and these keys; those already erased keep their entry."""
        known = {entry.hash for entry in self.entries}
        fresh = dict.fromkeys(digest for digest in map(self.hash_of, keys) if digest not in known)
        added = tuple(Tombstone(hash=digest, who=who, when=when, why=why) for digest in fresh)
        return replace(self, entries=(*self.entries, *added))

    def sealed(self) -> Tombstones:
        """With its checksum."""
        return replace(self, check=sha256(to_json((self.salt, self.entries))).hexdigest())


def new_tombstones() -> Tombstones:
    """None yet, with a fresh salt."""
    return Tombstones(salt=secrets.token_hex(32))


def tombstones_file(root: Path, table: TableName) -> Path:
    """Where the tombstones of a table lie."""
    return versions_folder(root, table).with_name(ERASED)


def read_tombstones(root: Path, table: TableName) -> Tombstones | None:
    """The tombstones of a table; None if nothing was ever erased.

    Raises:
        StoreCorrupt: unreadable or changed. Nothing may be stored then, for it might be what was erased.
    """
    path = tombstones_file(root, table)
    try:
        found = from_json(path.read_bytes(), Tombstones)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if found != found.sealed():
        raise _damaged(path, "other bytes")
    return found


def write_tombstones(files: Files, root: Path, table: TableName, tombstones: Tombstones) -> None:
    """Replace the tombstones of a table, durably. The caller holds the lock."""
    path = tombstones_file(root, table)
    aside = path.with_name(ERASED_NEXT)
    files.remove_tree(aside)
    files.write(aside, to_pretty_json(tombstones.sealed()))
    files.sync(aside)
    files.protect(aside)
    files.replace(aside, path)
    files.sync_folder(path.parent)


def _damaged(path: Path, found: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"tombstones {path}",
        expected="the record of what was erased",
        found=found,
        fix="Restore that file from a backup, or erase the same entities again after removing it.",
    )
