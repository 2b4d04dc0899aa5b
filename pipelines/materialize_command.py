"""``foretable materialize``: feature views into Feast's online store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

if TYPE_CHECKING:
    from pipelines.repository import Product


def materialize(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")],
    day: Annotated[str, typer.Option("--as-of", metavar="DATE", help="Last local day of the table's schedule, YYYY-MM-DD.")],
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="Begin on this day at the latest; default where it ended last.")
    ] = None,
    view: Annotated[
        list[str] | None, typer.Option("--view", metavar="VIEW", help="Only this view; may be given several times.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Bring a table's features into Feast's online store, as known at the end of a day; killed, it goes on when run again."""
    from pipelines.cli import _day, _now, _product, _settings
    from pipelines.console import out, show_json, steps
    from pipelines.features.declared import declared_views
    from pipelines.features.materialize import materialize as bring_online

    settings = _settings()
    product = _product(settings, table)
    until = min(_midnight(product, _day(day) + timedelta(days=1)), _now())
    moments = [until] if first is None else [_midnight(product, _day(first)), until]
    if moments[0] > until:
        raise typer.BadParameter(f"--from {first} is after --as-of {day}.")
    done = []
    with steps(f"materializing {table}") as (doing, _):
        for name in view or declared_views(product.folder):
            doing(name)
            done.append(bring_online(settings, name, moments))
    if json:
        show_json(done)
        return
    for each in done:
        part = each.parts[-1]
        said = f"{part.keys:,} entities" if each.written else "left as it is: the online store holds a later day"
        out.print(f"  {each.view:<24}{part.rows:>12,} rows  {said}", markup=False)
    out.print(f"Known at {until.isoformat(sep=' ')}.", markup=False)


def _midnight(product: Product, day: object) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=ZoneInfo(product.table.schedule.timezone))
