"""The report of a delivery as asset checks: one for the whole, and one for every kind of check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from batch_scoring.data_checks import CHECKS, Finding
from batch_scoring.errors import DataRejected
from batch_scoring.settings import Settings
from pipelines.defs import describe

OVERALL = "raw_files"


def data_check_specs(table: str) -> list[dg.AssetCheckSpec]:
    """The checks of the asset ``delivery``; the overall one stops what is downstream."""
    asset = [table, "delivery"]
    overall = dg.AssetCheckSpec(OVERALL, asset=asset, blocking=True, description="Every check that rejects has passed.")
    kinds = [dg.AssetCheckSpec(check, asset=asset, description=f"See docs/validation.md: {check}.") for check in CHECKS]
    return [overall, *kinds]


def data_check_results(
    table: str, settings: Settings, delivery: str | None, *, rejected: DataRejected | None = None
) -> Iterator[dg.AssetCheckResult]:
    """A result per check, from the report of a delivery; of the newest one if it was rejected."""
    from pipelines.validation.report import report_of, reports

    judged = report_of(table, delivery, settings) if delivery else next(reports(table, settings), None)
    findings = judged.report.findings if judged else ()
    if rejected is None:
        yield dg.AssetCheckResult(check_name=OVERALL, passed=True, metadata={"checks": len(findings)})
    else:
        metadata = describe.rejection(rejected)
        yield dg.AssetCheckResult(check_name=OVERALL, passed=False, description=str(rejected), metadata=metadata)
    for check in CHECKS:
        yield _result(check, [finding for finding in findings if finding.check == check])


def _result(check: str, findings: Sequence[Finding]) -> dg.AssetCheckResult:
    failed = [finding for finding in findings if not finding.passed]
    worst = max(failed or findings, key=lambda finding: (finding.rejects, finding.observed or 0.0), default=None)
    if worst is None:
        return dg.AssetCheckResult(check_name=check, passed=True, description="Nothing to look at, or switched off.")
    metadata: dict[str, dg.MetadataValue | str | int | float] = {"looked at": len(findings), "failed": len(failed)}
    metadata |= {} if worst.observed is None else {"observed": worst.observed}
    metadata |= {} if worst.limit is None else {"limit": worst.limit}
    if failed:
        rows = [(each.source, each.column, each.severity, each.must, each.found) for each in failed]
        metadata["findings"] = describe.markdown(["source", "column", "severity", "expected that it", "found"], rows)
    stops = any(finding.rejects for finding in failed)
    return dg.AssetCheckResult(
        check_name=check,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if stops or not failed else dg.AssetCheckSeverity.WARN,
        description=worst.sentence if failed else f"{len(findings)} looked at, all well.",
        metadata=metadata,
    )
