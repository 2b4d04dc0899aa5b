"""Starting, stopping, health, and what a serving process never loads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from support.serving import Server, command, environment, free_port, serving
from support.stores import FLIGHTS, build_and_publish, new_store

from batch_scoring.domain import INDEX, VersionId
from batch_scoring.store import Store, version_folder

UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"
HEAVY = ("feast", "dagster", "xgboost", "shap", "duckdb", "pandas", "polars", "pyarrow", "sklearn", "numpy", "mlflow", "fastapi")


def start_in_vain(workspace: Path, *options: str, prefix: tuple[str, ...] = (), **variables: str) -> str:
    """Start a server that must refuse; its one sentence."""
    result = subprocess.run(
        [*prefix, *command(*options)],
        env=environment(workspace, **variables),
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_it_is_ready_after_less_than_a_second_of_work(server: Server) -> None:
    # Work, not waiting: what else the machine does must not decide this test.
    assert server.ready_after < 1.0


def test_two_workers_are_ready_as_soon_as_one(tmp_path: Path) -> None:
    new_store(tmp_path)
    with serving(tmp_path, "--workers", "2") as server:
        assert server.ready_after < 1.0


def test_request_ids_of_two_workers_differ(tmp_path: Path) -> None:
    new_store(tmp_path)
    with serving(tmp_path, "--workers", "2") as server:
        seen = [server.get("/livez").headers["x-request-id"] for _ in range(60)]
    assert len(set(seen)) == len(seen)


ASKED_FOR_EVERYTHING = """
import asyncio, sys
from pathlib import Path
import httptools, uvicorn, uvloop
import lookup_api.__main__, lookup_api.protocol, lookup_api.workers
from batch_scoring.settings import load_settings
from lookup_api.app import LookupApi
from lookup_api.serve import check_store
load_settings()
check_store(Path(sys.argv[1]))
app = LookupApi(Path(sys.argv[1]))

async def ask(method, path, body=b""):
    sent = []
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        sent.append(message)
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return sent[0]["status"]

async def everything():
    table = "/v1/tables/flight_delays"
    for path in ("/v1/tables", table, f"{table}/versions", f"{table}/predictions/UA/1000", f"{table}/explanations/UA/1000",
                 "/docs", "/openapi.json", "/livez", "/readyz"):
        assert await ask("GET", path) == 200, path
    assert await ask("GET", "/nope") == 404
    assert await ask("POST", f"{table}/predictions:lookup", b'{"keys": [{"carrier": "UA", "flight": 1000}]}') == 200

asyncio.run(everything())
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_serving_process_loads_no_features_no_models_and_no_sql_engine(published: Store) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASKED_FOR_EVERYTHING, str(published.root)],
        env=environment(published.root.parent),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"lmdb", "starlette", "uvicorn", "msgspec"} <= loaded
    assert not loaded & set(HEAVY)


def test_a_held_port_is_one_sentence(server: Server, published: Store) -> None:
    said = start_in_vain(published.root.parent, "--port", str(server.port))
    assert f"127.0.0.1:{server.port}" in said
    assert "Stop that process, or set 'port'" in said


def test_a_host_that_is_not_this_machine_is_one_sentence(published: Store) -> None:
    assert "FORETABLE_HOST" in start_in_vain(published.root.parent, "--host", "192.0.2.1", "--port", str(free_port()))


def test_a_missing_store_is_one_sentence(tmp_path: Path) -> None:
    said = start_in_vain(tmp_path)
    assert str(tmp_path / "store") in said
    assert "foretable run" in said


def test_a_store_without_read_permission_is_one_sentence(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    # The superuser may read everything; without these capabilities it is a user like any other.
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    blocked = (store.root, store.root / "current" / "release.json", version_folder(store.root, FLIGHTS, VersionId(1)) / INDEX)
    for path in blocked:
        mode = path.stat().st_mode
        path.chmod(0)
        try:
            said = start_in_vain(tmp_path, "--port", str(free_port()), prefix=prefix)
        finally:
            path.chmod(mode)
        assert "permission" in said.lower()
        assert str(store.root) in said


def test_an_unknown_setting_or_no_workspace_is_one_sentence(tmp_path: Path) -> None:
    assert "FORETABLE_PROT" in start_in_vain(tmp_path, FORETABLE_PROT="1")
    (tmp_path / "elsewhere").mkdir()
    assert "foretable.toml" in start_in_vain(tmp_path, FORETABLE_WORKSPACE="/")


def test_host_port_workers_and_store_come_from_the_settings(tmp_path: Path) -> None:
    store = new_store(tmp_path / "other")
    build_and_publish(store, 1)
    port = free_port()
    (tmp_path / "foretable.toml").write_text(f'store = "other/store"\nport = {port}\nworkers = 2\n')
    process = subprocess.Popen(command(), env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert f"http://127.0.0.1:{port}/docs (2 workers)" in said
        assert Server(process=process, port=port, ready_after=0.0).get(UA_1000).status == 200  # type: ignore[arg-type]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()


def workers_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    build_and_publish(new_store(tmp_path), 1)
    with serving(tmp_path, "--workers", "2") as server:
        first = workers_of(server.process.pid)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        started = time.monotonic()
        while len(workers_of(server.process.pid)) < 2 or first[0] in workers_of(server.process.pid):
            assert server.get(UA_1000).status == 200
            assert time.monotonic() - started < 10
            time.sleep(0.05)
    assert "ended (signal 9); starting another" in (tmp_path / "server.log").read_text()


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    build_and_publish(new_store(tmp_path), 1)
    process = subprocess.Popen(
        command("--workers", "2", "--port", str(free_port())), env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    process.stderr.readline()
    while len(workers_of(process.pid)) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert b"Traceback" not in process.stderr.read()  # returns when the last of them has ended
    process.stderr.close()


def test_a_request_in_flight_is_finished_when_the_server_is_stopped(tmp_path: Path) -> None:
    build_and_publish(new_store(tmp_path), 1)
    answer = b""
    with serving(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        body = b'{"keys": [{"carrier": "UA", "flight": 1000}]}'
        path = b"/v1/tables/flight_delays/predictions:lookup"
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
        connection.sendall(head + body[:10])
        time.sleep(0.2)
        stopper = threading.Timer(0.3, lambda: connection.sendall(body[10:]))
        stopper.start()
        server.process.send_signal(signal.SIGTERM)
        while chunk := connection.recv(65536):
            answer += chunk
        stopper.join()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"status":200' in answer
        assert server.process.wait(timeout=20) == 0
