"""The demonstration runs from an empty folder to the end, and leaves nothing running."""

import socket
import subprocess
import sys
from pathlib import Path

from support.workspace import clean_environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_empty_folder_is_two_commands_away_from_a_served_and_explained_prediction(tmp_path: Path) -> None:
    port = free_port()
    environment = clean_environment() | {"FORETABLE_PORT": str(port)}

    def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    assert command("init", "shop", folder=tmp_path).returncode == 0
    shown = command("demo", folder=tmp_path / "shop")
    assert shown.returncode == 0, shown.stderr
    for said in ("7 runs are replayed", "ETag", "raises the score", "predictions.duckdb", "is live again", "Done in"):
        assert said in shown.stdout
    assert "Warning" not in shown.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
