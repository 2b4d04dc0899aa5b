"""A store in a temporary folder, and the few verbs that most of its tests begin with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.drafts import DAY_ONE, LEG, PASSED, staged_version

from batch_scoring.declare import Entity, TableName
from batch_scoring.domain import Manifest, Release, VersionId
from batch_scoring.gates import GateResult
from batch_scoring.store import Erasure, Files, Store, build_version, create_store, erase, publish, rollback

FLIGHTS = TableName("flight_delays")


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


def put_live(store: Store, version: int, table: str = FLIGHTS, *, why: str = "test", **how: Any) -> Release:
    """Publish a version as ``tester``."""
    when = DAY_ONE + timedelta(hours=version)
    return publish(store, TableName(table), VersionId(version), who="tester", when=when, why=why, **how)


def build_and_publish(store: Store, day: int, table: str = FLIGHTS, **how: Any) -> Release:
    """The version of a day, live."""
    return put_live(store, build(store, day, table, **how).version, table)


def erase_one(store: Store, table: str = FLIGHTS, key: str = "AA/999") -> Erasure:
    """Erase an entity as ``support``."""
    return erase(store, TableName(table), (key,), who="support", when=DAY_ONE, why="request 17")


def roll_back(store: Store, table: str = FLIGHTS, *, to: int | None = None, why: str = "it looked wrong", **how: Any) -> Release:
    """Roll back as ``operator``."""
    target = None if to is None else VersionId(to)
    return rollback(store, TableName(table), to=target, who="operator", when=DAY_ONE, why=why, **how)
