"""The long form of the fault suite: everything that can happen to a store, counted.

    python benchmarks/faults.py [--seed 20130301] [--kills 1000] [--runs 10000] [--seconds 60] [--every 1] [--jobs 2]

Prints a table and one JSON object. ``lost``: something that was acknowledged is gone, or its bytes have changed. ``mixed``: an
answer came from two versions. ``unrecovered``: the store was not clean and repair did not make it so, or a rule was broken.
The same seed injects the same faults, but for kills at random moments and crowds, where the machine has its say.
"""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
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
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(Path(__file__).parent), str(TESTS), str(TESTS / "faults")]
from support.drafts import DAY_ONE, staged_version  # noqa: E402
from support.faulty import STEPS, Counting, Failing, Forgetful, PowerCut  # noqa: E402
from support.invariants import (  # noqa: E402
    Acknowledged,
    Ledger,
    Lost,
    Mixed,
    Said,
    acknowledged,
    read_ledger,
    require_ledger,
    witness,
)
from support.stores import (  # noqa: E402
    FLIGHTS,
    build,
    build_and_publish,
    build_beside_an_erasure,
    clone,
    erase_one,
    new_store,
    put_live,
    roll_back,
    scratch,
)

from batch_scoring.domain import Staged, VersionId  # noqa: E402
from batch_scoring.errors import StoreCorrupt, StoreUnavailable, UnknownVersion  # noqa: E402
from batch_scoring.store import (  # noqa: E402
    Files,
    Reader,
    Store,
    build_version,
    prune,
    publish,
    rollback,
    verify,
)

CODES = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EACCES)
MODES = ("refused", "half done", "for good")
BEFORE = [Acknowledged(id=10, live=9)]
FULL = "a truly full disk"
ON_A_TMPFS = f"{FULL}: a tmpfs of 4 MB with 0 to 256 kB left"
POWER_DAYS = ("a day", "an erasure", "an erasure during a build")
"""Those of ``tests/faults/test_power_cuts.py``, which is imported only where they are run."""


@cache
def staged_once() -> Staged:
    return staged_version(scratch() / "staged", day=10, seed=10)


Note = Callable[[object], object]

VERBS: dict[str, Callable[[Store, Note], object]] = {
    "build": lambda store, _: build_version(store, staged_once()),
    "publish": lambda store, _: put_live(store, 10, force=True),
    "rollback": lambda store, _: roll_back(store),
    "prune": lambda store, _: prune(store, FLIGHTS),
    "erase": lambda store, _: erase_one(store),
    "build beside an erasure": lambda store, note: build_beside_an_erasure(store, note, staged=staged_once()),
}
"""What each returns is noted by the caller; what is acknowledged before that, by itself."""


@dataclass(slots=True)
class Tally:
    """What became of the injections of one kind."""

    kind: str
    injected: int = 0
    lost: int = 0
    mixed: int = 0
    unrecovered: int = 0
    seconds: float = 0.0

    def check(self, root: Path, ledger: Ledger, before: dict[int, Said] | None, what: object) -> None:
        """Count one injection, and what it did to the store."""
        self.injected += 1
        with self.judging(what):
            require_ledger(root, ledger, before)

    @contextmanager
    def judging(self, what: object) -> Iterator[None]:
        """Count the harm that shows inside, whatever it is."""
        try:
            yield
        except Lost:
            self.lost += 1
            self._tell("LOST", what)
        except Mixed:
            self.mixed += 1
            self._tell("MIXED", what)
        except Exception:  # noqa: BLE001 -- however it shows
            self.unrecovered += 1
            self._tell("UNRECOVERED", what)

    def _tell(self, harm: str, what: object) -> None:
        print(f"{harm}: {self.kind}, {what}\n{traceback.format_exc()}", file=sys.stderr, flush=True)

    def add(self, other: Tally) -> None:
        for name in ("injected", "lost", "mixed", "unrecovered", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def survived(self) -> int:
        return max(0, self.injected - self.lost - self.mixed - self.unrecovered)


class Bench:
    """A grown store to copy, in a folder of its own: versions 1 to 9 were live in turn, 10 waits to be published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store = new_store(folder / "grown")
        for day in range(9):
            build_and_publish(store, day)
        build(store, 9)
        for catalog in sorted(store.root.glob("releases/*/predictions.duckdb"))[:-1]:
            catalog.unlink()  # large, and not what is looked at here
        self.grown = store.root
        self.said = witness(store.root)

    def copy(self, files: Files | None = None, *, verb: str = "") -> Store:
        """A fresh copy; before an erasure, which rewrites every version, as if all but two had been pruned."""
        root = self.folder / "copy" / "store"
        shutil.rmtree(root.parent, ignore_errors=True)
        clone(self.grown, root)
        for number in range(1, 9) if "eras" in verb else ():
            shutil.rmtree(root / "tables" / FLIGHTS / "versions" / f"{number:06d}")
        return Store(root, files or Files(), 0.5)

    def before(self, verb: str) -> dict[int, Said]:
        return {number: said for number, said in self.said.items() if "eras" not in verb or number >= 9}

    def steps(self, verb: str) -> int:
        files = Counting()
        VERBS[verb](self.copy(files, verb=verb), lambda _: None)
        return len(files.steps)


@cache
def bench(disk: bool = False) -> Bench:
    """In memory where that is possible; on the disk where a process is killed, for its waits there are moments too."""
    return Bench(Path(tempfile.mkdtemp(dir=os.environ["DISK"])) if disk else scratch())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    seed: int
    kills: int
    runs: int
    seconds: float
    every: int
    jobs: int
    flips: int
    only: str


def failing(verb: str, code: int, *, every: int) -> Tally:
    tally = Tally(f"{verb}: every operation fails, {' or '.join(MODES)} (EIO, ENOSPC, EINTR, EACCES each)")
    stage = bench()
    for nth in range(0, stage.steps(verb), every):
        for mode, name in enumerate(MODES):
            store = stage.copy(Failing(nth, code, late=mode == 1, forever=mode == 2), verb=verb)
            ledger = Ledger([*BEFORE])
            what = f"operation {nth}, {errno.errorcode[code]}, {name}"
            with tally.judging(what), suppress(StoreUnavailable):
                ledger.note(VERBS[verb](store, ledger.note))
            tally.check(store.root, ledger, stage.before(verb), what)
    return tally


@contextmanager
def zygote() -> Iterator[Callable[..., str]]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    with subprocess.Popen(
        [sys.executable, "-m", "support.zygote"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def run(**task: object) -> str:
            asked.write(json.dumps(task) + "\n")
            asked.flush()
            return told.readline().strip()

        yield run
        asked.close()


def killed(verb: str, *, every: int) -> Tally:
    tally = Tally(f"SIGKILL of a process before every operation of build, {', '.join([*VERBS][1:])}")
    stage = bench(disk=True)
    ledger = stage.folder / "ledger"
    with zygote() as kill:
        for nth in range(0, stage.steps(verb), every):
            store = stage.copy(verb=verb)
            ledger.unlink(missing_ok=True)
            with tally.judging(f"{verb} at {nth}"):
                assert kill(root=str(store.root), ledger=str(ledger), verb=verb, die_at=nth, seed=nth) == "killed"
            tally.check(store.root, read_ledger(ledger, BEFORE), stage.before(verb), f"{verb} at {nth}")
    shutil.rmtree(stage.folder / "copy")
    return tally


def killed_at_random(kills: int, seed: str) -> Tally:
    tally = Tally("SIGKILL of a process at a random moment")
    stage, chance = bench(disk=True), random.Random(seed)
    ledger = stage.folder / "ledger"
    with zygote() as kill:
        for n in range(kills):
            if n % 25 == 0:  # a store grows with every release, and with it the time to check it
                store = stage.copy()
                ledger.unlink(missing_ok=True)
                said = stage.said
            ended = kill(root=str(store.root), ledger=str(ledger), live_for=chance.uniform(0.005, 0.12), seed=f"{seed}/{n}")
            with tally.judging(f"kill {n} of {seed}"):
                assert ended == "killed"
            tally.check(store.root, read_ledger(ledger, BEFORE), said, f"kill {n} of {seed}")
            said = witness(store.root)
    shutil.rmtree(stage.folder / "copy")
    return tally


def power_cuts(day: str, seed: str, *, every: int) -> Tally:
    from test_power_cuts import DAYS

    tally = Tally("power cut before every operation of a day: what was not synced is taken back, torn or zeroed")
    stage, counted, verb = bench(), Counting(), day if "erasure" in day else ""
    DAYS[day](stage.copy(counted, verb=verb), lambda _: None)
    for nth in range(0, len(counted.steps) + 1, every):
        graveyard = stage.folder / "graveyard"
        shutil.rmtree(graveyard, ignore_errors=True)
        files = Forgetful(nth, graveyard)
        store, ledger = stage.copy(files, verb=verb), Ledger([*BEFORE])
        with suppress(PowerCut):
            DAYS[day](store, ledger.note)
        files.cut_power(random.Random(f"{seed}/{nth}"))
        tally.check(store.root, ledger, stage.before(verb), f"operation {nth} of {day}, seed {seed}")
    return tally


def full_file_system() -> Tally:
    """On a small tmpfs that is mounted for this alone, in a name space of its own; whatever fails there is harm."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    try_it = [*apart, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(scratch())]
    if not shutil.which("unshare") or subprocess.run(try_it, capture_output=True, check=False).returncode:
        return Tally(f"{FULL}: mounting a tmpfs is not allowed here")
    command = [*apart, sys.executable, __file__, "--in-a-name-space"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    tally = Tally(ON_A_TMPFS)
    with tally.judging(command):
        done.check_returncode()
        return Tally(**json.loads(done.stdout.splitlines()[-1]))
    tally.injected += 1
    return tally


def on_a_tmpfs() -> Tally:
    tally = Tally(ON_A_TMPFS)
    mount = scratch()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], check=True)
    stage = bench()
    for verb, act in VERBS.items():
        for left in (0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256):
            root = mount / "store"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(stage.copy(verb=verb).root, root, symlinks=True)
            free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize
            (mount / "ballast").write_bytes(b"\0" * (free - left * 1024))
            ledger = Ledger([*BEFORE])
            with tally.judging(f"{verb} with {left} kB"), suppress(StoreUnavailable):
                ledger.note(act(Store(root, Roomy()), ledger.note))
            (mount / "ballast").unlink()  # an operator makes room
            tally.check(root, ledger, stage.before(verb), f"{verb} with {left} kB")
    subprocess.run(["umount", str(mount)], check=True)
    return tally


class Roomy(Files):
    """Says that there is room, so that what is tried is not the early refusal but the full disk."""

    def free_bytes(self, path: Path) -> int:  # noqa: ARG002 -- as its base has it
        return 2**40


def limited_files() -> Tally:
    tally = Tally(f"{FULL}: a limit on the size of files (RLIMIT_FSIZE)")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    staged_once()
    for verb, act in VERBS.items():
        for limit in (0, 500, 1_000, 2_000, 3_500, 5_000, 8_000, 12_000, 16_000, 20_000, 50_000, 200_000):
            store, ledger = bench().copy(Roomy(), verb=verb), Ledger([*BEFORE])
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                with suppress(StoreUnavailable):
                    ledger.note(act(store, ledger.note))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            tally.check(store.root, ledger, bench().before(verb), f"{verb} with {limit} bytes")
    return tally


def odd_clock(seed: str) -> Tally:
    tally = Tally("a clock that jumps, by up to 30 years and mostly backwards")
    chance, stage = random.Random(seed), bench()
    for n in range(50):
        store, ledger = stage.copy(), Ledger([*BEFORE])
        with tally.judging(f"{n} of {seed}"):
            for target in (10, None, 10):
                when = DAY_ONE + timedelta(days=chance.uniform(-10_000, 1_000))
                if target is None:
                    release = rollback(store, FLIGHTS, who="tester", when=when, why="an odd clock")
                else:
                    release = publish(store, FLIGHTS, VersionId(target), who="tester", when=when, why="an odd clock", force=True)
                ledger.releases.append(acknowledged(release))
        tally.check(store.root, ledger, stage.said, f"{n} of {seed}")
        tally.injected += 2
    return tally


def rot(seed: str) -> Tally:
    """Every file of a live version and of the current release is hurt: it must be found, and nobody served from half of it."""
    tally = Tally("every file flipped, cut short, removed, or joined by a stranger: found, and never served cut short")
    chance, stage = random.Random(seed), bench()
    version, release = stage.grown / "tables" / FLIGHTS / "versions" / "000009", (stage.grown / "current").resolve()
    for path in (*sorted(version.iterdir()), *sorted(release.iterdir())):
        for harm in ("flip", "cut", "remove", "stranger"):
            store = stage.copy()
            target = store.root / path.relative_to(stage.grown)
            reader = Reader(store.root)
            held = reader.snapshot()
            _hurt(target, harm, chance)
            tally.injected += 1
            with tally.judging(f"{harm} {path.name} of {path.parent.name}"):
                found = {finding.path for finding in verify(store)}
                folder = str(target.parent.relative_to(store.root))
                assert found, "not found"
                assert all(name.startswith(folder) or name == "current" for name in found), found
                named = target.with_name("stranger") if harm == "stranger" else target
                whole = target.name in ("manifest.json", "release.json", "SHA256SUMS")  # without it the folder means nothing
                assert str(named.relative_to(store.root)) in found or (whole and harm != "stranger"), found
                assert b'"version":9' in (held.prediction(FLIGHTS, "UA/1000") or b"")
                if harm in ("cut", "remove") and path.parent == version and path.name != "SHA256SUMS":
                    _require_refused(store, reader)
            del reader, held
    return tally


def _hurt(path: Path, harm: str, chance: random.Random) -> None:
    data = path.read_bytes()
    if harm == "stranger":
        path.with_name("stranger").write_bytes(data)
        return
    path.unlink()  # the copy shares it with others
    if harm == "flip":
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
    if harm == "cut":
        path.write_bytes(data[: chance.randrange(len(data))])


def _require_refused(store: Store, reader: Reader) -> None:
    """A new reader refuses a damaged live version, one at work keeps the last good one, and a rollback helps both."""
    fresh = store.root.with_name("fresh")  # another path: readers of one process share what is open
    shutil.copytree(store.root, fresh, symlinks=True)
    try:
        with suppress(StoreCorrupt, UnknownVersion):
            Reader(fresh).snapshot()
            raise AssertionError("a damaged version is served")
        assert rollback(Store(fresh), FLIGHTS, who="tester", when=DAY_ONE, why="damaged").tables[FLIGHTS].live == 8
        assert b'"version":8' in (Reader(fresh).snapshot().prediction(FLIGHTS, "UA/1000") or b"")
        assert b'"version":9' in (reader.snapshot().prediction(FLIGHTS, "UA/1000") or b"")
    finally:
        shutil.rmtree(fresh)


def state_machine(runs: int, steps: int, seed: str) -> Tally:
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test
    from test_state_machine import StoreMachine

    tally = Tally("state machine against a model: 97 of 100 runs of 5 steps, the rest of 30", injected=runs)
    options = hypothesis.settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    with tally.judging(seed):
        run_state_machine_as_test(hypothesis.seed(seed)(StoreMachine), settings=options)
    return tally


def crowded(seconds: float, seed: int) -> Tally:
    from crowd import run

    told = run(Path(tempfile.mkdtemp(dir=os.environ["DISK"])), seconds=seconds, seed=seed)
    said = f"{told['published']:,} published, {told['refused']:,} refused, {told['reads']:,} reads"
    return Tally(
        f"4 writers and 8 readers at once for {seconds:g} s ({said})",
        injected=told["published"] + told["refused"],
        lost=told["lost"],
        mixed=told["mixed"],
        unrecovered=told["failed"],
    )


def pieces(options: Options) -> Iterator[Callable[[], Tally]]:
    """The work, in parts of well under a minute, the longest first."""
    seed = options.seed
    parts = max(2, options.runs // 500)
    for n in range(parts):
        runs = options.runs // parts
        yield partial(state_machine, runs * 97 // 100, 5, f"{seed}/machine/{n}")
        yield partial(state_machine, runs - runs * 97 // 100, 30, f"{seed}/long machine/{n}")
    for n in range(4):
        yield partial(killed_at_random, options.kills // 4, f"{seed}/kills/{n}")
    for n in range(2):
        yield from (partial(power_cuts, day, f"{seed}/power/{n}", every=options.every) for day in POWER_DAYS)
    for verb in reversed(VERBS):
        for code in CODES:
            yield partial(failing, verb, code, every=options.every)
    for verb in reversed(VERBS):
        yield partial(killed, verb, every=options.every)
    yield from (full_file_system, limited_files, partial(odd_clock, f"{seed}/clock"), partial(rot, f"{seed}/rot"))


def timed(piece: Callable[[], Tally]) -> Tally:
    began = time.monotonic()
    tally = piece()
    tally.seconds = time.monotonic() - began
    return tally


def everything(options: Options) -> list[Tally]:
    """All pieces, as many at a time as there are jobs; the crowd has the machine to itself."""
    found: dict[str, Tally] = {}
    wanted = [piece for piece in pieces(options) if options.only in getattr(getattr(piece, "func", piece), "__name__", "")]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for tally in pool.map(timed, wanted):
            found.setdefault(tally.kind, Tally(tally.kind)).add(tally)
            print(f"{tally.seconds:6.1f} s  {tally.kind}: {tally.injected:,}", file=sys.stderr, flush=True)
    if options.seconds and options.only in "crowded":
        tally = timed(partial(crowded, options.seconds, options.seed))
        found[tally.kind] = tally
    return [*found.values()][::-1]


def flips(count: int) -> dict[str, object]:
    """The figures of ``benchmarks/swap.py`` at reduced sizes."""
    command = [sys.executable, str(Path(__file__).with_name("swap.py")), "--rows", "10000", "1000000", "--flips", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return {**told["summary"], "mixed": told["load"]["mixed"], "failed": told["load"]["failed"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 1_000), ("runs", 10_000), ("seed", 20130301), ("every", 1), ("jobs", 2), ("flips", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default="", help="a part of the name of a function above")
    options = Options(**vars(parser.parse_args()))
    began = time.monotonic()
    where = "in memory" if Path("/dev/shm").is_dir() else "on disk"
    steps = ", ".join(STEPS)
    print(
        f"seed {options.seed}; one in {options.every} operations of: {steps}\nstores {where}, those of killed processes on disk"
    )
    with tempfile.TemporaryDirectory(prefix="faults-") as disk:
        os.environ |= {"SCRATCH": str(scratch()), "DISK": disk}  # of all processes, for they end without tidying up
        tallies = everything(options)
    swap = flips(options.flips) if options.flips else {}
    total = Tally("all")
    print(f"\n{'fault kind':<108}{'injections':>11}{'survived':>10}{'lost':>6}{'mixed':>7}{'unrecovered':>13}{'core s':>8}")
    for tally in (*tallies, total):
        if tally is not total:
            total.add(tally)
        harm = f"{tally.lost:>6}{tally.mixed:>7}{tally.unrecovered:>13}"
        print(f"{tally.kind:<108}{tally.injected:>11,}{tally.survived:>10,}{harm}{tally.seconds:>8.0f}")
    summary = {
        "injected": total.injected,
        "lost": total.lost,
        "mixed": total.mixed + int(str(swap.get("mixed", 0))),
        "unrecovered": total.unrecovered + int(str(swap.get("failed", 0))),
        "flip_p99_ms": swap.get("flip_p99_ms"),
        "flip_ms_by_rows": swap.get("flip_ms_by_rows"),
    }
    kinds = [{name: getattr(tally, name) for name in Tally.__slots__} for tally in tallies]
    told = {name: getattr(options, name) for name in Options.__slots__}
    print(json.dumps({"summary": summary, "options": told, "seconds": round(time.monotonic() - began), "kinds": kinds}))
    sys.exit(1 if summary["lost"] or summary["mixed"] or summary["unrecovered"] else 0)


if __name__ == "__main__":
    if "--in-a-name-space" in sys.argv:
        measured = on_a_tmpfs()
        print(json.dumps({name: getattr(measured, name) for name in Tally.__slots__}))
    else:
        main()
