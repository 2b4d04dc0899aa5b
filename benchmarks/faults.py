"""The long form of the fault suite: everything that can happen to a store, counted.

    python benchmarks/faults.py [--kills 1000] [--runs 1000] [--seconds 60] [--seed 20130301] [--every 1]

Prints a table and one JSON object. ``lost``: an acknowledged release or a whole version was gone or wrong, or the store
could not be put right. ``mixed``: an answer, its explanation and its manifest disagreed. The same seed injects the same.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "faults"))
from support.drafts import DAY_ONE  # noqa: E402
from support.faulty import Counting, Failing, Forgetful, PowerCut  # noqa: E402
from support.invariants import Acknowledged, acknowledged, require_whole  # noqa: E402
from support.stores import FLIGHTS, build, build_and_publish, erase_one, new_store, put_live, roll_back  # noqa: E402

from batch_scoring.domain import Release  # noqa: E402
from batch_scoring.errors import ForetableError, StoreUnavailable  # noqa: E402
from batch_scoring.store import Files, Store, prune  # noqa: E402

VERBS: dict[str, Callable[[Store], object]] = {
    "publish": lambda store: put_live(store, 10, force=True),
    "rollback": roll_back,
    "prune": lambda store: prune(store, FLIGHTS),
    "erase": erase_one,
}
CODES = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EACCES)
BEFORE = [Acknowledged(id=10, live=9)]


@dataclass(slots=True)
class Tally:
    """What became of the injections of one kind."""

    kind: str
    injected: int = 0
    lost: int = 0
    mixed: int = 0

    def check(self, store: Store, ledger: list[Acknowledged], seed: object) -> None:
        """Count one injection, and what it did to the store."""
        self.injected += 1
        try:
            require_whole(store.root, ledger)
        except Exception:  # noqa: BLE001 -- however it shows
            self.lost += 1
            print(f"LOST: {self.kind}, {seed}\n{traceback.format_exc()}", file=sys.stderr)


class Bench:
    """A grown store to copy, in a folder of its own."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        store = new_store(folder / "grown")
        for day in range(9):
            build_and_publish(store, day)
        build(store, 9)
        self.grown = store.root
        for catalog in sorted(self.grown.glob("releases/*/predictions.duckdb"))[:-1]:
            catalog.unlink()

    def copy(self, files: Files | None = None, *, small: bool = False) -> Store:
        root = self.folder / "copy" / "store"
        shutil.rmtree(root.parent, ignore_errors=True)

        def link(source: str, target: str) -> object:
            plain = Path(source).is_symlink() or Path(source).name == "lock"
            return shutil.copy2(source, target, follow_symlinks=False) if plain else os.link(source, target)

        shutil.copytree(self.grown, root, symlinks=True, copy_function=link)
        for number in range(1, 8) if small else ():
            shutil.rmtree(root / "tables" / FLIGHTS / "versions" / f"{number:06d}")
        return Store(root, files or Files(), 0.5)

    def steps(self, verb: str) -> int:
        files = Counting()
        VERBS[verb](self.copy(files, small=verb == "erase"))
        return len(files.steps)


def failing(bench: Bench, verb: str) -> Tally:
    tally = Tally(f"{verb}: every operation fails (EIO, ENOSPC, EINTR, EACCES; refused, half done, for good)")
    for nth in range(0, bench.steps(verb), bench.every):
        for mode in range(3):
            code = CODES[(nth // bench.every + mode) % 4]
            store = bench.copy(Failing(nth, code, late=mode == 1, forever=mode == 2), small=verb == "erase")
            ledger = list(BEFORE)
            with suppress(StoreUnavailable):
                result = VERBS[verb](store)
                if isinstance(result, Release):
                    ledger.append(acknowledged(result))
            tally.check(store, ledger, f"operation {nth}, {errno.errorcode[code]}, mode {mode}")
    return tally


def killed(bench: Bench, zygote: Callable[..., str]) -> Tally:
    tally = Tally("SIGKILL before every operation of publish, rollback, prune, erase")
    for verb in VERBS:
        for nth in range(0, bench.steps(verb), bench.every):
            store = bench.copy(small=verb == "erase")
            ledger = bench.folder / "ledger"
            ledger.unlink(missing_ok=True)
            zygote(root=str(store.root), ledger=str(ledger), verb=verb, die_at=nth, seed=nth)
            tally.check(store, read_ledger(ledger), f"{verb} at {nth}")
    return tally


def killed_at_random(bench: Bench, zygote: Callable[..., str], kills: int, seed: int) -> Tally:
    tally = Tally("SIGKILL at a random moment")
    chance = random.Random(seed)
    ledger = bench.folder / "ledger"
    for n in range(kills):
        if n % 40 == 0:  # a store grows with every release, and with it the time to check it
            store = bench.copy()
            ledger.unlink(missing_ok=True)
        zygote(root=str(store.root), ledger=str(ledger), live_for=chance.uniform(0.005, 0.12), seed=f"{seed}/{n}")
        tally.check(store, read_ledger(ledger), f"kill {n} of seed {seed}")
    return tally


def read_ledger(path: Path) -> list[Acknowledged]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [*BEFORE, *(Acknowledged(*map(int, line.split())) for line in lines)]


def power_cuts(bench: Bench, seed: int) -> Tally:
    from test_power_cuts import a_day

    tally = Tally("power cut: un-synced names and bytes lost or torn")
    counted = Counting()
    a_day(bench.copy(counted), lambda _: None)
    for nth in range(0, len(counted.steps) + 1, bench.every):
        graveyard = bench.folder / "graveyard"
        shutil.rmtree(graveyard, ignore_errors=True)
        files = Forgetful(nth, graveyard)
        store, ledger = bench.copy(files), list(BEFORE)
        with suppress(PowerCut):
            a_day(store, lambda release, ledger=ledger: ledger.append(acknowledged(release)))  # type: ignore[misc]
        files.cut_power(random.Random(f"{seed}/{nth}"))
        tally.check(store, ledger, f"operation {nth}, seed {seed}")
    return tally


def full_disk(bench: Bench) -> Tally:
    tally = Tally("a file system that is truly full (file-size limit)")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for verb in ("publish", "erase"):
        for limit in (0, 1_000, 2_000, 5_000, 12_000, 20_000, 50_000):
            store = bench.copy(small=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                with suppress(ForetableError):
                    VERBS[verb](store)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            tally.check(store, BEFORE, f"{verb} with {limit} bytes")
    return tally


def odd_clock(bench: Bench) -> Tally:
    tally = Tally("clock going backwards")
    for days in (1, 30, 1_000, 10_000):
        store = bench.copy()
        from batch_scoring.domain import VersionId
        from batch_scoring.store import publish

        when = DAY_ONE - timedelta(days=days)
        release = publish(store, FLIGHTS, VersionId(10), who="tester", when=when, why="an odd clock")
        tally.check(store, [*BEFORE, acknowledged(release)], f"{days} days back")
    return tally


def state_machine(runs: int, seed: int) -> Tally:
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test
    from test_state_machine import StoreMachine

    tally = Tally("state machine against a model, runs of up to 8 steps", injected=runs)
    options = hypothesis.settings(
        max_examples=runs,
        stateful_step_count=8,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(StoreMachine), settings=options)
    except Exception:  # noqa: BLE001 -- shown with the steps that led there
        tally.lost = 1
        traceback.print_exc()
    return tally


_WRITE = """
import random, sys, time
from pathlib import Path
from support.stores import build, put_live, roll_back, FLIGHTS
from batch_scoring.errors import StoreConflict, UnknownVersion
from batch_scoring.store import Store, prune
store, chance, end = Store(Path(sys.argv[1]), patience=60), random.Random(sys.argv[2]), time.monotonic() + float(sys.argv[3])
done = 0
while time.monotonic() < end:
    try:
        match chance.randrange(4):
            case 0: roll_back(store)
            case 1: prune(store, FLIGHTS)
            case _: put_live(store, build(store, chance.randrange(20, 400), seed=chance.randrange(10**9)).version)
        done += 1
    except (StoreConflict, UnknownVersion):
        continue
print(done)
"""
_READ = """
import json, sys, time
from pathlib import Path
from batch_scoring.store import Reader
reader, end, reads, mixed = Reader(Path(sys.argv[1])), time.monotonic() + float(sys.argv[3]), 0, 0
while time.monotonic() < end:
    snapshot = reader.snapshot()
    answer = json.loads(snapshot.prediction("flight_delays", "UA/1000") or b"{}")
    why = json.loads(snapshot.explanation("flight_delays", "UA/1000") or b"{}")
    said = {answer["version"], why["version"], snapshot.manifest("flight_delays").version}
    mixed += len(said) != 1 or answer["score"] != why["score"]
    reads += 1
    time.sleep(0.002)
print(reads, mixed)
"""


def crowd(bench: Bench, seconds: float, seed: int) -> Tally:
    store = bench.copy()
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}

    def start(script: str, n: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(store.root), f"{seed}/{n}", str(seconds)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    writers, readers = [start(_WRITE, n) for n in range(4)], [start(_READ, n) for n in range(8)]
    told = [process.communicate()[0].split() for process in (*writers, *readers)]
    failed = sum(process.returncode != 0 for process in (*writers, *readers))
    changes = sum(int(each[0]) for each in told[:4] if each)
    reads = sum(int(each[0]) for each in told[4:] if each)
    tally = Tally(
        f"4 writers, 8 readers, {seconds:g} s ({reads:,} reads)", changes - 1, failed, sum(int(e[1]) for e in told[4:] if e)
    )
    tally.check(store, BEFORE, f"seed {seed}")
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("kills", 1_000), ("runs", 1_000), ("seed", 20130301), ("every", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    print(f"seed {options.seed}, one in {options.every} operations", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        tallies = list(everything(Bench(Path(folder), options.every), options))
    print(f"\n{'fault kind':<96}{'injections':>11}{'survived':>10}{'lost':>6}{'mixed':>7}")
    for tally in tallies:
        print(f"{tally.kind:<96}{tally.injected:>11,}{tally.injected - tally.lost:>10,}{tally.lost:>6}{tally.mixed:>7}")
    summary = {
        "injected": sum(tally.injected for tally in tallies),
        "lost": sum(tally.lost for tally in tallies),
        "mixed": sum(tally.mixed for tally in tallies),
        "unrecovered": sum(tally.lost for tally in tallies),
        "flip_p99_ms": None,
        "flip_ms_by_rows": None,
    }
    print(json.dumps({"summary": summary, "options": vars(options)}))
    sys.exit(1 if summary["lost"] or summary["mixed"] else 0)


def everything(bench: Bench, options: argparse.Namespace) -> Iterator[Tally]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        [sys.executable, "-m", "support.zygote"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def zygote(**task: object) -> str:
            asked.write(json.dumps(task) + "\n")
            asked.flush()
            return told.readline().strip()

        work: list[Callable[[], Tally]] = [
            lambda: odd_clock(bench),
            lambda: full_disk(bench),
            *[lambda verb=verb: failing(bench, verb) for verb in VERBS],  # type: ignore[misc]
            lambda: killed(bench, zygote),
            lambda: power_cuts(bench, options.seed),
            lambda: crowd(bench, options.seconds, options.seed),
            lambda: killed_at_random(bench, zygote, options.kills, options.seed),
            lambda: state_machine(options.runs, options.seed),
        ]
        for each in work:
            began = time.monotonic()
            tally = each()
            print(f"{time.monotonic() - began:6.1f} s  {tally.kind}: {tally.injected:,}", file=sys.stderr, flush=True)
            yield tally
        asked.close()


if __name__ == "__main__":
    main()
