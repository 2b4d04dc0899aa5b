"""A real server in a process of its own, and a client that sends exactly what it is told to."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole response; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running ``python -m lookup_api``; ``ready_after``: seconds of processor time it took until it answered."""

    process: subprocess.Popen[bytes]
    port: int
    ready_after: float

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open between requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a new connection; ``if_none_match='…'`` becomes ``If-None-Match: …``."""
        connection = self.connect()
        try:
            return send(connection, method, path, body, **headers)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, **headers)

    def look_up(self, table: str, keys: list[Any]) -> Reply:
        return self.post(f"/v1/tables/{table}/predictions:lookup", {"keys": keys})

    def post(self, path: str, document: object) -> Reply:
        return self.send("POST", path, json.dumps(document).encode(), content_type="application/json")

    def raw(self, request: bytes, *, timeout: float = 10.0) -> bytes:
        """Everything the server answers to these bytes until it closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            answer = b""
            try:
                connection.sendall(request)
                connection.settimeout(1.0)
                while chunk := connection.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                pass
            return answer


def send(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    """One request on an open connection."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Reply(
        status=response.status, headers={name.lower(): value for name, value in response.getheaders()}, body=response.read()
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "lookup_api", *options]


def environment(workspace: Path, **variables: str) -> dict[str, str]:
    """Of a server process: the workspace, and the project's packages."""
    (workspace / "foretable.toml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FORETABLE_")}
    return {**kept, "FORETABLE_WORKSPACE": str(workspace), "PYTHONPATH": str(REPOSITORY), **variables}


@contextmanager
def serving(workspace: Path, *options: str, log: Path | None = None) -> Iterator[Server]:
    """Serve ``workspace/store`` on a free port until the block ends; the server must then end in good order."""
    port = free_port()
    log = workspace / "server.log" if log is None else log
    with log.open("ab") as output:
        process = subprocess.Popen(
            command("--port", str(port), *options), env=environment(workspace), cwd=workspace, stdout=output, stderr=output
        )
    try:
        ready_after = _wait_until_ready(process, port, log)
        yield Server(process=process, port=port, ready_after=ready_after)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
    assert code == 0, f"exit code {code}: {log.read_text()}"


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> float:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            status = send(connection, "GET", "/livez").status
            connection.close()
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
            continue
        assert status == 200
        user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    raise AssertionError(f"not ready within 30 s: {log.read_text()}")


def staged_score(seed: int, key: tuple[Any, ...]) -> float:
    """The score that ``support.drafts`` gave this key in the version of this seed."""
    return random.Random(f"{seed}/{key}").uniform(0.01, 0.99)
