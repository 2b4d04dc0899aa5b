"""``foretable deliveries``: what the checks saw in the newest deliveries of a table."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.validation.report import Judged


def deliveries(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")],
    last: Annotated[int, typer.Option("--last", min=1, metavar="N", help="How many deliveries, newest first.")] = 3,
    passed: Annotated[bool, typer.Option("--all", help="Also the checks that passed.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """What the checks of incoming data saw in the newest deliveries: accepted or refused, and every finding."""
    from batch_scoring.settings import load_settings
    from pipelines.console import out, show_json
    from pipelines.repository import load_repository
    from pipelines.validation.report import reports

    settings = load_settings()
    name = load_repository(settings.repo).product(table).table.name
    newest = tuple(islice(reports(name, settings), last))
    if json:
        show_json([each.report for each in newest])
        return
    for judged in newest:
        _show(judged, passed)
    if not newest:
        out.print(f"No delivery of '{name}' was checked yet. Run 'foretable ingest {name}'.", markup=False)


def _show(judged: Judged, passed: bool) -> None:
    from pipelines.console import out, show_table

    report = judged.report
    failed = [finding for finding in report.findings if not finding.passed]
    verdict = "accepted" if report.accepted else "refused, in quarantine"
    out.print(
        f"{report.delivery}  {verdict}, as of {report.checked_at:%Y-%m-%d %H:%M} UTC: "
        f"{len(report.findings)} checks, {sum(finding.rejects for finding in failed)} errors, "
        f"{sum(not finding.rejects for finding in failed)} warnings",
        markup=False,
    )
    shown = report.findings if passed else failed
    if shown:
        rows = [
            [
                "passed" if finding.passed else finding.severity,
                finding.check,
                finding.source,
                finding.column,
                finding.must,
                finding.found,
            ]
            for finding in shown
        ]
        show_table(["", "check", "source", "column", "message", "found"], rows)
