"""The analysts' DuckDB file of one release: commented views over exactly the versions that it serves.

Written aside in one transaction, then renamed with its release. The file holds no predictions, only views over the
Parquet files by absolute path, so it costs the same beside any number of rows.

For a table ``t``: ``t``, ``t_explanations`` and ``t_features`` are its live version; ``t_all_versions`` every kept
version that passed its gates; ``t_as_of(ts)`` the rows of the newest version by as-of, not after ``ts``, among those
that were ever live and are not barred. The ``meta`` schema holds the record: see :mod:`batch_scoring.store.meta`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from itertools import count
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring import domain, tasks
from batch_scoring.declare import TableName
from batch_scoring.domain import EXPLANATIONS, FEATURES, PREDICTIONS, Manifest, Release, VersionId
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store.index import feature_columns
from batch_scoring.store.layout import (
    CATALOG,
    read_sound_release,
    read_sums,
    release_folder,
    table_names,
    version_folder,
    versions_folder,
    walk_back,
)
from batch_scoring.store.meta import Known, TableFacts, add_release, columns_script, facts_of, new_script
from batch_scoring.store.meta import table_script as meta_script
from batch_scoring.store.sql import glob_text, ident, path_text, rows, text

if TYPE_CHECKING:
    import duckdb

STORAGE_VERSION = "v1.5.0"
"""DuckDB 1.5 and later read the file; the default of DuckDB 2 shuts 1.x tools out."""
_BLOCK = 16_384
"""Bytes, the fewest that DuckDB knows: with its default every small table would take a quarter of a megabyte."""

_FILES = "served_files"
_SHOWN = "CREATE OR REPLACE VIEW {view} AS SELECT * FROM {files}.{view}; COMMENT ON VIEW {view} IS {comment};"
_BIND = "SELECT 1 FROM {views} LIMIT 0;"
_ONE = "SELECT * FROM read_parquet({path}){condition}"
_DAMAGED = "SELECT error({message}) AS damaged"
# By pattern, not by list, while all is well: a version that is pruned later is then simply not there any more.
_MANY = "SELECT * FROM read_parquet('{pattern}') WHERE filename IN ({paths})"
_LISTED = "SELECT * FROM read_parquet([{paths}], union_by_name = true)"
_AS_OF = """
SELECT * FROM ({source}) WHERE version = (
    SELECT v FROM (VALUES {versions}) served(spoke_from, v)
    WHERE spoke_from <= ts::TIMESTAMPTZ ORDER BY spoke_from DESC, v DESC LIMIT 1
)
"""
_COMMENTS = {
    "key": "canonical key: percent-encoded parts joined by /",
    "base_value": "margin of a row that nothing is known about",
    "as_of": "the moment the version speaks for",
    "version": "table version that the row belongs to",
}
_ALL = "_all_versions"
_VIEWS = {
    PREDICTIONS: ("", "live predictions"),
    EXPLANATIONS: ("_explanations", "contribution of every feature to every live prediction"),
    FEATURES: ("_features", "features as served to every live prediction"),
}


_SUFFIXES = (*(suffix for suffix, _ in _VIEWS.values()), _ALL)


def write_catalog(path: Path, root: Path, release: Release) -> None:
    """Create the DuckDB file of a release at ``path``, which must not exist.

    Made from the file of the release before where that is whole, by changing only what has changed: that costs the same
    beside any number of tables, versions and releases. Otherwise, and whenever that does not work out, from nothing.

    A version whose files are damaged is left out; if it is live, its views say so when they are read.

    Raises:
        duckdb.Error: the file cannot be written.
    """
    import duckdb

    root = Path(abspath(root))  # noqa: PTH100 -- views hold it as text, so '..' must be gone but links stay as given
    carried = _file_before(root, release)
    if carried is not None:
        before, content = carried
        path.write_bytes(content)
        try:
            with _attached(path) as con:
                _change(con, root, release, before)
        except (duckdb.Error, _Outdated):
            _remove(path)
        else:
            return
    releases = tuple(walk_back(root, release))
    facts = facts_of(root, release, None, {})
    try:
        _create(path, root, releases, facts)
    except duckdb.Error:
        sound = tuple(table.without(_unreadable(root, table)) for table in facts)
        if sound == facts:
            raise
        _remove(path)
        _create(path, root, releases, sound)


def _file_before(root: Path, release: Release) -> tuple[Release, bytes] | None:
    """The release before and its catalog, if both have the checksums that they should."""
    if release.previous is None:
        return None
    folder = release_folder(root, release.previous)
    try:
        before, content = read_sound_release(root, release.previous), (folder / CATALOG).read_bytes()
    except (StoreCorrupt, FileNotFoundError):  # the record of it is gone or damaged, or its catalog was pruned
        return None
    return (before, content) if read_sums(folder).get(CATALOG) == sha256(content).hexdigest() else None


class _Outdated(Exception):
    """A catalog holds a table that the store does not."""


def _change(con: duckdb.DuckDBPyConnection, root: Path, release: Release, before: Release) -> None:
    """Make the catalog of one release that of the next."""
    known: dict[TableName, dict[VersionId, Known]] = {}
    for table, version, origin, kept in con.execute("SELECT table_name, version, origin, kept FROM meta.versions").fetchall():
        known.setdefault(TableName(table), {})[VersionId(version)] = Known(origin=origin, kept=kept)
    if not known.keys() <= set(table_names(root)):
        raise _Outdated
    facts = facts_of(root, release, before, known)
    con.execute("BEGIN")
    add_release(con, release)
    con.execute(f"{''.join(part for table in facts for part in _table_script(root, table))} COMMIT")


def _create(path: Path, root: Path, releases: tuple[Release, ...], facts: tuple[TableFacts, ...]) -> None:
    views = "".join(part for table in facts for part in _table_script(root, table))
    with _attached(path) as con:
        con.execute(f"BEGIN; CREATE SCHEMA {_FILES}; {new_script(releases)} {views} COMMIT")


@contextmanager
def _attached(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the file at ``path`` is the default database; whole and closed afterwards."""
    alias = f"catalog_{next(_aliases)}"
    # No log: the file is of use only when it is whole, and then it is synced and named by the caller.
    options = f"STORAGE_VERSION {text(STORAGE_VERSION)}, BLOCK_SIZE {_BLOCK}, RECOVERY_MODE 'no_wal_writes'"
    with engine(os.getpid()).cursor() as con:
        con.execute(f"ATTACH {path_text(path)} AS {alias} ({options}); USE {alias}")
        try:
            yield con
            con.execute(f"CHECKPOINT {alias}; USE memory; DETACH {alias}")
        except BaseException:
            engine.cache_clear()  # a failed write can leave the whole instance invalid
            raise


def _remove(path: Path) -> None:
    for left in (path, path.with_name(f"{path.name}.wal")):
        left.unlink(missing_ok=True)


_aliases = count()


@cache
def engine(pid: int) -> duckdb.DuckDBPyConnection:  # noqa: ARG001 -- a forked process must not use its parent's
    """The DuckDB instance in which this process writes catalogs: starting one costs as much as writing a catalog."""
    import duckdb

    con = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "256MB"})
    # A flip meets each footer several times, and large tables have large ones.
    con.execute("SET GLOBAL parquet_metadata_cache = true")
    return con


def _unreadable(root: Path, table: TableFacts) -> frozenset[VersionId]:
    """Versions with a Parquet file of the right size that DuckDB cannot open."""
    import duckdb

    bad = set()
    with engine(os.getpid()).cursor() as con:
        for manifest in table.whole:
            folder = version_folder(root, table.name, manifest.version)
            try:
                for name in _VIEWS:
                    con.execute(f"DESCRIBE SELECT * FROM read_parquet({path_text(folder / name)})")  # noqa: S608 -- quoted
            except duckdb.Error:
                bad.add(manifest.version)
    return frozenset(bad)


def _table_script(root: Path, table: TableFacts) -> Iterator[str]:
    """What makes one table right. All its views work when nothing is live, or nothing is kept.

    The views of ``main`` read those of the schema of files, which are replaced at every flip; they stay, and their many
    comments with them, as long as the comments and the columns are the same.
    """
    yield meta_script(table)
    live, anew = table.manifest(table.served.live), not _same_comments(table)
    if anew or table.served.live != table.before.live or not table.same_files:
        for name, (suffix, _) in _VIEWS.items():
            yield f"CREATE OR REPLACE VIEW {_FILES}.{ident(table.name + suffix)} AS {_latest(root, table, live, name)};"
    yield from _all_versions(root, table)
    if anew:
        yield columns_script(table)
        yield from _views(table, live)
    else:  # fails if the columns are not those that the views were made with
        read = _SUFFIXES if not table.same_files else _SUFFIXES[:-1]
        yield _BIND.format(views=", ".join(ident(table.name + suffix) for suffix in read))


def _same_comments(table: TableFacts) -> bool:
    """Whether the views that the catalog holds say what views made now would say."""
    live, before = table.manifest(table.served.live), table.manifest(table.before.live)
    if live is None or before is None or before in table.new:
        return False
    return list(_comments(live)) == list(_comments(before))


def _comments(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    yield (manifest.draft.description,)
    for name in _VIEWS:
        yield from column_comments(manifest, name)


def _views(table: TableFacts, live: Manifest | None) -> Iterator[str]:
    """The views of ``main``, described; their columns too, once something is live."""
    described = live or (table.manifests[-1] if table.manifests else None)
    comments = [(name, suffix, f"{table.name}: {comment}") for name, (suffix, comment) in _VIEWS.items()]
    if described is not None:
        comments[0] = (PREDICTIONS, "", f"{described.draft.description} -- {_VIEWS[PREDICTIONS][1]}")
    comments.append((PREDICTIONS, _ALL, f"{table.name}: predictions of every kept version that passed its gates"))
    for name, suffix, comment in comments:
        view = ident(table.name + suffix)
        yield _SHOWN.format(view=view, files=_FILES, comment=text(comment))
        if live is not None:
            yield from _column_comments(live, name, view)


def _latest(root: Path, table: TableFacts, live: Manifest | None, name: str) -> str:
    """Query for one Parquet file of the live version; empty if nothing is live, an error if that is damaged."""
    if live is not None:
        return _ONE.format(path=path_text(version_folder(root, table.name, live.version) / name), condition="")
    if table.served.live is None and table.whole:
        newest = version_folder(root, table.name, table.whole[-1].version)
        return _ONE.format(path=path_text(newest / name), condition=" WHERE false")
    lost = "every kept version" if table.served.live is None else f"version {table.served.live}"
    message = f"table {table.name}: {lost} is damaged. Run 'foretable verify', then 'foretable rollback {table.name}'."
    return _DAMAGED.format(message=text(message))


def _all_versions(root: Path, table: TableFacts) -> Iterator[str]:
    """The history, and the macro that chooses from it; each unless it is right already."""
    good = tuple(manifest for manifest in table.whole if manifest.passed)
    source = _history(root, table, good)
    if not table.same_files or not table.known:
        yield f"CREATE OR REPLACE VIEW {_FILES}.{ident(table.name + _ALL)} AS {source};"
    if good:
        served = [each for each in good if each.version in table.ever_live and each.version not in table.served.barred]
        versions = rows((each.draft.as_of, each.version) for each in served) or "(NULL::TIMESTAMPTZ, NULL::INTEGER)"
        source = _AS_OF.format(source=source, versions=versions)
    macro = ident(f"{table.name}_as_of")
    comment = "predictions of the version that spoke for that moment: the newest as-of not after it, once live, not barred"
    yield f"CREATE OR REPLACE MACRO {macro}(ts) AS TABLE {source};"
    yield f"COMMENT ON MACRO TABLE {macro} IS {text(f'{table.name}: {comment}')};"


def _history(root: Path, table: TableFacts, good: tuple[Manifest, ...]) -> str:
    """Query for the predictions of the given versions."""
    if not good:
        return _latest(root, table, None, PREDICTIONS)
    paths = ", ".join(path_text(version_folder(root, table.name, each.version) / PREDICTIONS) for each in good)
    if not table.alike:
        return _LISTED.format(paths=paths)
    return _MANY.format(pattern=glob_text(versions_folder(root, table.name)) + f"/[0-9]*/{PREDICTIONS}", paths=paths)


def _column_comments(manifest: Manifest, name: str, view: str) -> Iterator[str]:
    for column, comment in column_comments(manifest, name):
        yield f"COMMENT ON COLUMN {view}.{ident(column)} IS {text(comment)};"


def column_comments(manifest: Manifest, name: str) -> Iterator[tuple[str, str]]:
    """(column, description) of one Parquet file of a version, in order; what was declared wins over what is common."""
    declared = {column.name: column.description for column in manifest.draft.columns if column.description}
    features = feature_columns(manifest.draft.columns)
    yield "key", declared.get("key", _COMMENTS["key"])
    for key in manifest.draft.entity.keys:
        yield key.name, declared.get(key.name, key.description)
    match name:
        case domain.PREDICTIONS:
            common = tasks.prediction_columns(manifest.draft.task)
            yield from ((column.name, declared.get(column.name, column.description)) for column in common)
        case domain.EXPLANATIONS:
            unit = tasks.unit(manifest.draft.task)
            yield "base_value", f"{_COMMENTS['base_value']}, {unit}"
            yield from ((column.name, f"contribution of {column.name} in {unit}: {column.description}") for column in features)
        case _:
            yield from ((column.name, column.description) for column in features)
    for column in ("as_of", "version"):
        yield column, declared.get(column, _COMMENTS[column])
