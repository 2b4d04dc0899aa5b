"""A real workspace in a temporary folder: what ``foretable init`` makes, or a copy of the examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from batch_scoring.domain import Manifest, Release
from batch_scoring.settings import Settings, load_settings
from pipelines.features import FeastFeatures
from pipelines.repository import Product, load_repository
from pipelines.run import plan_run
from pipelines.steps import run_all

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace and the one table of it that a test is about."""

    folder: Path
    settings: Settings
    product: Product
    source: FeastFeatures

    def run(self, day: date, *, reason: str = "test") -> tuple[Manifest, Release]:
        """One whole run, as the command line makes it."""
        planned = plan_run(self.product, self.settings, day, reason=reason)
        return run_all(planned, self.source, clock=lambda: datetime.now(UTC))

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The ``foretable`` command, as a person would type it in the workspace."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=self.folder,
            env=clean_environment() | variables,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without settings, in a terminal wide enough to break no line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FORETABLE_")}
    return kept | {"COLUMNS": "200", "OMP_WAIT_POLICY": "PASSIVE", "FORETABLE_WHO": "tester"}


def open_workspace(folder: Path, table: str) -> Workspace:
    """The workspace in a folder that holds one already."""
    settings = load_settings(folder)
    product = load_repository(settings.repo).product(table)
    return Workspace(folder=folder, settings=settings, product=product, source=FeastFeatures(product=product, settings=settings))


def copy_examples(folder: Path) -> Path:
    """The examples' feature repository in a workspace of its own."""
    ignored = shutil.ignore_patterns("__pycache__", "*.db")
    shutil.copytree(REPOSITORY / "feature_repo", folder / "feature_repo", ignore=ignored)
    shutil.copy(REPOSITORY / "foretable.toml", folder)
    return folder


def second_store(workspace: Workspace, folder: Path) -> Workspace:
    """The same declarations and data with an empty store of its own."""
    settings = workspace.settings.model_copy(update={"store": folder})
    return Workspace(folder=workspace.folder, settings=settings, product=workspace.product, source=workspace.source)
