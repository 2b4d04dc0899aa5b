"""``foretable prune``: what retention would remove, or removes."""

from __future__ import annotations

from typing import Annotated

import typer


def prune(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Remove versions that the table's retention no longer keeps, as every run does at its end, and say what that freed."""
    from batch_scoring.store import Store
    from batch_scoring.store import prune as prune_versions
    from pipelines.cli import _product, _settings
    from pipelines.console import out, show_json

    settings = _settings()
    declared = _product(settings, table).table
    done = prune_versions(Store(root=settings.store), declared.name, declared.retention, dry_run=dry_run)
    if json:
        show_json(done)
        return
    numbers = ", ".join(str(version) for version in done.versions) or "none"
    out.print(f"{'Would remove' if dry_run else 'Removed'} versions: {numbers}. Bytes freed: {done.bytes:,}.", markup=False)
    if done.leased:
        out.print(f"Kept because a reader has them open: {', '.join(map(str, done.leased))}.", markup=False)
