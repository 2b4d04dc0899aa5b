"""A store that is damaged or gone: 503 and a sentence, never a traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.serving import command, environment, serving
from support.stores import FLIGHTS, build, build_and_publish, new_store, put_live, roll_back

from batch_scoring.domain import INDEX, MANIFEST, VersionId
from batch_scoring.store import version_folder

UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"
EVERY_READ = (UA_1000, "/v1/tables", "/v1/tables/flight_delays", "/v1/tables/flight_delays/versions", "/readyz")


def test_readiness_names_the_release_and_every_live_version(tmp_path: Path) -> None:
    build_and_publish(new_store(tmp_path), 1)
    with serving(tmp_path) as server:
        assert server.get("/livez").json() == {"status": "alive"}
        assert server.get("/readyz").json() == {"status": "ready", "release": 2, "tables": {"flight_delays": 1}, "problem": None}


def test_a_store_that_disappears_is_503_until_it_is_back(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    away = tmp_path / "away"
    with serving(tmp_path) as server:
        store.root.rename(away)
        for path in EVERY_READ:
            reply = server.get(path)
            assert (reply.status, reply.json()["type"]) == (503, "/problems/store-unavailable")
            assert str(store.root) in reply.json()["detail"]
        assert server.look_up("flight_delays", []).status == 503
        assert server.get("/livez").status == 200
        assert server.get("/docs").status == 200
        assert "/v1/tables" in server.get("/openapi.json").json()["paths"]
        away.rename(store.root)
        for path in EVERY_READ:
            assert server.get(path).status == 200


def test_a_damaged_new_version_leaves_the_last_good_release_and_says_so(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    with serving(tmp_path) as server:
        assert server.get(UA_1000).json()["version"] == 1
        manifest = build(store, 2)
        index = version_folder(store.root, FLIGHTS, manifest.version) / INDEX
        whole = index.read_bytes()
        put_live(store, manifest.version)
        index.chmod(0o644)
        index.write_bytes(whole[:4096])
        reply = server.get(UA_1000)
        assert reply.status == 200
        assert (reply.json()["version"], reply.headers["foretable-release"]) == (1, "2")
        ready = server.get("/readyz").json()
        assert ready["tables"] == {"flight_delays": 1}
        assert str(index) in ready["problem"]
        roll_back(store)
        assert server.get("/readyz").json() == {"status": "ready", "release": 4, "tables": {"flight_delays": 1}, "problem": None}


def test_an_index_whose_pages_are_lost_is_503_and_not_ready(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    index = version_folder(store.root, FLIGHTS, VersionId(1)) / INDEX
    index.chmod(0o644)
    with serving(tmp_path) as server:
        assert server.get(UA_1000).status == 200
        with index.open("r+b") as file:  # the size stays, as after a lost write
            file.seek(8192)
            file.write(bytes(index.stat().st_size - 8192))
        for reply in (
            server.get(UA_1000),
            server.look_up("flight_delays", [{"carrier": "UA", "flight": 1000}]),
            server.get("/readyz"),
        ):
            assert (reply.status, reply.json()["type"]) == (503, "/problems/store-corrupt")
            assert "foretable verify" in reply.json()["detail"]
        assert server.get("/v1/tables/flight_delays/explanations/UA/1000").status == 200
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_a_store_that_is_damaged_from_the_start_is_refused_with_one_sentence(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    (version_folder(store.root, FLIGHTS, VersionId(1)) / MANIFEST).unlink()
    result = subprocess.run(command(), env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "foretable rollback" in result.stderr
