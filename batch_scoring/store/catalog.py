"""The analysts' DuckDB file of one release: commented views over exactly the versions that it serves.

Written aside in one transaction, then renamed with its release. The file holds no predictions, only views over the
Parquet files by absolute path, so it costs the same beside any number of rows.

For a table ``t``: ``t``, ``t_explanations`` and ``t_features`` are its live version; ``t_all_versions`` every kept
version that passed its gates; ``t_as_of(ts)`` the rows of the newest version by as-of, not after ``ts``, among those
that were ever live and are not barred. The ``meta`` schema holds the record: see :mod:`batch_scoring.store.meta`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from functools import cache
from itertools import count
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring import domain, tasks
from batch_scoring.domain import EXPLANATIONS, FEATURES, PREDICTIONS, Manifest, Release, VersionId
from batch_scoring.store.index import feature_columns
from batch_scoring.store.layout import version_folder, versions_folder
from batch_scoring.store.meta import TableFacts, facts_of, meta_script
from batch_scoring.store.sql import glob_text, ident, path_text, rows, text

if TYPE_CHECKING:
    import duckdb

STORAGE_VERSION = "v1.5.0"
"""DuckDB 1.5 and later read the file; the default of DuckDB 2 shuts 1.x tools out."""

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
_VIEWS = {
    PREDICTIONS: ("", "live predictions"),
    EXPLANATIONS: ("_explanations", "contribution of every feature to every live prediction"),
    FEATURES: ("_features", "features as served to every live prediction"),
}


def write_catalog(path: Path, root: Path, release: Release) -> None:
    """Create the DuckDB file at ``path``, which must not exist.

    A version whose files are damaged is left out; if it is live, its views say so when they are read.

    Raises:
        duckdb.Error: the file cannot be written.
    """
    import duckdb

    root = Path(abspath(root))  # noqa: PTH100 -- views hold it as text, so '..' must be gone but links stay as given
    releases, facts = facts_of(root, release)
    try:
        _write(path, root, releases, facts)
    except duckdb.Error:
        sound = tuple(table.without(_unreadable(root, table)) for table in facts)
        if sound == facts:
            raise
        path.unlink(missing_ok=True)
        _write(path, root, releases, sound)


def _write(path: Path, root: Path, releases: tuple[Release, ...], facts: tuple[TableFacts, ...]) -> None:
    script = "".join((meta_script(releases, facts), *(part for table in facts for part in _table_script(root, table))))
    alias = f"catalog_{next(_aliases)}"
    with _engine(os.getpid()).cursor() as con:
        con.execute(f"ATTACH {path_text(path)} AS {alias} (STORAGE_VERSION {text(STORAGE_VERSION)})")
        try:
            con.execute(f"USE {alias}; BEGIN; {script} COMMIT; CHECKPOINT {alias}")
            con.execute(f"USE memory; DETACH {alias}")
        except BaseException:
            _engine.cache_clear()  # a failed write can leave the whole instance invalid
            raise
    if path.with_name(f"{path.name}.wal").exists():  # a detach keeps quiet about what it could not write
        raise OSError(errno.EIO, "DuckDB left a log behind instead of a whole file", str(path))


_aliases = count()


@cache
def _engine(pid: int) -> duckdb.DuckDBPyConnection:  # noqa: ARG001 -- a forked process must not use its parent's
    """The DuckDB instance in which this process writes catalogs: starting one costs as much as writing a catalog."""
    import duckdb

    return duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "256MB"})


def _unreadable(root: Path, table: TableFacts) -> frozenset[VersionId]:
    """Versions with a Parquet file of the right size that DuckDB cannot open."""
    import duckdb

    bad = set()
    with _engine(os.getpid()).cursor() as con:
        for manifest in table.whole:
            folder = version_folder(root, table.name, manifest.version)
            try:
                for name in _VIEWS:
                    con.execute(f"DESCRIBE SELECT * FROM read_parquet({path_text(folder / name)})")  # noqa: S608 -- quoted
            except duckdb.Error:
                bad.add(manifest.version)
    return frozenset(bad)


def _table_script(root: Path, table: TableFacts) -> Iterator[str]:
    """The views of one table; all of them work when nothing is live, or nothing is kept."""
    live = next((manifest for manifest in table.whole if manifest.version == table.served.live), None)
    described = live or (table.manifests[-1] if table.manifests else None)
    for name, (suffix, comment) in _VIEWS.items():
        view = ident(table.name + suffix)
        yield f"CREATE VIEW {view} AS {_latest(root, table, live, name)};"
        if described is not None:
            about = f"{described.draft.description} -- " if name == PREDICTIONS else f"{table.name}: "
            yield f"COMMENT ON VIEW {view} IS {text(about + comment)};"
    yield from _all_versions(root, table)
    if live is not None:
        for name, (suffix, _) in _VIEWS.items():
            yield from _column_comments(live, name, ident(table.name + suffix))
        if any(manifest.passed for manifest in table.whole):
            yield from _column_comments(live, PREDICTIONS, ident(f"{table.name}_all_versions"))


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
    view, macro = ident(f"{table.name}_all_versions"), ident(f"{table.name}_as_of")
    good = tuple(manifest for manifest in table.whole if manifest.passed)
    source = _history(root, table, good)
    yield f"CREATE VIEW {view} AS {source};"
    yield f"COMMENT ON VIEW {view} IS {text(f'{table.name}: predictions of every kept version that passed its gates')};"
    if good:
        served = [each for each in good if each.version in table.ever_live and each.version not in table.served.barred]
        versions = rows((each.draft.as_of, each.version) for each in served) or "(NULL::TIMESTAMPTZ, NULL::INTEGER)"
        source = _AS_OF.format(source=source, versions=versions)
    yield f"CREATE MACRO {macro}(ts) AS TABLE {source};"
    comment = "predictions of the version that spoke for that moment: the newest as-of not after it, once live, not barred"
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
