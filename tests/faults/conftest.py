from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stores import build, build_and_publish, new_store

from batch_scoring.store import Files, Store


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which versions 1 to 9 were live in turn and version 10 waits to be published."""
    store = new_store(tmp_path_factory.mktemp("grown"))
    for day in range(9):
        build_and_publish(store, day)
    build(store, 9)
    for catalog in sorted((store.root / "releases").glob("*/predictions.duckdb"))[:-1]:
        catalog.unlink()  # they are large and the rules below do not need them
    return store.root


def _link(source: str, target: str) -> object:
    """Finished files never change, so copies of the store may share them."""
    if Path(source).is_symlink() or Path(source).name == "lock":
        return shutil.copy2(source, target, follow_symlinks=False)
    return os.link(source, target)


@pytest.fixture
def copy(grown: Path, tmp_path: Path) -> Callable[..., Store]:
    """A fresh copy of it behind a given file system."""

    def make(name: str, files: Files | None = None, *, small: bool = False) -> Store:
        root = tmp_path / name / "store"
        shutil.copytree(grown, root, symlinks=True, copy_function=_link)
        for number in range(1, 8) if small else ():  # as if pruned: an erasure rewrites every version that is left
            shutil.rmtree(root / "tables" / "flight_delays" / "versions" / f"{number:06d}")
        return Store(root, files or Files(), 0.5)

    return make
