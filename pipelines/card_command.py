"""``foretable card``: the model card of a kept version."""

from __future__ import annotations

from typing import Annotated

import typer


def card(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")],
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="A kept version; default the live one.")] = None,
    html: Annotated[bool, typer.Option("--html", help="As a page instead of Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Its sections as JSON.")] = False,
) -> None:
    """What a version predicts, from which data, how well, judged by what, and what it cannot do."""
    from batch_scoring.domain import EXPLANATIONS, VersionId
    from batch_scoring.store import Reader, version_folder
    from explain.card import model_card, to_html, to_markdown
    from explain.summary import mean_contributions
    from pipelines.cli import _name, _settings
    from pipelines.console import show_json

    settings = _settings()
    manifest = Reader(settings.store).snapshot().manifest(_name(table), None if version is None else VersionId(version))
    folder = version_folder(settings.store, manifest.draft.table, manifest.version)
    sections = model_card(manifest, mean_contributions(folder / EXPLANATIONS, manifest.draft.entity.key_names))
    if json:
        show_json(list(sections))
        return
    typer.echo(to_html(sections) if html else to_markdown(sections), nl=False)
