"""A store of two published versions, and an empty MLflow database to follow it."""

import shutil
from pathlib import Path

import pytest
from support.stores import build_and_publish, new_store

from batch_scoring.settings import Settings, load_settings


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once: that takes MLflow seconds."""
    import os

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def workspace(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A workspace with a store of two published versions, and the empty database where tracking looks for it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "foretable.toml").write_text('tracking = "mlflow"\n')
    store = new_store(tmp_path)
    for day in (1, 2):
        build_and_publish(store, day)
    settings = load_settings(tmp_path)
    (settings.data / "tracking").mkdir(parents=True)
    shutil.copy(database, settings.data / "tracking" / "mlflow.db")
    return settings
