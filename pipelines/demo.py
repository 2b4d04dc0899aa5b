"""The whole way in a few minutes, narrated: what ``foretable demo`` and ``make demo`` show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import msgspec

from batch_scoring.declare import Number
from batch_scoring.domain import Manifest
from batch_scoring.errors import ForetableError, GateFailed
from batch_scoring.settings import Settings
from batch_scoring.store import Reader, Store, publish, rollback
from batch_scoring.tasks import metric
from pipelines.catalog_query import run_query
from pipelines.console import out, show_realised, show_table, show_windows, steps
from pipelines.features import FeastFeatures
from pipelines.ingest import ingest
from pipelines.replay import Replayed, replay
from pipelines.repository import Product, load_repository

if TYPE_CHECKING:
    from batch_scoring.declare import TableName, Task

_DAYS = 7
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One demonstration: the product it shows, and the days it replays."""

    product: Product
    settings: Settings
    days: tuple[date, ...]

    @property
    def name(self) -> TableName:
        """Of the table that is shown."""
        return self.product.table.name


def demonstrate(settings: Settings, table: str | None, *, clock: Callable[[], datetime], keep_serving: bool) -> None:
    """Ingest, replay a week, look up over HTTP, explain, query, roll back.

    Args:
        table: which one; by default the first that is declared.
        keep_serving: leave the lookup API and Dagster in the foreground at the end, until interrupted.

    Raises:
        ForetableError: a step failed; what was published before stays.
    """
    repository = load_repository(settings.repo)
    product = repository.products[0] if table is None else repository.product(table)
    begun = time.monotonic()
    settings = settings.model_copy(update={"port": _free_port(settings)})
    demo = Demo(product=product, settings=settings, days=_choose_days(product))
    _ingest(demo)
    _replay(demo, clock)
    with _server(settings):
        _look_up(demo)
    _query(demo)
    _roll_back(demo, clock)
    out.print(
        f"\n[bold green]Done[/] in {time.monotonic() - begun:.0f} s. What is left on disk: {settings.store}, {settings.data}"
    )
    _addresses(settings)
    if keep_serving:
        _serve_until_interrupted(settings)


def _free_port(settings: Settings) -> int:
    """The port of the settings, or another one when somebody is served there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            probe.bind((settings.host, 0))
        return int(probe.getsockname()[1])


def _choose_days(product: Product) -> tuple[date, ...]:
    schedule = product.table.schedule
    last = schedule.until or schedule.since + timedelta(days=180)
    middle = schedule.since + (last - schedule.since) / 2
    return schedule.days(middle, last)[:_DAYS]


def _say(number: int, title: str, note: str = "") -> None:
    out.print(f"\n[bold cyan]{number}. {title}[/]" + (f"\n   [dim]{note}[/]" if note else ""))


def _ingest(demo: Demo) -> None:
    _say(1, "Raw files are checked and turned into Parquet", f"foretable ingest {demo.name}")
    with steps("ingesting") as (doing, _):
        delivery = ingest(demo.product, demo.settings, progress=doing)
    show_table(["dataset", "rows"], [(dataset.name, dataset.rows) for dataset in delivery.datasets], right=["rows"])


def _replay(demo: Demo, clock: Callable[[], datetime]) -> None:
    first, last = demo.days[0], demo.days[-1]
    _say(
        2,
        f"{len(demo.days)} runs are replayed, each knowing only what was known then",
        f"foretable replay {demo.name} --from {first} --to {last}",
    )
    begun = time.monotonic()
    with steps("replaying", total=len(demo.days)) as (doing, done):

        def on_day(day: date, manifest: Manifest | None) -> None:
            done()
            outcome = "refused, live unchanged" if manifest is None else f"version {manifest.version} published"
            out.print(f"   {day}: {outcome}", markup=False)

        doing("feast apply")
        source = FeastFeatures(product=demo.product, settings=demo.settings)
        source.apply()
        replayed = replay(demo.product, demo.settings, source, first, last, clock=clock, on_day=on_day, progress=doing)
    for day, sentence in replayed.refused:
        out.print(f"   {day} was not published: {sentence}", markup=False)
    if not replayed.published and Reader(demo.settings.store).snapshot().served(demo.name).live is None:
        raise GateFailed("demo", expected="at least one published version", found="none", fix="See the days above.")
    _show_replay(replayed, demo.product.table.task, time.monotonic() - begun)


def _show_replay(replayed: Replayed, task: Task, seconds: float) -> None:
    if replayed.published:
        draft = replayed.published[-1].draft
        out.print(f"\n   {seconds:.0f} s. The training window is searched in every run; the last search:")
        show_windows(draft.training, metric(draft.task))
    if replayed.realised:
        out.print("\n   What was predicted against what then happened, beside the naive baseline:")
        show_realised(replayed.realised, task)
    else:
        out.print("\n   No label of these days is known yet.")


def _look_up(demo: Demo) -> None:
    path = _highest(demo)
    address = f"http://{demo.settings.host}:{demo.settings.port}/v1/tables/{demo.name}/predictions/{path}"
    _say(3, "A service looks one entity up over HTTP", f"curl {address}")
    answer, etag = _get(address)
    out.print(f"   ETag {etag}", markup=False)
    shown = {name: value for name, value in answer.items() if name != "reasons"}
    out.print("   " + json.dumps(shown, ensure_ascii=False), markup=False)
    _say(4, "… and reads why", f"foretable explain {demo.name} {path.replace('/', ' ')}")
    for reason in answer["reasons"]:
        out.print(f"   {reason['contribution']:+.3f}  {reason['text']}", markup=False)


def _query(demo: Demo) -> None:
    decision = "" if isinstance(demo.product.table.task, Number) else "decision, "
    query = (
        f'SELECT {decision}count(*) AS "rows", round(avg(score), 3) AS mean_score, any_value(version) AS version '  # noqa: S608  # a declared name
        f"FROM {demo.name} GROUP BY ALL ORDER BY ALL"
    )
    _say(5, "An analyst opens the catalog in DuckDB", f"foretable sql '{query}'")
    answer = run_query(demo.settings.store, query, width=out.width)
    out.print(answer.box, markup=False)
    out.print(f"   file: {answer.catalog}", markup=False)


def _roll_back(demo: Demo, clock: Callable[[], datetime]) -> None:
    snapshot = Reader(demo.settings.store).snapshot()
    if len([manifest for manifest in snapshot.versions(demo.name) if manifest.passed]) < 2:
        return
    _say(
        6, "An operator rolls back, and it stays back until somebody lifts it", f"foretable rollback {demo.name} --reason 'demo'"
    )
    begun = time.perf_counter()
    store, who = Store(root=demo.settings.store), demo.settings.actor()
    left = snapshot.served(demo.name).live
    release = rollback(store, demo.name, who=who, when=clock(), why="demo")
    seconds = time.perf_counter() - begun
    out.print(f"   release {release.id}: version {release.tables[demo.name].live} is live again after {seconds * 1000:.0f} ms")
    if left is not None:
        release = publish(store, demo.name, left, who=who, when=clock(), why="end of the demo", force=True)
        out.print(f"   foretable publish {demo.name} {left} --force --reason 'end of the demo'", style="dim", markup=False)
        out.print(f"   release {release.id}: version {left} is live again")


def _highest(demo: Demo) -> str:
    """The canonical key of the entity that was scored highest."""
    answer = run_query(demo.settings.store, f"SELECT key FROM {demo.name} ORDER BY rank LIMIT 1")  # noqa: S608  # a declared name
    return str(answer.rows[0][0])


@contextmanager
def _server(settings: Settings) -> Iterator[None]:
    """The lookup API as a process of its own, gone when the block ends."""
    with tempfile.TemporaryFile() as said:
        process = _start([sys.executable, "-m", "lookup_api"], settings, stderr=said)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _ready(settings):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise ForetableError("lookup API", found=said.read().decode(errors="replace").strip() or "no answer")
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _start(command: list[str], settings: Settings, *, stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    environment = os.environ | {"FORETABLE_WORKSPACE": str(settings.workspace), "FORETABLE_PORT": str(settings.port)}
    return subprocess.Popen(command, env=environment, stderr=stderr)  # noqa: S603  # our own interpreter and modules


def _ready(settings: Settings) -> bool:
    try:
        _get(f"http://{settings.host}:{settings.port}/readyz")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def _get(address: str) -> tuple[Any, str]:
    with urllib.request.urlopen(address, timeout=10) as response:  # noqa: S310  # http to our own server
        return msgspec.json.decode(response.read()), response.headers.get("ETag", "")


def _addresses(settings: Settings) -> None:
    out.print(f"  lookup API   foretable serve      http://{settings.host}:{settings.port}/docs", markup=False)
    out.print("  Dagster UI   foretable dagster    http://127.0.0.1:3000", markup=False)
    out.print(f"  DuckDB file  {settings.store / 'current' / 'predictions.duckdb'} (read-only)", markup=False)


def _serve_until_interrupted(settings: Settings) -> None:
    out.print("Serving both; stop with Ctrl-C.")
    processes = [_start([sys.executable, "-m", *module], settings) for module in (["lookup_api"], ["pipelines", "dagster"])]
    try:
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=30)
