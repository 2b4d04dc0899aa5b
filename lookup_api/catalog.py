"""What is in a release, in the shapes of :mod:`lookup_api.answers`. Pure, given a snapshot."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from batch_scoring import declare, tasks
from batch_scoring.declare import TableName
from batch_scoring.domain import Manifest, Served
from batch_scoring.errors import UnknownVersion
from batch_scoring.gates import GateResult
from batch_scoring.store import Snapshot
from lookup_api import answers


def table_list(snapshot: Snapshot) -> answers.TableList:
    """Every table of the release, by name.

    Raises:
        StoreCorrupt, StoreUnavailable: a live version cannot be read.
    """
    tables = tuple(_summary(snapshot, name) for name in sorted(snapshot.tables()))
    return answers.TableList(release=snapshot.release.id, tables=tables)


def table_detail(snapshot: Snapshot, table: TableName) -> answers.TableDetail:
    """One table: how to read it, and what is live and shadow.

    Raises:
        UnknownVersion: the release serves no version of it.
        StoreCorrupt, StoreUnavailable: a version cannot be read.
    """
    served = snapshot.served(table)
    spoken = _described_by(snapshot, table)
    draft = spoken.draft
    live = snapshot.manifest(table, served.live) if served.live is not None else None
    shadow = snapshot.manifest(table, served.shadow) if served.shadow is not None else None
    schedule = draft.schedule
    return answers.TableDetail(
        name=table,
        description=draft.description,
        release=snapshot.release.id,
        entity=draft.entity.description or draft.entity.name,
        keys=key_parts(draft.entity),
        schedule=answers.Schedule(
            every=schedule.every,
            at=schedule.at,
            timezone=schedule.timezone,
            weekday=schedule.weekday if schedule.every == "week" else None,
        ),
        next_expected=next_expected(schedule, live.draft.as_of) if live else None,
        task=tasks.kind(draft.task),
        classes=draft.task.names if isinstance(draft.task, declare.Classes) else (),
        unit=tasks.unit(draft.task),
        metric=tasks.metric(draft.task),
        threshold=draft.threshold,
        columns=tuple(
            answers.Column(name=c.name, type=c.type, role=c.role, description=c.description, categories=c.categories)
            for c in draft.columns
        ),
        live=_version(live, served) if live else None,
        shadow=_version(shadow, served) if shadow else None,
        gates=tuple(_gate(result) for result in live.draft.gates) if live else (),
        urls=_urls(table, draft.entity),
    )


def version_list(snapshot: Snapshot, table: TableName) -> answers.VersionList:
    """Every kept version of a table, newest first."""
    served = snapshot.served(table)
    versions = sorted(snapshot.versions(table), key=lambda manifest: manifest.version, reverse=True)
    return answers.VersionList(
        table=table, release=snapshot.release.id, versions=tuple(_version(manifest, served) for manifest in versions)
    )


def next_expected(schedule: declare.Schedule, as_of: datetime) -> datetime | None:
    """The first scheduled moment (UTC) after ``as_of``; None when the schedule has ended by then."""
    day = as_of.astimezone(ZoneInfo(schedule.timezone)).date()
    for ahead in range(9):  # a week and a day, since the moment of the first day may have passed
        candidate = day + timedelta(days=ahead)
        if schedule.speaks_on(candidate) and schedule.as_of(candidate) > as_of:
            return None if schedule.until is not None and candidate > schedule.until else schedule.as_of(candidate)
    return None


def key_parts(entity: declare.Entity) -> tuple[answers.KeyPart, ...]:
    """The join keys in the order of the URL."""
    return tuple(answers.KeyPart(name=key.name, type=key.type, description=key.description) for key in entity.keys)


def url_template(table: str, kind: str, entity: declare.Entity) -> str:
    """E.g. ``/v1/tables/flight_delays/predictions/{carrier}/{flight}``."""
    return f"/v1/tables/{table}/{kind}/" + "/".join(f"{{{name}}}" for name in entity.key_names)


def _summary(snapshot: Snapshot, table: TableName) -> answers.TableSummary:
    draft = _described_by(snapshot, table).draft
    live = snapshot.served(table).live
    return answers.TableSummary(
        name=table,
        description=draft.description,
        keys=key_parts(draft.entity),
        live=live,
        as_of=draft.as_of if live is not None else None,
        rows=draft.rows if live is not None else None,
        next_expected=next_expected(draft.schedule, draft.as_of) if live is not None else None,
        urls=_urls(table, draft.entity),
    )


def _described_by(snapshot: Snapshot, table: TableName) -> Manifest:
    """The version whose declaration speaks for the table: live, else shadow, else the newest there is."""
    served = snapshot.served(table)
    chosen = served.live if served.live is not None else served.shadow
    if chosen is not None:
        return snapshot.manifest(table, chosen)
    versions = snapshot.versions(table)
    if not versions:
        raise UnknownVersion(
            f"table '{table}'", expected="a version", found="none", fix=f"Build one with 'foretable run {table}'."
        )
    return max(versions, key=lambda manifest: manifest.version)


def _version(manifest: Manifest, served: Served) -> answers.Version:
    draft = manifest.draft
    return answers.Version(
        version=manifest.version,
        as_of=draft.as_of,
        built_at=draft.built_at,
        rows=draft.rows,
        passed=manifest.passed,
        live=manifest.version == served.live,
        shadow=manifest.version == served.shadow,
        barred=manifest.version in served.barred,
        reason=draft.reason,
        window=draft.training.window if isinstance(draft.training.window, int) else str(draft.training.window),
        holdout=tuple(
            answers.HoldOut(who=score.who, rows=score.rows, loss=score.loss, auc=score.auc, note=score.note)
            for score in draft.training.holdout
        ),
    )


def _gate(result: GateResult) -> answers.Gate:
    return answers.Gate(
        gate=result.gate,
        passed=result.passed,
        observed=result.observed,
        limit=result.limit,
        message=result.message,
        verdict=result.verdict,
        waived=result.waived,
    )


def _urls(table: str, entity: declare.Entity) -> answers.Urls:
    base = f"/v1/tables/{table}"
    return answers.Urls(
        prediction=url_template(table, "predictions", entity),
        explanation=url_template(table, "explanations", entity),
        lookup=f"{base}/predictions:lookup",
        versions=f"{base}/versions",
    )
