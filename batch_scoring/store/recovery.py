"""A damaged record of a release, made again from what else is kept of it.

A release is the one before it and one action, and its catalog holds that action in ``meta.releases``. What comes of the
two is believed only if it is, to the byte, what ``SHA256SUMS`` remembers or what still lies there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from batch_scoring.codec import to_pretty_json
from batch_scoring.declare import TableName
from batch_scoring.domain import Action, Release, ReleaseId, Served, VersionId
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store.layout import (
    CATALOG,
    RELEASE,
    last_live,
    read_sound_release,
    read_sums,
    release_folder,
    version_folder,
)
from batch_scoring.store.releases import after_publish, after_rollback, lives_after

_ACTION = """
SELECT previous, epoch_us(made_at), who, why, action, table_name, channel, from_version, to_version
FROM meta.releases WHERE release = ?
"""
_VERSIONS = "SELECT version FROM meta.versions WHERE table_name = ?"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rebuilt_release(root: Path, release: ReleaseId) -> Release | None:
    """The release as it was written, although its ``release.json`` or its checksum is damaged; None if that cannot be proved."""
    folder = release_folder(root, release)
    proofs = {read_sums(folder).get(RELEASE)}
    if (folder / RELEASE).is_file():
        proofs.add(sha256((folder / RELEASE).read_bytes()).hexdigest())
    for candidate in _candidates(root, release):
        if sha256(to_pretty_json(candidate)).hexdigest() in proofs:
            return candidate
    return None


def _candidates(root: Path, release: ReleaseId) -> Iterator[Release]:
    """What the release may have said. Only which versions were still kept at the time is not known for sure."""
    found = _recorded(release_folder(root, release) / CATALOG, release)
    if found is None:
        return
    (previous, made_at, who, why, kind, table, channel, from_version, to_version), then = found
    action = Action(kind=kind, table=table, channel=channel, from_version=from_version, to_version=to_version)
    rest = {"id": release, "action": action, "who": who, "when": _EPOCH + timedelta(microseconds=made_at), "why": why}
    try:
        before = None if previous is None else read_sound_release(root, previous)
    except StoreCorrupt:
        return
    if before is None:
        yield Release(previous=None, tables={}, **rest)
    elif kind == "erase":
        yield Release(previous=previous, tables=before.tables, lives=before.lives, **rest)
    else:
        for tables, lives in _served(root, before, action, then):
            yield Release(previous=previous, tables=tables, lives=lives, **rest)


def _served(
    root: Path, before: Release, action: Action, then: set[VersionId]
) -> Iterator[tuple[Mapping[TableName, Served], Mapping[TableName, tuple[VersionId, ...]]]]:
    """What a publish or rollback made of the release before: what is served, and what was ever live, as it may have been."""
    table, version = action.table, action.to_version
    assert table is not None
    assert version is not None
    served = before.tables.get(table, Served())
    rollback = action.kind == "rollback"
    after = after_rollback(served, version) if rollback else after_publish(served, version, action.channel)
    known = last_live(before, table)
    now = {each for each in known if version_folder(root, table, each).is_dir()}
    for kept in (then, now, set(known)):
        yield {**before.tables, table: after}, lives_after(before, table, after, kept.__contains__)


def _recorded(catalog: Path, release: ReleaseId) -> tuple[tuple[Any, ...], set[VersionId]] | None:
    """The row of a release in its own catalog, and the versions of its table that were kept then."""
    import duckdb

    try:
        with duckdb.connect(catalog, read_only=True) as con:
            row = con.execute(_ACTION, [release]).fetchone()
            kept = con.execute(_VERSIONS, [None if row is None else TableName(row[5])]).fetchall()
    except duckdb.Error:  # gone or damaged too
        return None
    return None if row is None else (row, {VersionId(version) for (version,) in kept})
