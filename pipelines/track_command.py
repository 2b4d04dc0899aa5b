"""``foretable track``: bring MLflow up to date with the store."""

from __future__ import annotations

from typing import Annotated

import typer


def track(
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Write versions and what is served into MLflow: runs, models, aliases. What it holds already is left alone."""
    from pipelines.cli import _settings
    from pipelines.console import out, show_json, steps
    from pipelines.tracking.address import shown
    from pipelines.tracking.catch_up import catch_up, tracker

    settings = _settings()
    with steps("tracking") as (doing, _):
        done = catch_up(settings, progress=doing)
    if json:
        show_json({"tracker": shown(tracker(settings)), "tables": list(done)})
        return
    for each in done:
        versions = ", ".join(str(version) for version in each.versions) or "none"
        moved = "; ".join(f"{alias} is version {version or 'none'}" for alias, version in each.aliases.items())
        out.print(f"{each.table}: versions sent: {versions}{f'; {moved}' if moved else ''}.", markup=False)
    if not done:
        out.print("Nothing to send: MLflow holds everything.", markup=False)
