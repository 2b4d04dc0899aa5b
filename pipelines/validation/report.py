"""Reports of deliveries, and what was refused.

data/<table>/
  reports/000017-3f9a0c12be77.json     one per judged delivery: every finding, and the profiles later ones are compared with
  quarantine/3f9a0c12be77/             a refused delivery: its report.json, and files/ as they were delivered
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.data_checks import DataReport
from batch_scoring.declare import RawFile
from batch_scoring.settings import Settings
from pipelines.files import write_whole
from pipelines.validation.profile import FileProfile

_KEPT_REPORTS = 1000
_KEPT_QUARANTINED = 5
_SHOWN_REFUSALS = 3
_REPORT = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A report with the profiles it was judged by. ``number`` counts the deliveries of a table."""

    number: int
    report: DataReport
    profiles: tuple[FileProfile, ...]


def reports(table: str, settings: Settings) -> Iterator[Judged]:
    """Every kept report of a table, newest first. One that cannot be read is passed over: it is no reason to stop."""
    for file in sorted(_folder(table, settings).glob("*.json"), reverse=True):
        try:
            yield from_json(file.read_bytes(), Judged)
        except (OSError, ValueError):
            continue


def report_of(table: str, delivery: str, settings: Settings) -> Judged | None:
    """The newest report of a delivery."""
    for file in sorted(_folder(table, settings).glob(f"*-{delivery}.json"), reverse=True):
        try:
            return from_json(file.read_bytes(), Judged)
        except (OSError, ValueError):
            continue
    return None


def reports_behind(table: str, delivery: str, settings: Settings) -> tuple[DataReport, ...]:
    """The report of a delivery, condensed, after the newest refusals since: what a version made from it could not use."""
    refused: list[DataReport] = []
    for each in reports(table, settings):
        if each.report.delivery == delivery and each.report.accepted:
            return (*refused, each.report.condensed())
        if not each.report.accepted and len(refused) < _SHOWN_REFUSALS:
            failed = tuple(finding for finding in each.report.findings if not finding.passed)
            refused.append(replace(each.report, findings=failed))
    return ()  # its report is no longer kept


def earlier(raw: RawFile, judged: Iterable[Judged], sha256: str = "") -> tuple[FileProfile, ...]:
    """Profiles of a source in the newest accepted deliveries, as many as it is compared with; equal files count once.

    Args:
        judged: newest first. sha256: of the file that is compared; it is not compared with itself.
    """
    seen, found = {sha256}, []
    for each in judged:
        if each.report.accepted:
            for profile in each.profiles:
                if profile.source == raw.name and profile.sha256 not in seen:
                    seen.add(profile.sha256)
                    found.append(profile)
        if len(found) >= raw.compare.deliveries:
            break
    return tuple(found)


def keep(table: str, report: DataReport, profiles: tuple[FileProfile, ...], settings: Settings) -> Judged:
    """Write a report; the same delivery refused once more replaces its last report."""
    folder = _folder(table, settings)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.glob("*.json"))
    number = int(files[-1].name[:6]) if files else 0
    again = files and files[-1].name == f"{number:06}-{report.delivery}.json"
    judged = Judged(number=number if again else number + 1, report=report, profiles=profiles)
    path = folder / f"{judged.number:06}-{report.delivery}.json"
    write_whole(path, lambda unfinished: unfinished.write_bytes(to_pretty_json(judged)))
    for old in files[:-_KEPT_REPORTS]:
        old.unlink()
    return judged


def quarantine(table: str, report: DataReport, taken: Path, settings: Settings) -> Path:
    """Put a refused delivery aside, whole: every file as it was taken, and the report. The newest few are kept.

    Args:
        taken: folder of the copies, on the file system of the data; it is moved.
    """
    parent = settings.data / table / "quarantine"
    parent.mkdir(parents=True, exist_ok=True)
    refused = taken.with_name("refused")
    refused.mkdir()
    taken.rename(refused / "files")
    (refused / _REPORT).write_bytes(to_pretty_json(report))
    folder = parent / report.delivery
    shutil.rmtree(folder, ignore_errors=True)
    refused.rename(folder)
    os.utime(folder)
    for old in sorted(parent.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)[_KEPT_QUARANTINED:]:
        shutil.rmtree(old)
    return folder


def _folder(table: str, settings: Settings) -> Path:
    return settings.data / table / "reports"
