"""The ``foretable`` command. Each command loads settings, calls one use case, and shows the result.

Importing this module is cheap: what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.errors import BadKey, ForetableError, UnknownKey
from pipelines.card_command import card
from pipelines.deliveries_command import deliveries
from pipelines.materialize_command import materialize
from pipelines.movers_command import movers
from pipelines.prune_command import prune
from pipelines.study_commands import decay, importance
from pipelines.track_command import track
from pipelines.trainingset_command import app as trainingset

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_scoring.declare import TableName
    from batch_scoring.domain import Manifest, Release
    from batch_scoring.settings import Settings
    from batch_scoring.store import Snapshot
    from pipelines.features import FeatureSource
    from pipelines.repository import Product

app = typer.Typer(
    name="foretable",
    help="Predictions, ready before anyone asks: score every entity ahead of time, publish, explain, roll back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Name of the prediction table.")]
KeyParts = Annotated[list[str], typer.Argument(metavar="KEY…", help="One value per join key, in declared order.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def _said(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why; it is what the next person will read.")
    return reason


Reason = Annotated[str, typer.Option("--reason", callback=_said, help="Why; recorded with who and when.")]
Expected = Annotated[
    int | None, typer.Option("--expected", metavar="RELEASE", help="Refuse if another release is current; see 'versions --json'.")
]
AsOf = Annotated[str, typer.Option("--as-of", metavar="DATE", help="Local day of the table's schedule, YYYY-MM-DD.")]


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, made if need be.")]) -> None:
    """Make a repository with a small prediction table that runs as it is."""
    from pipelines.console import out
    from pipelines.init import initialise

    for written in initialise(folder):
        out.print(f"  {written}")
    out.print(f"Made a repository in {folder}. Next: cd {folder} && foretable check && foretable demo")


@app.command()
def check(json: Json = False) -> None:
    """Check every declaration against its SQL, its checks and the feature repository; change nothing."""
    from pipelines.console import out, show_json, steps
    from pipelines.repository import check_repository, load_repository

    settings = _settings()
    repository = load_repository(settings.repo)
    with steps("checking") as (doing, _):
        doing("declarations, SQL and features")
        problems = check_repository(repository, settings)
    if json:
        show_json({"tables": [product.table.name for product in repository.products], "problems": list(problems)})
    else:
        for problem in problems:
            out.print(f"- {problem}", markup=False)
        names = ", ".join(product.table.name for product in repository.products)
        out.print(f"{len(problems)} problem(s) in {settings.repo} ({names}).", markup=False)
    if problems:
        raise typer.Exit(2)


@app.command()
def ingest(name: Table, json: Json = False) -> None:
    """Check a table's raw files and turn them into Parquet; a bad delivery is refused whole and the last good one stays."""
    from pipelines.console import out, show_json, steps
    from pipelines.ingest import ingest as ingest_delivery

    settings = _settings()
    with steps(f"ingesting {name}") as (doing, _):
        delivery = ingest_delivery(_product(settings, name), settings, progress=doing)
    if json:
        show_json(delivery)
        return
    for dataset in delivery.datasets:
        out.print(f"  {dataset.name:<24}{dataset.rows:>12,} rows", markup=False)
    out.print(f"Delivery {delivery.id} of '{name}' is current.", markup=False)


@app.command()
def run(
    table: Table,
    as_of: AsOf,
    reason: Annotated[str, typer.Option("--reason", help="Why this run is made; kept with the version.")] = "manual",
    waive: Annotated[
        list[str] | None, typer.Option("--waive", metavar="GATE", help="A gate that shall not stop it; give the --reason too.")
    ] = None,
    json: Json = False,
) -> None:
    """One whole run: ingest, features, window search, training, scores, explanations, gates, publish."""
    from dataclasses import replace

    from batch_scoring.gates import Waiver, require_waivable
    from batch_scoring.tasks import metric
    from pipelines.console import out, show_json, show_version, show_windows, steps
    from pipelines.run import plan_run
    from pipelines.steps import run_all

    settings = _settings()
    product = _product(settings, table)
    if waive and reason == "manual":
        raise typer.BadParameter("say why with --reason; it is recorded beside the gate that is waived.")
    waivers = tuple(Waiver(gate=gate, reason=reason) for gate in waive or ())
    require_waivable(product.table.gates, waivers)  # before an hour of training, not after
    planned = replace(plan_run(product, settings, _day(as_of), reason), waivers=waivers)
    with steps(f"{table} as of {as_of}") as (doing, _):
        source = _prepare(product, settings, doing)
        manifest, release = run_all(planned, source, clock=_now, progress=doing)
    if json:
        show_json({"release": release.id, "manifest": manifest})
        return
    show_windows(manifest.draft.training, metric(manifest.draft.task))
    show_version(manifest)
    out.print(f"Published as release {release.id}.")


@app.command()
def replay(
    table: Table,
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="First local day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="Last local day, YYYY-MM-DD.")],
    json: Json = False,
) -> None:
    """Run every scheduled day of a span as it would have been run then, and compare with what happened."""
    from pipelines.console import out, show_json, show_realised, steps
    from pipelines.replay import replay as replay_days

    settings = _settings()
    product = _product(settings, table)
    begin, end = _day(first), _day(last)
    days = len(product.table.schedule.days(begin, end))
    with steps(f"replaying {table}", total=days) as (doing, done):

        def on_day(day: date, manifest: Manifest | None) -> None:
            done()
            if not json:
                out.print(_day_line(day, manifest), markup=False)

        source = _prepare(product, settings, doing)
        replayed = replay_days(product, settings, source, begin, end, clock=_now, on_day=on_day, progress=doing)
    if json:
        show_json(replayed)
        return
    for day, sentence in replayed.refused:
        out.print(f"{day} refused: {sentence}", markup=False)
    show_realised(replayed.realised, product.table.task)


@app.command()
def versions(table: Table, json: Json = False) -> None:
    """The kept versions of a table: what is live, what was rolled back, what failed and why."""
    from pipelines.console import show_json, show_versions

    snapshot = _snapshot(_settings())
    kept, served = snapshot.versions(_name(table)), snapshot.served(_name(table))
    if json:
        show_json({"release": snapshot.release.id, "served": served, "versions": kept})
    else:
        show_versions(kept, served)


@app.command()
def publish(
    table: Table,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="A kept version that passed its gates.")],
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Also a version that was rolled back.")] = False,
    expected: Expected = None,
    json: Json = False,
) -> None:
    """Make a kept version live."""
    from batch_scoring.domain import ReleaseId, VersionId
    from batch_scoring.store import Store
    from batch_scoring.store import publish as publish_version
    from pipelines.tracking.catch_up import follow

    settings = _settings()
    release = publish_version(
        Store(root=settings.store),
        _name(table),
        VersionId(version),
        who=settings.actor(),
        when=_now(),
        why=reason,
        force=force,
        expected=None if expected is None else ReleaseId(expected),
    )
    follow(settings)
    _show_release(release, table, json)


@app.command()
def rollback(
    table: Table,
    reason: Reason,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="Any kept version; default the last good one.")
    ] = None,
    expected: Expected = None,
    json: Json = False,
) -> None:
    """Go back to an earlier version, and stay there: scheduled runs will not publish the one rolled back again."""
    from batch_scoring.domain import ReleaseId, VersionId
    from batch_scoring.store import Store
    from batch_scoring.store import rollback as roll_back
    from pipelines.tracking.catch_up import follow

    settings = _settings()
    release = roll_back(
        Store(root=settings.store),
        _name(table),
        to=None if to is None else VersionId(to),
        who=settings.actor(),
        when=_now(),
        why=reason,
        expected=None if expected is None else ReleaseId(expected),
    )
    follow(settings)
    _show_release(release, table, json)


@app.command()
def lookup(table: Table, key: KeyParts, json: Json = False) -> None:
    """The published prediction of one entity."""
    import msgspec

    from pipelines.console import out, show_json

    snapshot = _snapshot(_settings())
    answer = msgspec.json.decode(_found(snapshot.prediction(_name(table), _key(snapshot, table, key)), table, key))
    if json:
        show_json(answer)
        return
    decision = f" → {answer['decision']}" if "decision" in answer else ""
    out.print(f"{' '.join(key)}: {answer['score']:.3f}{decision} (rank {answer['rank']:,})", markup=False)
    for reason in answer["reasons"]:
        out.print(f"  {reason['contribution']:+.3f}  {reason['text']}", markup=False)
    out.print(f"version {answer['version']}, as of {answer['as_of']}", markup=False)


@app.command()
def explain(table: Table, key: KeyParts, json: Json = False) -> None:
    """Every feature's part in the score of one entity; parts and base value sum to the margin."""
    import msgspec

    from explain.reasons import show_value
    from pipelines.console import out, show_json, show_table

    snapshot = _snapshot(_settings())
    answer = msgspec.json.decode(_found(snapshot.explanation(_name(table), _key(snapshot, table, key)), table, key))
    if json:
        show_json(answer)
        return
    rows = [
        [part["feature"], show_value(part["value"]) or "–", f"{part['contribution']:+.4f}", part["description"]]
        for part in answer["contributions"]
    ]
    show_table(["feature", "value", "contribution", "meaning"], rows, right=["value", "contribution"])
    decided = f" for {answer['decision']}" if "decision" in answer else ""
    out.print(
        f"base {answer['base_value']:+.4f} and contributions give margin {answer['margin']:+.4f}, "
        f"that is a score of {answer['score']:.4f}{decided} (version {answer['version']}, as of {answer['as_of']})",
        markup=False,
    )


@app.command()
def sql(
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="One SQL statement; without it, list what there is.")
    ] = None,
    json: Json = False,
) -> None:
    """Query the analysts' catalog of the current release, read-only."""
    from pipelines.catalog_query import LISTING, run_query
    from pipelines.console import out, show_rows_as_json

    answer = run_query(_settings().store, query or LISTING, width=None if json else out.width)
    if json:
        show_rows_as_json(answer.columns, answer.rows)
        return
    out.print(answer.box, markup=False)
    if query is None:
        out.print(f"Open it yourself, read-only: {answer.catalog}", markup=False)


@app.command()
def repair(
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="When the current release is lost for good, go back to the one before: what was barred since is not."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Put the store back in order after a crash: remove leftovers, restore the current release, finish erasures."""
    from batch_scoring.store import Store
    from batch_scoring.store import repair as repair_store
    from pipelines.console import out, show_json, steps

    settings = _settings()
    with steps("repairing"):
        done = repair_store(Store(root=settings.store), force=force)
    if json:
        show_json(list(done))
        return
    for sentence in done:
        out.print(f"- {sentence}", markup=False)
    out.print(f"{len(done)} thing(s) done in {settings.store}.", markup=False)


@app.command()
def erase(table: Table, key: KeyParts, reason: Reason, json: Json = False) -> None:
    """Remove one entity from every kept version, for good; later versions leave it out too."""
    from batch_scoring.store import Store
    from batch_scoring.store import erase as erase_keys
    from pipelines.console import out, show_json, steps

    settings = _settings()
    canonical = _kept_key(_snapshot(settings), table, key)
    with steps(f"erasing from {table}") as (doing, _):
        done = erase_keys(
            Store(root=settings.store),
            _name(table),
            (canonical,),
            who=settings.actor(),
            when=_now(),
            why=reason,
            progress=doing,
        )
    if json:
        show_json(done)
        return
    numbers = ", ".join(str(version) for version in done.versions) or "none held it"
    out.print(f"Erased {done.rows:,} row(s); rewrote versions: {numbers}. Release {done.release}.", markup=False)


@app.command()
def verify(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="With --erased: only this table.")] = None,
    key: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY…]", help="With --erased: also look for this entity in every byte.")
    ] = None,
    erased: Annotated[bool, typer.Option("--erased", help="Prove instead that what was erased is nowhere.")] = False,
    json: Json = False,
) -> None:
    """Re-hash every file of the store and report whatever does not hold."""
    from batch_scoring.store import Store, count_files, find_erased
    from batch_scoring.store import verify as verify_store
    from pipelines.console import out, show_json, steps

    if table is not None and not erased:
        raise typer.BadParameter("TABLE and KEY go with --erased.")
    settings = _settings()
    store = Store(root=settings.store)
    with steps("verifying", None if erased else count_files(store)) as (doing, advance):
        if erased:
            keys = (_kept_key(_snapshot(settings), table, key),) if table is not None and key else ()
            findings = find_erased(store, None if table is None else _name(table), keys, progress=doing)
        else:
            findings = verify_store(store, progress=lambda name: (doing(name), advance())[0])
    if json:
        show_json(findings)
    else:
        for finding in findings:
            out.print(f"- {finding.path}: {finding.problem}. {finding.fix}", markup=False)
        out.print(f"{len(findings)} problem(s) in {settings.store}.", markup=False)
    if findings:
        raise typer.Exit(5)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
) -> None:
    """Serve lookups over HTTP until interrupted."""
    settings = _settings()
    given = {"HOST": host, "PORT": port, "WORKERS": workers, "WORKSPACE": settings.workspace}
    environment = os.environ | {f"FORETABLE_{name}": str(value) for name, value in given.items() if value is not None}
    # The server is a program of its own: it must not carry what this process has loaded.
    os.execve(sys.executable, [sys.executable, "-m", "lookup_api"], environment)  # noqa: S606  # our own interpreter, no shell


@app.command()
def dagster(
    port: Annotated[int, typer.Option(help="Port of the web page.")] = 3000,
) -> None:
    """Open the Dagster UI on this workspace: runs, schedules, gates, history. Until interrupted."""
    settings = _settings()
    home = settings.workspace / ".dagster"
    home.mkdir(exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    environment = os.environ | {"DAGSTER_HOME": str(home), "FORETABLE_WORKSPACE": str(settings.workspace)}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "pipelines.definitions", "-p", str(port)]
    os.execve(sys.executable, command, environment)  # noqa: S606  # our own interpreter, no shell


@app.command()
def demo(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Which table; by default the first declared.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Leave the API and Dagster running at the end.")] = False,
) -> None:
    """The whole way on one table: ingest, replay a week, look up, explain, query, roll back."""
    from pipelines.demo import demonstrate

    demonstrate(_settings(), table, clock=_now, keep_serving=serve)


app.command()(materialize)
app.command()(prune)
app.command()(movers)
app.command()(track)
app.command()(card)
app.command()(decay)
app.command()(importance)
app.command()(deliveries)
app.add_typer(trainingset, name="trainingset")


def main() -> None:
    """Entry point: every failure a user can cause ends as one sentence and an exit code."""
    from pipelines.console import exit_code, show_error

    try:
        app()  # ends the process itself, for usage errors too
    except ForetableError as error:
        show_error(error)
        sys.exit(exit_code(error))


def _settings() -> Settings:
    from batch_scoring.settings import load_settings

    settings = load_settings()
    # Shared cores: a spinning OpenMP thread costs more than it gains (7.6 s instead of 0.8 s for 15 rounds).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return settings


def _product(settings: Settings, table: str) -> Product:
    from pipelines.repository import load_repository

    return load_repository(settings.repo).product(table)


def _prepare(product: Product, settings: Settings, doing: Callable[[str], None]) -> FeatureSource:
    """Bring data and feature definitions up to date; both are no-ops when nothing has changed."""
    from pipelines.features import FeastFeatures
    from pipelines.ingest import ingest as ingest_delivery

    ingest_delivery(product, settings, progress=doing)
    doing("feast apply")
    source = FeastFeatures(product=product, settings=settings)
    source.apply()
    return source


def _snapshot(settings: Settings) -> Snapshot:
    from batch_scoring.store import Reader

    return Reader(settings.store).snapshot()


def _key(snapshot: Snapshot, table: str, parts: list[str]) -> str:
    from urllib.parse import quote

    from batch_scoring.keys import parse_segments

    try:
        segments = [quote(part, safe="") for part in parts]
    except UnicodeEncodeError:
        raise BadKey(
            f"key of '{table}'", expected="UTF-8 text", found="other bytes", fix="Check the terminal's encoding."
        ) from None
    return parse_segments(snapshot.manifest(_name(table)).draft.entity, segments)


def _kept_key(snapshot: Snapshot, table: str, parts: list[str]) -> str:
    """As :func:`_key`, for a table that need not be live."""
    from urllib.parse import quote

    from batch_scoring.errors import UnknownVersion
    from batch_scoring.keys import parse_segments

    kept = snapshot.versions(_name(table))
    if not kept:
        raise UnknownVersion(f"table '{table}'", expected="a kept version", found="none", fix="Run it first.")
    return parse_segments(kept[-1].draft.entity, [quote(part, safe="") for part in parts])


def _found(answer: bytes | None, table: str, key: list[str]) -> bytes:
    if answer is None:
        raise UnknownKey(
            f"'{table}' has no entity {' '.join(key)}",
            fix=f"It was not in the population of the live version; see who was with: foretable sql 'FROM {table}'",
        )
    return answer


def _show_release(release: Release, table: str, json: bool) -> None:
    from pipelines.console import out, show_json

    if json:
        show_json(release)
        return
    live = release.tables[_name(table)].live
    out.print(f"Release {release.id}: '{table}' serves version {live}.", markup=False)


def _name(table: str) -> TableName:
    from batch_scoring.declare import TableName

    return TableName(table)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a day; write it as YYYY-MM-DD, e.g. 2013-07-01.") from None


def _now() -> datetime:
    return datetime.now(UTC)


def _day_line(day: date, manifest: Manifest | None) -> str:
    from batch_scoring.tasks import metric

    if manifest is None:
        return f"{day}  refused, live unchanged"
    scores = {score.who: score.loss for score in manifest.draft.training.holdout}
    window = manifest.draft.training.window
    return (
        f"{day}  version {manifest.version}: {manifest.draft.rows:,} rows, window {window}, "
        f"hold-out {metric(manifest.draft.task)} {scores['contender']:.4f} against the baseline's {scores['baseline']:.4f}"
    )
