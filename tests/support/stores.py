"""A store in a temporary folder, and the few verbs that most of its tests begin with."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from support.drafts import DAY_ONE, LEG, PASSED, staged_version

from batch_scoring.declare import Entity, TableName
from batch_scoring.domain import MANIFEST, Manifest, Release, Staged, VersionId
from batch_scoring.gates import GateResult
from batch_scoring.store import Erasure, Files, Store, build_version, create_store, erase, publish, rollback

FLIGHTS = TableName("flight_delays")
ERASABLE = ("AA/999", "9E/998", "B6/997", "AA/995")
"""Entities of :func:`build` that tests erase; what is said of the others must never change."""


def scratch() -> Path:
    """A new folder that is gone when the process ends, in memory where that is possible: many stores, no waiting for a disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="stores-", dir=os.environ.get("SCRATCH", memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def clone(source: Path, target: Path) -> Path:
    """A store, or a folder of it, that shares its finished files, which never change."""
    target.mkdir(parents=True)
    for path in os.scandir(source):
        if path.is_symlink():
            (target / path.name).symlink_to(os.readlink(path))  # noqa: PTH115
        elif path.is_dir():
            clone(source / path.name, target / path.name)
        elif path.name == "lock":
            shutil.copy2(path, target)
        else:
            os.link(path, target / path.name)
    return target


def new_store(folder: Path, files: Files | None = None, *, patience: float = 10.0) -> Store:
    """An empty store at ``folder/store``."""
    store = Store(folder / "store", files or Files(), patience)
    create_store(store, who="tester", when=DAY_ONE)
    return store


def build(
    store: Store,
    day: int = 0,
    table: str = FLIGHTS,
    *,
    keys: Sequence[tuple[Any, ...]] | None = None,
    gates: tuple[GateResult, ...] = (PASSED,),
    entity: Entity = LEG,
    score: float | None = None,
    seed: int | None = None,
) -> Manifest:
    """Stage a version beside the store and build it."""
    folder = store.root.parent / "staged" / f"{table}-{day}-{seed}-{score}-{len(gates)}"
    staged = staged_version(
        folder, table, day=day, keys=keys, gates=gates, entity=entity, score=score, seed=day if seed is None else seed
    )
    return build_version(store, staged)


def build_across(store: Store, during: Callable[[], object], day: int = 10, *, staged: Staged | None = None) -> Manifest:
    """As :func:`build`, or of what is staged; ``during`` happens when the rows are chosen and the version has no name yet."""
    write = store.files.write

    def writing(path: Path, data: bytes) -> None:
        write(path, data)
        if path.name == MANIFEST:
            store.files.write = write  # type: ignore[method-assign]
            during()

    store.files.write = writing  # type: ignore[method-assign]
    try:
        return build(store, day) if staged is None else build_version(store, staged)
    finally:
        store.files.write = write  # type: ignore[method-assign]


def build_beside_an_erasure(
    store: Store, note: Callable[[object], object] = lambda _: None, *, staged: Staged | None = None
) -> Manifest:
    """Somebody is erased while a version is built."""
    return build_across(store, lambda: note(erase_one(store)), staged=staged)


def put_live(store: Store, version: int, table: str = FLIGHTS, *, why: str = "test", **how: Any) -> Release:
    """Publish a version as ``tester``."""
    when = DAY_ONE + timedelta(hours=version)
    return publish(store, TableName(table), VersionId(version), who="tester", when=when, why=why, **how)


def build_and_publish(store: Store, day: int, table: str = FLIGHTS, **how: Any) -> Release:
    """The version of a day, live."""
    return put_live(store, build(store, day, table, **how).version, table)


def erase_one(store: Store, table: str = FLIGHTS, key: str = ERASABLE[0]) -> Erasure:
    """Erase an entity as ``support``, each key at a moment of its own."""
    when = DAY_ONE + timedelta(seconds=crc32(key.encode()))
    return erase(store, TableName(table), (key,), who="support", when=when, why="request 17")


def roll_back(store: Store, table: str = FLIGHTS, *, to: int | None = None, why: str = "it looked wrong", **how: Any) -> Release:
    """Roll back as ``operator``."""
    target = None if to is None else VersionId(to)
    return rollback(store, TableName(table), to=target, who="operator", when=DAY_ONE, why=why, **how)
