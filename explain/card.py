"""The model card of a version: what it predicts, from which data, how well, judged by what, and what it cannot do.

After Mitchell et al., *Model Cards for Model Reporting* (2019). Pure: computed from a manifest, which holds everything a card
says, so that the card of any kept version can be made at any time. Two renderings of the same sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from batch_scoring.declare import Number, show_window
from batch_scoring.domain import Manifest
from batch_scoring.tasks import kind, metric

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a card: sentences, then perhaps a table, whose first row is its head."""

    title: str
    sentences: tuple[str, ...] = ()
    table: tuple[Row, ...] = ()


def model_card(manifest: Manifest, importance: Sequence[tuple[str, float]] = ()) -> tuple[Section, ...]:
    """The sections of a version's card.

    Args:
        importance: features and their mean absolute contribution over the version's entities, largest first.
    """
    draft = manifest.draft
    return (
        Section(
            title=f"{draft.table}, version {manifest.version}",
            sentences=(
                draft.description,
                f"Speaks for {draft.as_of:%Y-%m-%d %H:%M} UTC, {draft.rows:,} entities.",
                _verdict(manifest),
            ),
        ),
        _data(manifest),
        _training(manifest),
        _metrics(manifest),
        Section(
            title="Gates",
            table=(
                ("gate", "verdict", "observed", "limit", "what it saw"),
                *((each.gate, each.verdict, _number(each.observed), _number(each.limit), each.message) for each in draft.gates),
            ),
        ),
        *([_importance(manifest, importance)] if importance else []),
        _limits(manifest),
    )


def _verdict(manifest: Manifest) -> str:
    stopped = [each.gate for each in manifest.draft.gates if each.stops]
    return "It passed its gates." if manifest.passed else f"It was refused: {', '.join(stopped) or 'unjudged'}."


def _data(manifest: Manifest) -> Section:
    training, how = manifest.draft.training, manifest.draft.provenance
    facts: list[Row] = [
        ("", ""),
        ("examples", f"{training.train_rows:,}, {training.train_from:%Y-%m-%d} to {training.train_to:%Y-%m-%d}"),
        ("labels known by", f"{training.cutoff:%Y-%m-%d %H:%M} UTC"),
        ("training set", training.training_set[:12] or "unnamed"),
    ]
    if how is not None:
        facts.append(("feature definitions", how.definitions[:12]))
        facts.append(
            ("declarations", (how.commit[:12] or "not under version control") + (", changed since" if how.dirty else ""))
        )
    return Section(title="Data", sentences=(training.note,) if training.note else (), table=tuple(facts))


def _training(manifest: Manifest) -> Section:
    draft, training = manifest.draft, manifest.draft.training
    params = ", ".join(f"{name} {value}" for name, value in sorted(training.params.items()))
    said = [f"XGBoost, {kind(draft.task)}: {training.rounds} trees, {training.mode}, window {show_window(training.window)}."]
    said += [training.verdict] if training.verdict else []
    said += [f"Decided at a threshold of {draft.threshold:g}."] if draft.threshold is not None else []
    return Section(title="Model", sentences=(*said, f"Parameters: {params}."))


def _metrics(manifest: Manifest) -> Section:
    draft = manifest.draft
    rows = [
        (score.who, each.name, _number(each.value), _interval(each.low, each.high), f"{score.rows:,}")
        for score in draft.training.holdout
        for each in score.metrics
    ] or [(score.who, metric(draft.task), _number(score.loss), "", f"{score.rows:,}") for score in draft.training.holdout]
    notes = tuple(f"{score.who}: {score.note}." for score in draft.training.holdout if score.note)
    head = ("who", "metric", "value", "95 % interval", "rows")
    return Section(title="On the hold-out, which no search has seen", sentences=notes, table=(head, *rows))


def _importance(manifest: Manifest, importance: Sequence[tuple[str, float]]) -> Section:
    words = {column.name: column.description for column in manifest.draft.columns}
    rows = tuple((name, f"{mean:.4f}", words.get(name, "")) for name, mean in importance[:15])
    return Section(title="What moves its scores", table=(("feature", "mean |contribution|", "meaning"), *rows))


def _limits(manifest: Manifest) -> Section:
    draft = manifest.draft
    weak = [each for each in draft.gates if each.verdict in ("warn", "waived")]
    said = [
        "It knows nothing that was not known at its moment, and says nothing of entities outside its population.",
        f"Its numbers hold for days like those of the hold-out; labels after {draft.training.cutoff:%Y-%m-%d} were not seen.",
        "Contributions explain the model, not the world: a feature that raises a score need not cause the outcome.",
    ]
    if isinstance(draft.task, Number) and draft.task.quantile is not None:
        said.append(f"It predicts the {draft.task.quantile:g} quantile, not what is to be expected on average.")
    said += [f"{each.gate} failed and was {'waived: ' + each.waived if each.waived else 'only a warning'}." for each in weak]
    return Section(title="Known limits", sentences=tuple(said))


def to_markdown(card: Sequence[Section]) -> str:
    """The card as Markdown."""
    parts = []
    for level, section in enumerate(card):
        parts.append(f"{'#' if level == 0 else '##'} {section.title}")
        parts.append("\n".join(f"{sentence}  " for sentence in section.sentences))
        if section.table:
            head, *rows = section.table
            lines = [head, ("---",) * len(head), *rows]
            parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(card: Sequence[Section]) -> str:
    """The card as a page of its own: no scripts, nothing from elsewhere."""
    parts = []
    for level, section in enumerate(card):
        tag = "h1" if level == 0 else "h2"
        parts.append(f"<{tag}>{escape(section.title)}</{tag}>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
        if section.table:
            head, *rows = section.table
            cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")
    top = f'<meta charset="utf-8"><title>{escape(card[0].title)}</title><style>{_STYLE}</style>'
    content = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{top}</head>\n<body>\n{content}\n</body></html>\n'


_STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}td,th{padding:.2rem .6rem;text-align:left}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
