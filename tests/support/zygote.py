"""Forks a process per task from one that has imported everything and started nothing, so that killing many is cheap.

Reads one JSON task a line: ``{"root", "ledger", "verb", "die_at" | "live_for"}``; answers ``killed`` or ``done``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import duckdb  # noqa: F401 -- imported before any fork
import lmdb  # noqa: F401
from support.faulty import Dying
from support.stores import ERASABLE, FLIGHTS, build, build_beside_an_erasure, erase_one, put_live, roll_back

import batch_scoring.store.build
import batch_scoring.store.catalog
import batch_scoring.store.erasure
import batch_scoring.store.sorting  # noqa: F401
from batch_scoring.domain import Manifest, Release
from batch_scoring.errors import StoreConflict, UnknownVersion
from batch_scoring.store import Files, Store, prune, versions


def note(ledger: int, result: Release | Manifest | str) -> None:
    """One line for what was acknowledged: a release, a version, or an erased key; a single write, so it is there or not."""
    match result:
        case Release():
            line = f"release {result.id} {result.tables[FLIGHTS].live}"
        case Manifest():
            line = f"version {result.version}"
        case _:
            line = f"erased {result}"
    os.write(ledger, f"{line}\n".encode())


def act(store: Store, ledger: int, verb: str, chance: random.Random) -> None:
    match verb:
        case "build":
            note(ledger, build(store, chance.randrange(20, 400)))
        case "publish":
            newest = [each.version for each in versions(store, FLIGHTS) if each.passed][-1]
            note(ledger, put_live(store, newest, force=True, why="test"))
        case "rollback":
            note(ledger, roll_back(store))
        case "prune":
            prune(store, FLIGHTS)
        case "erase":
            key = chance.choice(ERASABLE)
            erase_one(store, key=key)
            note(ledger, key)
        case "build beside an erasure":
            note(ledger, build_beside_an_erasure(store, lambda _: note(ledger, ERASABLE[0])))


def child(task: dict[str, object]) -> None:
    files: Files = Dying(int(str(task["die_at"]))) if "die_at" in task else Files()
    store = Store(Path(str(task["root"])), files, 30.0)
    ledger = os.open(str(task["ledger"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance = random.Random(str(task["seed"]))
    if "die_at" in task:
        act(store, ledger, str(task["verb"]), chance)
        return
    while True:  # until it is killed
        verb = chance.choice(("build", "publish", "publish", "rollback", "rollback", "prune", "erase"))
        try:
            act(store, ledger, verb, chance)
        except (StoreConflict, UnknownVersion):  # nothing to roll back to
            continue


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(task)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        if "live_for" in task:
            time.sleep(float(task["live_for"]))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else f"done {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
