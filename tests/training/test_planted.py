"""Faults that have broken real pipelines, planted into real flights: each is named by the gate that is there for it."""

from pathlib import Path

import pytest
from support.planted import FAULTS, Bench, Fault, bench_of, copied, stopped_by
from support.workspace import Workspace


@pytest.fixture(scope="module")
def bench(real_flights: Workspace) -> Bench:
    return bench_of(real_flights.product, real_flights.settings, real_flights.source)


@pytest.fixture(scope="module")
def champion(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bench.champion(tmp_path_factory.mktemp("champion") / "store")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_planted_fault_is_named_by_its_gate(fault: Fault, bench: Bench, champion: Path, tmp_path: Path) -> None:
    failed = fault.failed_gates(bench, champion, tmp_path / "store")
    said = {gate: found.message for gate, found in failed.items()}
    assert fault.is_caught(failed), f"expected {fault.gate} to say {fault.names!r}, found {said or 'none'}"


def test_a_copied_champion_passes_every_gate(bench: Bench, champion: Path, tmp_path: Path) -> None:
    assert stopped_by(bench, champion, tmp_path / "store", copied) == {}
