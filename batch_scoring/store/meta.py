"""The record inside the analysts' catalog: small tables in the schema ``meta``.

``releases`` (every release up to this one), ``versions`` (every kept version and what became of it), ``runs`` (how each came
about), ``models`` (what each predicts with), ``gates``,
``windows`` (the window search), ``holdout`` (the competitors on the final hold-out), ``skew``,
``data_checks`` (what was seen in the delivery behind a version) and ``columns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring import tasks
from batch_scoring.codec import to_json
from batch_scoring.declare import TableName
from batch_scoring.domain import MODEL, Manifest, Release, Served, VersionId
from batch_scoring.store.layout import has_its_files, last_live, readable_versions, table_names, version_folder, version_ids
from batch_scoring.store.sql import Literal, text

if TYPE_CHECKING:
    import duckdb

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
        training_window VARCHAR, cutoff TIMESTAMPTZ, train_rows BIGINT, reason VARCHAR, origin VARCHAR
        """,
    ),
    "runs": (
        "How every kept version came about; seconds: from its start until it was built; code_commit: of the declarations",
        """
        table_name VARCHAR, version INTEGER, as_of TIMESTAMPTZ, started_at TIMESTAMPTZ, built_at TIMESTAMPTZ, seconds DOUBLE,
        run_trigger VARCHAR, reason VARCHAR, passed BOOLEAN, training_set VARCHAR, feature_definitions VARCHAR, code_commit
        VARCHAR, code_dirty BOOLEAN, packages VARCHAR
        """,
    ),
    "models": (
        "The model of every kept version; loss: of the hold-out, by the metric; params and metrics: as JSON",
        """
        table_name VARCHAR, version INTEGER, task VARCHAR, metric VARCHAR, training_window VARCHAR, mode VARCHAR, rounds
        INTEGER, threshold DOUBLE, train_from TIMESTAMPTZ, train_to TIMESTAMPTZ, train_rows BIGINT, loss DOUBLE, baseline_loss
        DOUBLE, live_loss DOUBLE, sha256 VARCHAR, params VARCHAR, metrics VARCHAR
        """,
    ),
    "gates": (
        "What every gate of every kept version saw; verdict: pass, warn, waived or fail; waived: the reason",
        """
        table_name VARCHAR, version INTEGER, gate VARCHAR, passed BOOLEAN, observed DOUBLE, limit_value DOUBLE,
        message VARCHAR, verdict VARCHAR, waived VARCHAR
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
    "data_checks": (
        "Checks of the delivery behind every kept version, and of later ones that were refused: passed once, failed in full",
        """
        table_name VARCHAR, version INTEGER, source VARCHAR, delivery VARCHAR, checked_at TIMESTAMPTZ, accepted BOOLEAN,
        check_name VARCHAR, column_name VARCHAR, severity VARCHAR, passed BOOLEAN, observed DOUBLE, limit_value DOUBLE,
        sentence VARCHAR
        """,
    ),
    "columns": (
        "Every documented column of the live version of every table",
        """
        table_name VARCHAR, position INTEGER, column_name VARCHAR, type VARCHAR, role VARCHAR, description VARCHAR
        """,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a catalog already holds of one version: the folder its rows were read from, and whether its files were all there."""

    origin: str
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What the catalog says of one table, and what it said before.

    Attributes:
        served: now. before: in the catalog that is carried on, or nothing.
        manifests: of every kept version, ascending. whole: those whose files are all there.
        ever_live: versions that were live in some release.
        origins: the folder of every kept version, readable or not. known: the rows that the catalog already holds.
    """

    name: TableName
    served: Served
    before: Served
    manifests: tuple[Manifest, ...]
    whole: tuple[Manifest, ...]
    ever_live: frozenset[VersionId]
    origins: Mapping[VersionId, str]
    known: Mapping[VersionId, Known]

    @property
    def alike(self) -> bool:
        """Every version folder is whole and has the same columns, so one pattern can read them all."""
        columns = {(each.draft.entity.keys, each.draft.task) for each in self.whole}
        return len(self.whole) == len(self.origins) and len(columns) == 1

    @property
    def new(self) -> tuple[Manifest, ...]:
        """Manifests of which the catalog holds no rows yet, or rows of a folder that was there before."""
        return tuple(each for each in self.manifests if not self._holds(each.version))

    @property
    def gone(self) -> tuple[VersionId, ...]:
        """Versions whose rows are no longer right."""
        read = {each.version for each in self.manifests}
        return tuple(version for version in self.known if version not in read or not self._holds(version))

    @property
    def same_files(self) -> bool:
        """The catalog was made from just these versions, and from the same of them that are whole."""
        whole = {each.version for each in self.whole}
        now = {each.version: Known(origin=self.origins[each.version], kept=each.version in whole) for each in self.manifests}
        return now == self.known

    def _holds(self, version: VersionId) -> bool:
        return version in self.known and self.known[version].origin == self.origins[version]

    def manifest(self, version: VersionId | None) -> Manifest | None:
        """That of a whole version."""
        return next((each for each in self.whole if each.version == version), None)

    def without(self, damaged: frozenset[VersionId]) -> TableFacts:
        """The same, with some versions counted as damaged."""
        return replace(self, whole=tuple(manifest for manifest in self.whole if manifest.version not in damaged))


Holdings = Mapping[TableName, Mapping[VersionId, Known]]
"""The versions that a catalog holds rows of."""


def facts_of(root: Path, release: Release, before: Release | None, known: Holdings) -> tuple[TableFacts, ...]:
    """The facts of every table that has a version and is not in the catalog already, as it is now.

    Only those are read; of the others it looks at the folders. Hence a publish costs the same beside any number of tables
    that did not change.
    """
    return tuple(table for name in table_names(root) for table in _changed(root, name, release, before, known.get(name, {})))


def _changed(
    root: Path, name: TableName, release: Release, before: Release | None, known: Mapping[VersionId, Known]
) -> Iterator[TableFacts]:
    served = release.tables.get(name, Served())
    was = Served() if before is None else before.tables.get(name, Served())
    origins = origins_of(root, name)
    if not origins and served == Served():
        return
    if served == was and origins == {version: each.origin for version, each in known.items()}:
        return
    manifests = tuple(each for each in readable_versions(root, name) if each.version in origins)
    yield TableFacts(
        name=name,
        served=served,
        before=was,
        manifests=manifests,
        whole=tuple(manifest for manifest in manifests if has_its_files(root, manifest)),
        ever_live=frozenset(last_live(release, name)),
        origins=origins,
        known=known,
    )


def origins_of(root: Path, table: TableName) -> dict[VersionId, str]:
    """Which folder each kept version is: path, inode and time of its last change of names, in nanoseconds."""
    found = {}
    for version in version_ids(root, table):
        folder = version_folder(root, table, version)
        try:
            state = folder.stat()
        except FileNotFoundError:  # pruned meanwhile
            continue
        found[version] = f"{folder}#{state.st_ino}#{state.st_mtime_ns}"
    return found


def new_script(releases: Sequence[Release]) -> str:
    """SQL that creates the schema with the history, newest release first, and no table's facts yet."""
    tables = (
        f"CREATE TABLE meta.{name} ({columns}); COMMENT ON TABLE meta.{name} IS {text(comment)};"
        for name, (comment, columns) in _TABLES.items()
    )
    history = [_release_row(each, releases[0]) for each in reversed(releases)]
    return f"CREATE SCHEMA meta;{''.join(tables)}{_insert('releases', history)}"


_DELETE = "DELETE FROM meta.{name} WHERE table_name = {table} AND {which};"
_UPDATE = "UPDATE meta.versions SET {changes} WHERE table_name = {table};"
_FORGET = "UPDATE meta.releases SET is_current = false WHERE is_current"
_ADD = "INSERT INTO meta.releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def add_release(con: duckdb.DuckDBPyConnection, release: Release) -> None:
    """Add a release to the history of the one before it."""
    con.execute(_FORGET)
    con.execute(_ADD, _release_row(release, release))


def table_script(table: TableFacts) -> str:
    """SQL that makes the rows of one table right: those of its versions, and what became of them."""
    new, gone = table.new, table.gone
    content: dict[str, list[tuple[Literal, ...]]] = {
        "versions": [row for row in _version_rows(table) if row[1] in {each.version for each in new}],
        "runs": [_run_row(table.name, each) for each in new],
        "models": [_model_row(table.name, each) for each in new],
        "gates": [
            (table.name, each.version, gate.gate, gate.passed, gate.observed, gate.limit, gate.message, gate.verdict, gate.waived)
            for each in new
            for gate in each.draft.gates
        ],
        "windows": [row for each in new for row in _window_rows(table.name, each)],
        "holdout": [
            (table.name, each.version, score.who, score.rows, score.loss, score.auc, score.note)
            for each in new
            for score in each.draft.training.holdout
        ],
        "skew": [row for each in new for row in _skew_rows(table.name, each)],
        "data_checks": [row for each in new for row in _data_rows(table.name, each)],
    }
    parts = [_DELETE.format(name=each, table=text(table.name), which=_among(gone)) for each in content] if gone else []
    parts += [_insert(each, values) for each, values in content.items()]
    if len(new) < len(table.manifests):
        parts.append(_flags(table))
    return "".join(parts)


def columns_script(table: TableFacts) -> str:
    """SQL that replaces the documented columns of one table by those of its live version."""
    live = next((each for each in table.manifests if each.version == table.served.live), None)
    values: list[tuple[Literal, ...]] = [
        (table.name, position, column.name, column.type, column.role, column.description)
        for position, column in enumerate(live.draft.columns if live else (), start=1)
    ]
    return _DELETE.format(name="columns", table=text(table.name), which="true") + _insert("columns", values)


def _insert(name: str, values: Sequence[tuple[Literal, ...]]) -> str:
    """One statement, or none for no rows."""
    if not values:
        return ""
    # Rows travel as one JSON text: DuckDB binds every literal of a VALUES list by itself, six times as slow.
    types = dict(column.split() for column in _TABLES[name][1].split(","))
    records, shape = to_json([dict(zip(types, row, strict=True)) for row in values]), to_json([types])
    source = f"unnest(from_json({text(records.decode())}, {text(shape.decode())}), recursive := true)"
    return f"INSERT INTO meta.{name} BY NAME SELECT {source};"


def _flags(table: TableFacts) -> str:
    served = table.served
    flags = {
        "served": table.ever_live,
        "live": [served.live] if served.live is not None else [],
        "shadow": [served.shadow] if served.shadow is not None else [],
        "barred": served.barred,
        "kept": [each.version for each in table.whole],
    }
    changes = ", ".join(f"{flag} = {_among(versions)}" for flag, versions in flags.items())
    return _UPDATE.format(changes=changes, table=text(table.name))


def _among(versions: Iterable[VersionId]) -> str:
    numbers = ", ".join(str(version) for version in sorted(versions))
    return f"version IN ({numbers})" if numbers else "false"


def _release_row(each: Release, newest: Release) -> tuple[Literal, ...]:
    action = each.action
    change = (action.kind, action.table, action.channel, action.from_version, action.to_version)
    return (each.id, each.previous, each.when, each.who, each.why, *change, each.id == newest.id)


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
        made = (str(training.window), training.cutoff, training.train_rows, draft.reason, table.origins[number])
        yield (table.name, number, draft.as_of, draft.built_at, draft.rows, draft.threshold, *flags, *made)


def _run_row(name: TableName, manifest: Manifest) -> tuple[Literal, ...]:
    draft, how = manifest.draft, manifest.draft.provenance
    began = (None, draft.built_at, None, None) if how is None else (how.started_at, draft.built_at, how.seconds, how.trigger)
    code = (None, None, None) if how is None else (how.definitions, how.commit, how.dirty)
    made = (draft.reason, manifest.passed, draft.training.training_set, *code)
    return (name, manifest.version, draft.as_of, *began, *made, to_json(draft.packages).decode())


def _model_row(name: TableName, manifest: Manifest) -> tuple[Literal, ...]:
    draft, training = manifest.draft, manifest.draft.training
    losses = {score.who: score.loss for score in training.holdout}
    digest = next((fact.sha256 for fact in manifest.files if fact.name == MODEL), None)
    fitted = (str(training.window), training.mode, training.rounds, draft.threshold)
    rows = (training.train_from, training.train_to, training.train_rows)
    judged = (losses.get("contender"), losses.get("baseline"), losses.get("live"))
    measured = next((score.metrics for score in training.holdout if score.who == "contender"), ())
    texts = (to_json(training.params).decode(), to_json(measured).decode())
    return (name, manifest.version, tasks.kind(draft.task), tasks.metric(draft.task), *fitted, *rows, *judged, digest, *texts)


def _skew_rows(name: TableName, manifest: Manifest) -> Iterator[tuple[Literal, ...]]:
    skew = manifest.draft.skew
    if skew is None:
        return
    for each in skew.features:
        seen = (each.psi, each.differing, skew.compared, each.served_nulls, each.trained_nulls)
        yield (name, manifest.version, each.feature, *seen, each.serve_as)


def _data_rows(name: TableName, manifest: Manifest) -> Iterator[tuple[Literal, ...]]:
    for report in manifest.draft.data:
        for each in report.findings:
            where = (each.source, report.delivery, report.checked_at, report.accepted)
            seen = (each.severity, each.passed, each.observed, each.limit, each.sentence)
            yield (name, manifest.version, *where, each.check, each.column, *seen)


def _window_rows(name: TableName, manifest: Manifest) -> Iterator[tuple[Literal, ...]]:
    training = manifest.draft.training
    for each in training.windows:
        seen = (each.fold, each.cutoff, each.until, each.train_rows, each.test_rows, each.loss, each.auc)
        yield (name, manifest.version, str(each.window), *seen, each.window == training.window)
