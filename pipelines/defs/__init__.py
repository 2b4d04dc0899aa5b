"""Dagster: every declared table as assets, checks, jobs and a schedule. The only package that imports dagster."""

from __future__ import annotations

import dagster as dg

from batch_scoring.settings import load_settings
from pipelines.defs.feature_views import feature_view_definitions
from pipelines.defs.table import table_definitions
from pipelines.defs.workspace import Workspace
from pipelines.repository import load_repository


def build_definitions() -> dg.Definitions:
    """Definitions of the workspace that the working directory (or FORETABLE_WORKSPACE) lies in.

    Loads declarations only: no Feast, no XGBoost, no polars until a step runs.
    """
    settings = load_settings()
    products = load_repository(settings.repo).products
    return dg.Definitions.merge(
        dg.Definitions(
            resources={"workspace": Workspace(folder=str(settings.workspace))},
            # A run is a chain of short steps: one process that imports Feast once beats a process per step.
            executor=dg.in_process_executor,
        ),
        *(table_definitions(product) for product in products),
        *(feature_view_definitions(product) for product in products),
    )
