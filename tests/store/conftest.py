from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.stores import build_and_publish, new_store

from batch_scoring.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return new_store(tmp_path)


@pytest.fixture(scope="session")
def _nine_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = new_store(tmp_path_factory.mktemp("nine"))
    for day in range(9):
        build_and_publish(store, day)
    return store.root


@pytest.fixture
def nine(tmp_path: Path, _nine_days: Path) -> Store:
    """A store in which versions 1 to 9 of ``flight_delays`` were live in turn. Its views point at a copy elsewhere."""
    shutil.copytree(_nine_days, tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store")
