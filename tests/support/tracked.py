"""What an MLflow database holds, asked through MLflow's own client."""

from __future__ import annotations

from typing import Any

from support.stores import FLIGHTS

from batch_scoring.settings import Settings
from batch_scoring.store import Store
from pipelines.tracking.catch_up import tracker


def store_of(settings: Settings) -> Store:
    return Store(settings.store)


def client_of(settings: Settings) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker(settings), registry_uri=tracker(settings))


def runs_of(settings: Settings) -> list[Any]:
    client = client_of(settings)
    experiment = client.get_experiment_by_name(f"foretable/{FLIGHTS}")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.run_name ASC"]))


def pointed(settings: Settings) -> dict[str, int]:
    """The table version that each alias names, by way of its model version."""
    client = client_of(settings)
    model = client.get_registered_model(FLIGHTS)
    numbers = {alias: client.get_model_version(FLIGHTS, number) for alias, number in model.aliases.items()}
    return {alias: int(version.tags["foretable.version"]) for alias, version in numbers.items()}
