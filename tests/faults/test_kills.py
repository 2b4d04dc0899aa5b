"""Real processes, killed with SIGKILL before every operation and at random moments; a ledger outside the store remembers."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.faulty import Counting
from support.invariants import Acknowledged, read_ledger, require_ledger, witness
from support.scale import ROUNDS, some
from support.stores import FLIGHTS, build_and_publish, build_beside_an_erasure, erase_one, put_live, roll_back

from batch_scoring.store import Store, prune, versions

Copy = Callable[..., Store]
Kill = Callable[..., str]
SMALL = ("erase", "build beside an erasure")
BEFORE = [Acknowledged(id=10, live=9)]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """Runs a task in a process of its own; says how that ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-m", "support.zygote"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zygote:
        assert zygote.stdin is not None
        assert zygote.stdout is not None

        def run(**task: object) -> str:
            assert zygote.stdin is not None
            assert zygote.stdout is not None
            zygote.stdin.write(json.dumps(task) + "\n")
            zygote.stdin.flush()
            return zygote.stdout.readline().strip()

        yield run
        zygote.stdin.close()


@pytest.mark.parametrize("verb", ["publish", "rollback", "prune", *SMALL])
def test_a_kill_before_any_operation_loses_nothing(copy: Copy, kill: Kill, tmp_path: Path, verb: str) -> None:
    counting = Counting()
    store = copy("counted", counting, small=verb in SMALL)
    match verb:
        case "publish":
            put_live(store, 10, force=True)
        case "rollback":
            roll_back(store)
        case "erase":
            erase_one(store)
        case "build beside an erasure":
            build_beside_an_erasure(store)
        case _:
            prune(store, FLIGHTS)
    every = {"erase": 31, "build beside an erasure": 83}.get(verb, 5)
    for nth in some(len(counting.steps) + 1, every=every, first=len(counting.steps)):
        store = copy(str(nth), small=verb in SMALL)
        said = witness(store.root)
        ledger = tmp_path / f"ledger-{nth}"
        ended = kill(root=str(store.root), ledger=str(ledger), verb=verb, die_at=nth, seed=nth)
        assert ended == ("killed" if nth < len(counting.steps) else "done 0")
        noted = read_ledger(ledger, BEFORE)
        assert len(noted.releases) == (2 if nth == len(counting.steps) and verb in ("publish", "rollback") else 1)
        require_ledger(store.root, noted, said)
        build_and_publish(store, 30)
        shutil.rmtree(store.root.parent)


def test_kills_at_random_moments_lose_nothing(copy: Copy, kill: Kill, tmp_path: Path) -> None:
    chance = random.Random(20130301)
    store = copy("long life")
    ledger = tmp_path / "ledger"
    said = witness(store.root)
    n, slow = 0, 1.0  # on a busy machine a life must be longer for anything to happen in it
    while n < 6 * ROUNDS or len(read_ledger(ledger, BEFORE).releases) <= 3:
        life = slow * chance.uniform(0.02, 0.4)
        assert kill(root=str(store.root), ledger=str(ledger), live_for=life, seed=n) == "killed"
        require_ledger(store.root, read_ledger(ledger, BEFORE), said)
        said = witness(store.root)
        n, slow = n + 1, slow * 1.2 if n > 6 * ROUNDS else 1.0
    assert len(versions(store, FLIGHTS)) >= 7
