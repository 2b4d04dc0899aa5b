"""Publishes and rollbacks while clients read: followed at once, never mixed, never failed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.drafts import legs
from support.serving import Server, send, serving, staged_score
from support.stores import build, build_and_publish, new_store, put_live, roll_back

VERSIONS = 5
UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"


def test_a_publish_and_a_rollback_are_followed_within_a_second(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 1)
    with serving(tmp_path) as server, closing(server.connect()) as connection:
        etag = send(connection, "GET", UA_1000).headers["etag"]
        for change, version in ((lambda: build_and_publish(store, 2), 2), (lambda: roll_back(store), 1)):
            change()
            changed = time.monotonic()
            reply = send(connection, "GET", UA_1000, if_none_match=etag)
            assert time.monotonic() - changed < 1.0
            assert reply.status == 200
            assert reply.json()["version"] == version
            assert reply.headers["etag"] != etag
            etag = reply.headers["etag"]


def test_a_table_that_appears_is_served_and_documented_without_a_restart(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with serving(tmp_path) as server:
        assert server.get("/v1/tables").json() == {"release": 1, "tables": []}
        assert server.get("/readyz").json()["tables"] == {}
        problem = server.get(UA_1000).json()
        assert (problem["status"], problem["type"]) == (404, "/problems/unknown-table")
        assert "foretable run" in problem["detail"]
        build_and_publish(store, 1)
        assert server.get(UA_1000).status == 200
        assert "/v1/tables/flight_delays/predictions/{carrier}/{flight}" in server.get("/openapi.json").json()["paths"]


def test_a_table_of_which_nothing_is_live_is_described_and_not_read(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put_live(store, build(store, 1).version, channel="shadow")
    with serving(tmp_path) as server:
        listed = server.get("/v1/tables").json()["tables"][0]
        assert (listed["live"], listed["as_of"], listed["rows"]) == (None, None, None)
        detail = server.get("/v1/tables/flight_delays").json()
        assert (detail["live"], detail["shadow"]["version"], detail["gates"]) == (None, 1, [])
        problem = server.get(UA_1000).json()
        assert (problem["status"], problem["type"]) == (404, "/problems/unknown-version")
        assert "foretable publish" in problem["detail"]


def test_fifty_publishes_and_rollbacks_neither_fail_nor_mix_an_answer(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    lives: dict[int, int] = {}
    for day in range(1, VERSIONS + 1):
        lives[build_and_publish(store, day).id] = day
    seen: list[tuple[int, int]] = []
    with serving(tmp_path, "--workers", "2") as server:
        readers = [Reader(server, seen, read) for read in (read_prediction, read_explanation, read_batch)]
        for reader in readers:
            reader.start()
        for change in range(25):
            contender = 1 + change % (VERSIONS - 1)
            lives[put_live(store, contender, force=True).id] = contender
            lives[roll_back(store).id] = VERSIONS
        for reader in readers:
            reader.stop()
    assert all(lives[release] == version for release, version in seen)
    assert len({release for release, _ in seen}) > 40
    assert {version for _, version in seen} == set(range(1, VERSIONS + 1))


class Reader(threading.Thread):
    """Reads in a loop until stopped; whatever goes wrong is raised by :meth:`stop`."""

    def __init__(self, server: Server, seen: list[tuple[int, int]], read: Callable[..., tuple[int, int]]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._seen = seen
        self._read = read
        self._end = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        chance = random.Random(self._read.__name__)
        try:
            with closing(self._server.connect()) as connection:
                while not self._end.is_set():
                    self._seen.append(self._read(connection, chance))
                    time.sleep(0.002)  # the publisher shares this process
        except BaseException as failure:  # noqa: BLE001 -- carried over to the test's own thread
            self._failure = failure

    def stop(self) -> None:
        self._end.set()
        self.join(timeout=30)
        if self._failure is not None:
            raise self._failure


def read_prediction(connection: Any, chance: random.Random) -> tuple[int, int]:
    carrier, flight = chance.choice(legs(20))
    reply = send(connection, "GET", f"/v1/tables/flight_delays/predictions/{carrier}/{flight}")
    return agreed(reply, reply.json(), (carrier, flight))


def read_explanation(connection: Any, chance: random.Random) -> tuple[int, int]:
    carrier, flight = chance.choice(legs(20))
    reply = send(connection, "GET", f"/v1/tables/flight_delays/explanations/{carrier}/{flight}")
    return agreed(reply, reply.json(), (carrier, flight))


def agreed(reply: Any, found: dict[str, Any], key: tuple[str, int]) -> tuple[int, int]:
    """Release and version of an answer in which header, ETag, body and score all name the same."""
    assert reply.status == 200, reply.body
    release, version = int(reply.headers["foretable-release"]), int(reply.headers["foretable-version"])
    assert reply.headers["etag"] == f'"{release}-{version}"'
    assert found["version"] == version
    assert found["score"] == pytest.approx(staged_score(version, key), abs=1e-12)
    return release, version


def read_batch(connection: Any, _chance: random.Random) -> tuple[int, int]:
    keys = [{"carrier": carrier, "flight": flight} for carrier, flight in legs(20)]
    body = str({"keys": keys}).replace("'", '"').encode()
    reply = send(connection, "POST", "/v1/tables/flight_delays/predictions:lookup", body, content_type="application/json")
    assert reply.status == 200, reply.body
    answer = reply.json()
    release, version = int(reply.headers["foretable-release"]), int(reply.headers["foretable-version"])
    assert (answer["release"], answer["version"]) == (release, version)
    for key, result in zip(legs(20), answer["results"], strict=True):
        assert result["prediction"]["version"] == version
        assert result["prediction"]["score"] == pytest.approx(staged_score(version, key), abs=1e-12)
    return release, version
