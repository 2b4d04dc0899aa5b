"""``foretable movers``: who changed most between two versions."""

from __future__ import annotations

from typing import Annotated

import typer


def movers(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")],
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="A kept version; by default the newest.")] = None,
    against: Annotated[
        int | None, typer.Option("--against", metavar="VERSION", help="By default the live one, or the one before it.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to list.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """The entities whose place changed most between two versions, with their scores and ranks."""
    from pipelines.cli import _name, _settings
    from pipelines.console import out, show_rows_as_json, show_table
    from pipelines.movers import biggest_movers

    found = biggest_movers(_settings().store, _name(table), version, against, top)
    rows = found.moves.rows()
    heads = found.moves.columns
    if json:
        show_rows_as_json(heads, rows)
        return
    show_table(heads, rows, right=heads[-5:])
    out.print(f"Version {found.version} against version {found.against} of '{table}'.", markup=False)
