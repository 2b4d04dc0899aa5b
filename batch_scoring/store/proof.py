"""Proving that what was erased is nowhere: row by row against the tombstones, and byte by byte for a key that is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.codec import to_json
from batch_scoring.declare import TableName
from batch_scoring.domain import EXPLANATION_INDEX, EXPLANATIONS, FEATURES, INDEX, PREDICTIONS, Manifest
from batch_scoring.errors import ForetableError, UnknownVersion
from batch_scoring.keys import decode_key
from batch_scoring.store.files import plain_errors, unless_busy
from batch_scoring.store.index import index_key
from batch_scoring.store.integrity import Finding, Progress
from batch_scoring.store.layout import (
    BUILDING,
    Store,
    folder_name,
    numbers_in,
    read_current,
    table_names,
    unknown_table,
    version_folder,
    version_ids,
    versions_folder,
)
from batch_scoring.store.reader import OpenVersion, open_version
from batch_scoring.store.sorting import canonical_key, scanning
from batch_scoring.store.sql import path_text, text
from batch_scoring.store.tombstones import Tombstones, new_tombstones, read_tombstones

if TYPE_CHECKING:
    import duckdb

_ROWS = "SELECT count(*) FROM read_parquet({path}) WHERE {by_key} OR {by_parts}"
_STATISTICS = """
SELECT count(*) FROM parquet_metadata({path})
WHERE path_in_schema = 'key' AND list_has_any([stats_min, stats_max, stats_min_value, stats_max_value], {keys})
"""
_CHUNK = 8 * 2**20
_SHORTEST = 6
"""Characters of a key that a search for bytes can tell from a number or a word that has nothing to do with it."""


def find_erased(
    store: Store, table: TableName | None = None, keys: Sequence[str] = (), progress: Progress | None = None
) -> tuple[Finding, ...]:
    """Whatever is left of what was erased; nothing, if the store keeps its word. Reads only.

    Every row of every kept version is held against the tombstones of its table, by its key column and by its join keys;
    the same for both indexes. A folder that nobody is building any more counts as holding what was erased. Keys that are
    given (canonical, of ``table``) need not be erased: they are looked for in rows, in the statistics of Parquet files, and,
    if six characters or longer, in the bytes of every file of the store.
    Parquet pages are compressed, so their bytes are looked at as rows.

    Raises:
        UnknownTable: the store does not hold it.
        StoreUnavailable, StoreCorrupt: as they say.
    """
    root = store.root
    say = progress or (lambda _: None)
    with plain_errors(root):
        read_current(root)
        if table is not None and not versions_folder(root, table).is_dir():
            raise unknown_table(root, table)
        found: list[Finding] = []
        for name in table_names(root) if table is None else (table,):
            tombstones = read_tombstones(root, name)
            if tombstones is None and not keys:
                continue
            sought = (tombstones or new_tombstones()).with_keys(keys, who="", when=read_current(root).when, why="")
            with scanning() as con:
                for version in version_ids(root, name):
                    say(f"version {version} of '{name}'")
                    with suppress(UnknownVersion):  # pruned meanwhile; from here on it is held
                        found += _in_version(con, root, open_version(root, name, version), sought, keys)
            found += _left_aside(root, name)
        for path in _files(root) if keys else ():
            say(str(path.relative_to(root)))
            if any(_holds_bytes(path, pattern) for pattern in _patterns(keys)):
                found.append(_left(root, path, "its bytes name the entity"))
        return tuple(found)


def _left(root: Path, path: Path, problem: str) -> Finding:
    return Finding(path=str(path.relative_to(root)), problem=problem, fix="Run 'foretable repair', or erase the entity again.")


def _left_aside(root: Path, table: TableName) -> Iterator[Finding]:
    """Folders of processes that died: they have no checksums to go by and may be torn, so nobody can say what is in them."""
    parent = versions_folder(root, table)
    for number in numbers_in(parent, BUILDING):
        folder = parent / f"{BUILDING}{folder_name(number)}"
        with unless_busy(folder) as left:
            if left:
                yield _left(root, folder, "left by a process that did not finish; an erased entity may be in it")


def _in_version(
    con: duckdb.DuckDBPyConnection, root: Path, opened: OpenVersion, sought: Tombstones, keys: Sequence[str]
) -> Iterator[Finding]:
    """Rows of the Parquet files and of the indexes of one version."""
    manifest = opened.manifest
    folder = version_folder(root, manifest.draft.table, manifest.version)
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        left = _count(con, folder / name, manifest, sought, keys)
        if left:
            yield _left(root, folder / name, f"{left:,} row(s) or statistics of an erased entity")
    hashes = {entry.hash for entry in sought.entries}
    for name, rows in ((INDEX, opened.lookup_rows()), (EXPLANATION_INDEX, opened.explanation_rows())):
        long = {index_key(key) for key in keys}
        if any(found in long or sought.hash_of(_plain(found)) in hashes for found, _ in rows):
            yield _left(root, folder / name, "an erased entity is indexed")
    yield from _in_answers(root, manifest, opened, keys)


def _in_answers(root: Path, manifest: Manifest, opened: OpenVersion, keys: Sequence[str]) -> Iterator[Finding]:
    """An answer that names the entity, under whatever key."""
    entity = manifest.draft.entity
    wanted = set()
    for key in keys:
        try:
            wanted.add(to_json(dict(zip(entity.key_names, decode_key(entity, key), strict=True))))
        except ForetableError:  # a key of another shape, from before the entity changed
            continue
    if any(needle in value for _, value in (opened.lookup_rows() if wanted else ()) for needle in wanted):
        folder = version_folder(root, manifest.draft.table, manifest.version)
        yield _left(root, folder / INDEX, "an answer names the entity")


def _plain(found: bytes) -> str:
    """The canonical key of an index key; that of an overlong one cannot be told, so rows answer for it."""
    return "" if found == b"#" else found.decode("ascii")


def _count(con: duckdb.DuckDBPyConnection, path: Path, manifest: Manifest, sought: Tombstones, keys: Sequence[str]) -> int:
    by_parts = sought.holds(f"({canonical_key(manifest.draft.entity)})")
    query = _ROWS.format(path=path_text(path), by_key=sought.holds("key"), by_parts=by_parts)
    rows: int = con.execute(query).fetchall()[0][0]
    if keys:
        listed = "[" + ", ".join(text(key) for key in keys) + "]"
        rows += con.execute(_STATISTICS.format(path=path_text(path), keys=listed)).fetchall()[0][0]
    return rows


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())


def _patterns(keys: Sequence[str]) -> Iterator[re.Pattern[bytes]]:
    """The canonical key where it is not part of a longer one."""
    edge = rb"[A-Za-z0-9._~%/-]"
    for key in keys:
        if len(key) >= _SHORTEST:
            yield re.compile(rb"(?<!" + edge + rb")" + re.escape(key.encode("ascii")) + rb"(?!" + edge + rb")")


def _holds_bytes(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Search a file of any size; chunks overlap so that nothing falls between them."""
    overlap = len(pattern.pattern) + 2
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if pattern.search(before + chunk):
                return True
            before = chunk[-overlap:]
    return False
