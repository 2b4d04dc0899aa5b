"""A tracker's password is in no file and on no screen."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import build_and_publish, new_store
from typer.testing import CliRunner

from batch_scoring.settings import load_settings
from pipelines.cli import app
from pipelines.tracking.address import shown, without_secrets
from pipelines.tracking.catch_up import _mark, follow, pending

SECRET = "opensesame"
ADDRESSES = [
    (f"https://somebody:{SECRET}@tracker.example/mlflow", "https://tracker.example/mlflow"),
    (f"postgresql://db.example/mlflow?user=somebody&password={SECRET}", "postgresql://db.example/mlflow"),
    (f"postgresql://somebody:{SECRET}@db.example/mlflow?sslmode=require&sslpassword={SECRET}", "postgresql://db.example/mlflow"),
    (f"postgresql://db.example/mlflow?password={SECRET}@{SECRET}", "postgresql://…"),
    (f"postgresql://somebody:what?{SECRET}@db.example/mlflow", "postgresql://…"),
    ("sqlite:////data/tracking/mlflow.db", "sqlite:////data/tracking/mlflow.db"),
]


@pytest.mark.parametrize(("uri", "seen"), ADDRESSES)
def test_an_address_is_shown_without_login_and_options(uri: str, seen: str) -> None:
    assert shown(uri) == seen
    for said in (uri, f"no route to {uri}", f"password={SECRET}") if SECRET in uri else ():
        assert SECRET not in without_secrets(said, uri)


@given(user=st.text("abcxyz%40", min_size=1, max_size=8), password=st.text("ABCXYZ/", min_size=1, max_size=12))
def test_no_password_before_the_host_is_ever_shown(user: str, password: str) -> None:
    secret = f"#{password}#".replace("#", "SECRET")
    uri = f"https://{user}:{secret}@tracker.example/path"
    assert secret not in shown(uri)
    assert secret not in without_secrets(f"could not open {uri}: {secret}", uri)


def test_the_marker_and_the_command_tell_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:{SECRET}@127.0.0.1:9/?token={SECRET}")
    monkeypatch.setenv("FORETABLE_WORKSPACE", str(tmp_path))
    (tmp_path / "foretable.toml").write_text('tracking = "mlflow"\n')
    build_and_publish(new_store(tmp_path), 1)
    settings = load_settings(tmp_path)
    (wanted,) = pending(settings)
    (settings.data / "tracking").mkdir(parents=True)
    _mark(settings, wanted)
    assert pending(settings) == ()
    told = CliRunner().invoke(app, ["track", "--json"])
    assert json.loads(told.stdout) == {"tracker": "http://127.0.0.1:9/", "tables": []}
    assert SECRET not in told.output
    assert all(SECRET not in path.read_text() for path in settings.data.rglob("*") if path.is_file())


def test_a_process_that_cannot_be_started_does_not_undo_a_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foretable.toml").write_text('tracking = "mlflow"\n')
    build_and_publish(new_store(tmp_path), 1)

    def no_memory(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    follow(load_settings(tmp_path))
