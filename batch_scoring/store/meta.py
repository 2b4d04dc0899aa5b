"""The record inside the analysts' catalog: small tables in the schema ``meta``.

``releases`` (every release up to this one), ``versions`` (every kept version and what became of it), ``gates``,
``windows`` (the window search), ``holdout`` (the competitors on the final hold-out), ``skew`` and ``columns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from batch_scoring.codec import to_json
from batch_scoring.declare import TableName
from batch_scoring.domain import Manifest, Release, Served, VersionId
from batch_scoring.store.layout import has_its_files, readable_versions, table_names, version_ids, walk_back
from batch_scoring.store.sql import Literal, text

_TABLES = {
    "releases": (
        "Every change of what is served, up to this release",
        """
        release INTEGER, previous INTEGER, made_at TIMESTAMPTZ, who VARCHAR, why VARCHAR, action VARCHAR, table_name
        VARCHAR, channel VARCHAR, from_version INTEGER, to_version INTEGER, is_current BOOLEAN
        """,
    ),
    "versions": (
        "Every version that was kept when this release was made; served: it was live once",
        """
        table_name VARCHAR, version INTEGER, as_of TIMESTAMPTZ, built_at TIMESTAMPTZ, row_count BIGINT, threshold
        DOUBLE, passed BOOLEAN, served BOOLEAN, live BOOLEAN, shadow BOOLEAN, barred BOOLEAN, kept BOOLEAN,
        training_window VARCHAR, cutoff TIMESTAMPTZ, train_rows BIGINT, reason VARCHAR
        """,
    ),
    "gates": (
        "What every gate of every kept version saw",
        """
        table_name VARCHAR, version INTEGER, gate VARCHAR, passed BOOLEAN, observed DOUBLE, limit_value DOUBLE,
        message VARCHAR
        """,
    ),
    "windows": (
        "The window search of every kept version: each window on each fold",
        """
        table_name VARCHAR, version INTEGER, training_window VARCHAR, fold INTEGER, cutoff TIMESTAMPTZ, until
        TIMESTAMPTZ, train_rows BIGINT, test_rows BIGINT, loss DOUBLE, auc DOUBLE, chosen BOOLEAN
        """,
    ),
    "holdout": (
        "Every competitor of every kept version on the same out-of-time rows",
        """
        table_name VARCHAR, version INTEGER, competitor VARCHAR, row_count BIGINT, loss DOUBLE, auc DOUBLE, note
        VARCHAR
        """,
    ),
    "skew": (
        "Every served feature of every kept version beside training; psi: how far its distribution has moved",
        """
        table_name VARCHAR, version INTEGER, feature VARCHAR, psi DOUBLE, differing BIGINT, compared BIGINT, served_nulls
        DOUBLE, trained_nulls DOUBLE, serve_as VARCHAR
        """,
    ),
    "columns": (
        "Every documented column of the live version of every table",
        """
        table_name VARCHAR, version INTEGER, position INTEGER, column_name VARCHAR, type VARCHAR, role VARCHAR,
        description VARCHAR
        """,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What the catalog says of one table.

    Attributes:
        manifests: of every kept version, ascending. whole: those whose files are all there.
        ever_live: versions that were live in some release.
        folders: number of version folders, readable or not.
    """

    name: TableName
    served: Served
    manifests: tuple[Manifest, ...]
    whole: tuple[Manifest, ...]
    ever_live: frozenset[VersionId]
    folders: int

    @property
    def alike(self) -> bool:
        """Every version folder is whole and has the same columns, so one pattern can read them all."""
        return len(self.whole) == self.folders and len({(each.draft.entity.keys, each.draft.task) for each in self.whole}) == 1

    def without(self, damaged: frozenset[VersionId]) -> TableFacts:
        """The same, with some versions counted as damaged."""
        return replace(self, whole=tuple(manifest for manifest in self.whole if manifest.version not in damaged))


def facts_of(root: Path, release: Release) -> tuple[tuple[Release, ...], tuple[TableFacts, ...]]:
    """Every release up to this one, newest first, and the facts of every table that has a version."""
    releases = tuple(walk_back(root, release))
    tables = (_table_facts(root, name, release, releases) for name in table_names(root))
    return releases, tuple(table for table in tables if table.folders or table.served != Served())


def _table_facts(root: Path, name: TableName, release: Release, releases: tuple[Release, ...]) -> TableFacts:
    manifests = readable_versions(root, name)
    lives = (each.tables[name].live for each in releases if name in each.tables)
    return TableFacts(
        name=name,
        served=release.tables.get(name, Served()),
        manifests=manifests,
        whole=tuple(manifest for manifest in manifests if has_its_files(root, manifest)),
        ever_live=frozenset(live for live in lives if live is not None),
        folders=len(version_ids(root, name)),
    )


def meta_script(releases: tuple[Release, ...], facts: tuple[TableFacts, ...]) -> str:
    """SQL that creates and fills the schema, inside the caller's transaction."""
    content = {
        "releases": _release_rows(releases),
        "versions": (row for table in facts for row in _version_rows(table)),
        "gates": (
            (table.name, each.version, gate.gate, gate.passed, gate.observed, gate.limit, gate.message)
            for table, each in _each(facts)
            for gate in each.draft.gates
        ),
        "windows": (row for table, each in _each(facts) for row in _window_rows(table.name, each)),
        "holdout": (
            (table.name, each.version, score.who, score.rows, score.loss, score.auc, score.note)
            for table, each in _each(facts)
            for score in each.draft.training.holdout
        ),
        "skew": (row for table, each in _each(facts) for row in _skew_rows(table.name, each)),
        "columns": (
            (table.name, each.version, position, column.name, column.type, column.role, column.description)
            for table, each in _each(facts)
            if each.version == table.served.live
            for position, column in enumerate(each.draft.columns, start=1)
        ),
    }
    return "CREATE SCHEMA meta;" + "".join(_create(name, *_TABLES[name], values) for name, values in content.items())


def _create(name: str, comment: str, columns: str, rows: Iterable[tuple[Literal, ...]]) -> str:
    # Rows travel as one JSON text: DuckDB binds every literal of a VALUES list by itself, six times as slow.
    types = dict(column.split() for column in columns.split(","))
    records, shape = to_json([dict(zip(types, row, strict=True)) for row in rows]), to_json([types])
    values = f"unnest(from_json({text(records.decode())}, {text(shape.decode())}), recursive := true)"
    return (
        f"CREATE TABLE meta.{name} ({columns}); COMMENT ON TABLE meta.{name} IS {text(comment)};"
        f"INSERT INTO meta.{name} BY NAME SELECT {values};"
    )


def _each(facts: Iterable[TableFacts]) -> Iterator[tuple[TableFacts, Manifest]]:
    return ((table, manifest) for table in facts for manifest in table.manifests)


def _release_rows(releases: tuple[Release, ...]) -> Iterator[tuple[Literal, ...]]:
    newest = releases[0].id
    for each in reversed(releases):
        action = each.action
        change = (action.kind, action.table, action.channel, action.from_version, action.to_version)
        yield (each.id, each.previous, each.when, each.who, each.why, *change, each.id == newest)


def _version_rows(table: TableFacts) -> Iterator[tuple[Literal, ...]]:
    whole = {manifest.version for manifest in table.whole}
    for manifest in table.manifests:
        number, draft, training = manifest.version, manifest.draft, manifest.draft.training
        flags = (
            manifest.passed,
            number in table.ever_live,
            number == table.served.live,
            number == table.served.shadow,
            number in table.served.barred,
            number in whole,
        )
        made = (str(training.window), training.cutoff, training.train_rows, draft.reason)
        yield (table.name, number, draft.as_of, draft.built_at, draft.rows, draft.threshold, *flags, *made)


def _skew_rows(name: TableName, manifest: Manifest) -> Iterator[tuple[Literal, ...]]:
    skew = manifest.draft.skew
    if skew is None:
        return
    for each in skew.features:
        seen = (each.psi, each.differing, skew.compared, each.served_nulls, each.trained_nulls)
        yield (name, manifest.version, each.feature, *seen, each.serve_as)


def _window_rows(name: TableName, manifest: Manifest) -> Iterator[tuple[Literal, ...]]:
    training = manifest.draft.training
    for each in training.windows:
        seen = (each.fold, each.cutoff, each.until, each.train_rows, each.test_rows, each.loss, each.auc)
        yield (name, manifest.version, str(each.window), *seen, each.window == training.window)
