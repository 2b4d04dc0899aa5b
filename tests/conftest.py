"""Fixtures that are too dear to make twice: workspaces with runs in them."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import settings
from support.workspace import Workspace, copy_examples, open_workspace

from pipelines.ingest import ingest
from pipelines.init import initialise

# The same examples on every machine, so that a red run says something about the change before it. New ones are looked for by
# `make explore`, and what it finds becomes a test of its own.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", print_blob=True, deadline=None)
settings.load_profile("same")

DAYS = (date(2024, 4, 10), date(2024, 4, 11), date(2024, 4, 12))


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A made repository after three daily runs: versions 1 to 3, the last one live. Tests must not change its store."""
    folder = tmp_path_factory.mktemp("orders")
    initialise(folder)
    workspace = open_workspace(folder, "orders")
    ingest(workspace.product, workspace.settings)
    workspace.source.apply()
    for day in DAYS:
        workspace.run(day)
    return workspace


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples' repository, as it is, in a workspace of its own."""
    return copy_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def real_flights(examples_folder: Path) -> Workspace:
    """All flights, ingested and applied; no run yet. Tests that run bring a store of their own, or are the examples' test."""
    workspace = open_workspace(examples_folder, "flights")
    ingest(workspace.product, workspace.settings)
    workspace.source.apply()
    return workspace
