from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stores import build, build_and_publish, clone, new_store, scratch

from batch_scoring.store import Files, Store


@pytest.fixture(scope="session")
def grown() -> Path:
    """A store in which versions 1 to 9 were live in turn and version 10 waits to be published."""
    store = new_store(scratch() / "grown")
    for day in range(9):
        build_and_publish(store, day)
    build(store, 9)
    for catalog in sorted((store.root / "releases").glob("*/predictions.duckdb"))[:-1]:
        catalog.unlink()  # they are large and the rules below do not need them
    return store.root


@pytest.fixture
def copy(grown: Path, tmp_path: Path) -> Callable[..., Store]:
    """A fresh copy of it behind a given file system."""

    def make(name: str, files: Files | None = None, *, small: bool = False) -> Store:
        root = grown.parent / tmp_path.name / name / "store"
        clone(grown, root)
        for number in range(1, 9) if small else ():  # as if pruned: an erasure rewrites every version that is left
            shutil.rmtree(root / "tables" / "flight_delays" / "versions" / f"{number:06d}")
        return Store(root, files or Files(), 0.5)

    return make
