"""Several writer and reader processes at once, the short form: the long one is ``python benchmarks/crowd.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "crowd.py"


@pytest.fixture(scope="module")
def crowd() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crowd", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_processes_that_write_and_read_at_once_lose_and_mix_nothing(crowd: ModuleType, tmp_path: Path) -> None:
    counted = crowd.run(tmp_path, seconds=2.5, writers=3, readers=3, seed=7)
    assert {name: counted[name] for name in ("mixed", "failed", "lost")} == {"mixed": 0, "failed": 0, "lost": 0}
    assert counted["published"] > 0
    assert counted["reads"] > 100
