"""What the command line shows: tables, progress, and errors as one sentence each."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from batch_scoring.codec import to_pretty_json
from batch_scoring.declare import Binary, Task, show_window
from batch_scoring.errors import (
    BadKey,
    DataRejected,
    DeclarationError,
    ForetableError,
    GateFailed,
    NotFound,
    SettingsError,
    StoreError,
)
from batch_scoring.tasks import metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_scoring.domain import Manifest, Served, Training
    from batch_scoring.gates import GateResult
    from pipelines.realised import Realised

_PIPE_WIDTH = 160
_MOVED = 3

# A pipe has no width of its own; 80 columns would cut tables that a file or a pager can hold.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH)

EXIT_CODES: tuple[tuple[type[ForetableError], int], ...] = (
    (GateFailed, 3),
    (DataRejected, 4),
    (StoreError, 5),
    (NotFound, 6),
    (BadKey, 2),
    (SettingsError, 2),
    (DeclarationError, 2),
    (ForetableError, 1),
)
"""Exit code of each branch of the error tree; the first that fits counts."""


def exit_code(error: ForetableError) -> int:
    """The process exit code for an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def show_error(error: ForetableError) -> None:
    """One sentence on standard error, and the report of rejected data below it."""
    err.print(f"[bold red]error:[/] {_plain(str(error))}")
    if isinstance(error, DataRejected) and error.report:
        table = Table("file", "column", "check", "rows", box=None, pad_edge=False)
        for row in error.report:
            table.add_row(*(_plain(cell) for cell in row))
        err.print(table)


def show_json(value: object) -> None:
    """Machine-readable output: nothing else goes to standard output then."""
    sys.stdout.write(to_pretty_json(value).decode())


def show_rows_as_json(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Query results as a JSON list of objects, columns in the query's order."""
    import msgspec

    plain = [dict(zip(columns, row, strict=True)) for row in rows]
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A plain aligned table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column != "message")
    for row in rows:
        table.add_row(*(_plain(_text(cell)) for cell in row))
    out.print(table)


@contextmanager
def steps(title: str, total: int | None = None) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A progress line on standard error: call the first to say what is being done, the second when one unit is done."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[title]}"),
        *([BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}")] if total else []),
        TextColumn("[dim]{task.fields[doing]}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total, title=title, doing="")
        yield (lambda doing: bar.update(task, doing=doing)), (lambda: bar.advance(task))


def show_windows(training: Training, metric: str = "log-loss") -> None:
    """The search: a row per window, a column per fold, what decided between them, and why in words."""
    folds = sorted({score.fold for score in training.windows}, reverse=True)
    losses = {(score.window, score.fold): score.loss for score in training.windows}
    rows = [
        [
            show_window(each.window),
            *(f"{losses[each.window, fold]:.4f}" for fold in folds),
            f"{each.mean:.4f}",
            f"{each.spread:.4f}",
            "best" if each.excess == 0 else f"{each.excess:+.4f} ± {each.error:.4f}{'' if each.ties else ' *'}",
            "◀ chosen" if each.window == training.window else "",
        ]
        for each in training.verdicts
    ]
    heads = [*(f"fold {fold}" for fold in folds), f"mean {metric}", "spread", "over the best"]
    show_table(["window", *heads, ""], rows, right=heads[:-1])
    pruned = sum(trial.pruned for trial in training.trials)
    tried = f" {len(training.trials)} recipes tried, {pruned} of them pruned." if len(training.trials) > len(rows) else ""
    starred = "" if all(each.ties for each in training.verdicts) else "  * beyond noise"
    out.print(f"{training.verdict}{tried}{starred}", markup=False)


def show_version(manifest: Manifest) -> None:
    """One version: how it was trained, what it was compared with, and its gates."""
    draft = manifest.draft
    training = draft.training
    out.print(
        f"[bold]{draft.table}[/] version {manifest.version}, as of {draft.as_of:%Y-%m-%d %H:%M} UTC: "
        f"{draft.rows:,} rows, window {training.window}, {training.train_rows:,} training rows"
    )
    if training.note:
        out.print(f"  [bold yellow]note:[/] {_plain(training.note)}")
    for score in training.holdout:
        note = f" ({score.note})" if score.note else ""
        area = "" if score.auc is None else f"  AUC {_text(score.auc)}"
        out.print(f"  hold-out {score.who:<10} {metric(draft.task)} {score.loss:.4f}{area}  on {score.rows:,} rows{note}")
    show_table(
        ["gate", "", "observed", "limit", "message"],
        [[gate.gate, _verdict(gate), gate.observed, gate.limit, gate.message] for gate in draft.gates],
        right=["observed", "limit"],
    )
    for gate in draft.gates:
        if gate.waived:
            out.print(f"  {gate.gate} was waived: {gate.waived}", markup=False)
    moved = sorted(draft.skew.features if draft.skew else (), key=lambda feature: -(feature.psi or 0.0))[:_MOVED]
    if moved:
        shown = ", ".join(f"{feature.feature} {_text(feature.psi)}" for feature in moved)
        out.print(f"Features that moved most from the training rows, by PSI: {shown}.", markup=False)


def _verdict(gate: GateResult) -> str:
    return gate.verdict.upper() if gate.stops else gate.verdict


def show_versions(manifests: tuple[Manifest, ...], served: Served) -> None:
    """The kept versions of a table, newest first."""
    rows = []
    for manifest in sorted(manifests, key=lambda each: -each.version):
        draft = manifest.draft
        losses = {score.who: score for score in draft.training.holdout}
        contender = losses.get("contender")
        status = [
            "live" if manifest.version == served.live else "",
            "shadow" if manifest.version == served.shadow else "",
            "rolled back" if manifest.version in served.barred else "",
            "" if manifest.passed else "failed " + ", ".join(gate.gate for gate in draft.gates if gate.stops),
        ]
        rows.append(
            [
                manifest.version,
                f"{draft.as_of:%Y-%m-%d %H:%M}",
                draft.rows,
                draft.training.window,
                contender.loss if contender else None,
                contender.auc if contender else None,
                ", ".join(word for word in status if word) or "kept",
            ]
        )
    loss = metric(manifests[-1].draft.task) if manifests else "loss"
    numbers = ["version", "rows", "window", loss, "AUC"]
    show_table(["version", "as of (UTC)", "rows", "window", loss, "AUC", "status"], rows, right=numbers)


def show_realised(realised: tuple[Realised, ...], task: Task) -> None:
    """Published predictions against what happened."""
    share = isinstance(task, Binary)
    rows = [
        [
            f"{row.as_of:%Y-%m-%d}" if row.as_of else "all",
            row.version if row.version is not None else "",
            row.rows,
            f"{row.mean_label:.1%}" if share and row.mean_label is not None else row.mean_label,
            row.loss,
            row.baseline_loss,
            row.auc,
            row.baseline_auc,
        ]
        for row in realised
    ]
    heads = ["as of", "version", "rows", "positive" if share else "mean", metric(task), "baseline", "AUC", "baseline AUC"]
    show_table(heads, rows, right=heads[1:])


def _text(cell: object) -> str:
    match cell:
        case None:
            return "–"
        case float():
            return f"{cell:.4f}" if abs(cell) < 1000 else f"{cell:,.0f}"
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case _:
            return str(cell)


def _plain(text: str) -> str:
    """Text that rich must not read as markup."""
    return escape(text)
