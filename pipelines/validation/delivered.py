"""All checks of one delivery: every file, every finding. Nothing is derived from it here, and nothing is put in place.

bytes taken → encoding → format, columns, types, pandera → keys → volume → content against limits and earlier deliveries
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.data_checks import DataReport, Finding
from batch_scoring.declare import RawFile
from batch_scoring.errors import DataRejected
from pipelines.repository import Product
from pipelines.validation.compare import judge_content, judge_volume
from pipelines.validation.profile import FileProfile, Measured, measure
from pipelines.validation.raw import CheckedFile, as_findings, load_checks, read_parts, repeated, unique_columns
from pipelines.validation.report import Judged, earlier
from pipelines.validation.source import Seen, take, text_of

if TYPE_CHECKING:
    import duckdb

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of a delivery: its files, typed, as far as they could be read; its profiles; every finding."""

    files: tuple[CheckedFile, ...]
    profiles: tuple[FileProfile, ...]
    findings: tuple[Finding, ...]


def check_delivery(
    product: Product,
    con: duckdb.DuckDBPyConnection,
    seen: Mapping[str, Seen | Finding],
    folder: Path,
    past: tuple[Judged, ...],
    at: datetime,
    tell: Progress,
) -> Checked:
    """Take every raw file and make every check of it.

    Args:
        seen: each source where it was delivered, or why it could not be read. past: earlier reports, newest first.
        folder: gets ``taken/`` (the files as delivered) and ``parts/`` (typed Parquet). at: what dates are compared with.
    """
    schemas = load_checks(product)
    keys = _keys(product)
    files, profiles, findings = [], [], []
    for raw in product.table.sources:
        tell(f"checking {raw.name}")
        place = seen[raw.name]
        if isinstance(place, Finding):
            findings.append(place)
            continue
        before = earlier(raw, past, place.sha256)
        checker = _FileChecks(raw=raw, seen=place, schema=schemas[raw.checks], past=before, at=at, keys=keys)
        findings.extend(checker.run(con, folder))
        if checker.checked is not None and checker.measured is not None:
            files.append(checker.checked)
            profiles.append(checker.measured.profile)
    return Checked(files=tuple(files), profiles=tuple(profiles), findings=tuple(findings))


def _keys(product: Product) -> frozenset[str]:
    """Columns of the names of the entity's keys and of those of every dataset."""
    table = product.table
    return frozenset((*table.entity.key_names, *(name for dataset in table.datasets for name in dataset.keys)))


class _FileChecks:
    """The checks of one file, in order; a later one is made only where the earlier ones leave something to look at."""

    def __init__(
        self, *, raw: RawFile, seen: Seen, schema: Any, past: tuple[FileProfile, ...], at: datetime, keys: frozenset[str]
    ) -> None:
        self.raw, self.seen, self.schema, self.past, self.at, self.keys = raw, seen, schema, past, at, keys
        self.checked: CheckedFile | None = None
        self.measured: Measured | None = None

    def run(self, con: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[Finding]:
        taken, parts = folder / "taken", folder / "parts" / self.raw.name
        taken.mkdir(parents=True, exist_ok=True)
        parts.mkdir(parents=True, exist_ok=True)
        whole = True
        for finding in take(self.raw, self.seen, taken):
            whole = whole and finding.passed
            yield finding
        if whole:
            text, about_text = text_of(self.raw, taken, folder)
            yield from about_text
            if all(finding.passed for finding in about_text):
                yield from self._table(con, text, parts)
        rows = None if self.checked is None else self.checked.rows
        yield from judge_volume(self.raw, self.seen.bytes, rows, self.past)
        if self.measured is not None:
            yield from judge_content(self.raw, self.measured, self.past, self.at)

    def _table(self, con: duckdb.DuckDBPyConnection, text: Path, folder: Path) -> Iterator[Finding]:
        parts, rows, problems = read_parts(self.raw, text, self.schema, folder)
        unreadable = {"format", "columns", "has_rows", "types", "timestamp_format"}
        if parts and not unreadable & {problem.check for problem in problems}:
            problems = (*problems, *repeated(con, self.schema, parts))
            self.checked = CheckedFile(raw=self.raw, parts=parts, rows=rows, bytes=self.seen.bytes, sha256=self.seen.sha256)
            self.measured = measure(con, self.checked, self.raw.compare.target, self.keys | unique_columns(self.schema))
        yield from as_findings(self.raw, self.schema, problems)


def rejection(product: Product, report: DataReport, kept: Path) -> DataRejected:
    """The error for a refused delivery: its first reason in full, all of them as its report.

    Args:
        kept: the folder in quarantine.
    """
    reasons = [finding for finding in report.findings if finding.rejects]
    first = reasons[0]
    paths = {raw.name: raw.location.path for raw in product.table.sources}
    more = f" (and {len(reasons) - 1} more failed checks)" if len(reasons) > 1 else ""
    derived = first.check == "dataset_keys"
    what = f"a column '{first.column}' that {first.must}" if first.column else f"a file that {first.must}"
    return DataRejected(
        f"dataset '{first.source}'" if derived else f"raw file '{first.source}' ({paths[first.source]})",
        expected=f"{first.column} that {first.must}" if derived else what,
        found=f"{first.found}{more}",
        fix=f"Have it delivered again; the last good delivery stays in use. Refused as {report.delivery}, kept in {kept}.",
        report=tuple((each.source if derived else paths[each.source], each.column, each.must, each.found) for each in reasons),
    )
