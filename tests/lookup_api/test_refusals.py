"""What is refused, how it says so, and what hostile clients get."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.serving import Server

from batch_scoring import errors
from batch_scoring.errors import ForetableError
from lookup_api.problems import PROBLEM_TYPES, describe, problem_type

LOOKUP = "/v1/tables/flight_delays/predictions:lookup"
UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"


def every_error(root: type[ForetableError] = ForetableError) -> list[type[ForetableError]]:
    return [
        root,
        *(found for child in root.__subclasses__() if child.__module__ == errors.__name__ for found in every_error(child)),
    ]


def test_every_error_of_the_core_has_a_problem_type() -> None:
    for kind in every_error():
        assert problem_type(kind("subject", fix="Do this.")) in PROBLEM_TYPES


def test_problem_types_are_distinct_and_say_what_they_mean() -> None:
    assert len({kind.slug for kind in PROBLEM_TYPES}) == len(PROBLEM_TYPES)
    assert all(400 <= kind.status < 600 and kind.title and kind.meaning.endswith(".") for kind in PROBLEM_TYPES)


def test_an_error_that_nobody_foresaw_keeps_its_words_to_itself() -> None:
    assert "secret" not in describe(ForetableError("secret", fix="secret")).detail


def test_a_problem_has_type_title_status_detail_and_instance(server: Server) -> None:
    reply = server.get("/v1/tables/nope/predictions/1")
    problem = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == "/v1/tables/nope/predictions/1"
    assert problem["status"] == reply.status == 404
    assert problem["title"]
    assert problem["detail"]


def test_the_type_of_a_problem_leads_to_its_documentation(server: Server) -> None:
    page = server.get("/docs").body.decode()
    for kind in PROBLEM_TYPES:
        reply = server.get(kind.uri)
        assert reply.status == 307
        location = reply.headers["location"]
        assert location.startswith("/docs#")
        assert f'id="{location.partition("#")[2]}"' in page
    assert server.get("/problems/nope").status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", UA_1000, "GET, HEAD"),
        ("DELETE", "/v1/tables/flight_delays/explanations/UA/1000", "GET, HEAD"),
        ("GET", LOOKUP, "POST"),
        ("PUT", LOOKUP, "POST"),
        ("POST", "/v1/tables", "GET, HEAD"),
        ("PATCH", "/v1/tables/flight_delays", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("DELETE", "/docs", "GET, HEAD"),
    ],
)
def test_a_method_that_a_resource_does_not_take_is_405_with_allow(server: Server, method: str, path: str, allowed: str) -> None:
    reply = server.send(method, path)
    assert reply.status == 405
    assert reply.headers["allow"] == allowed
    assert reply.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v1",
        "/v1/",
        "/v1/tables/",
        "/v1/tables//predictions",
        "/v1/tables/flight_delays/",
        "/docs/",
        "//",
        "/v1/tables/flight_delays/predictions",
    ],
)
def test_a_path_that_is_not_part_of_the_api_is_404(server: Server, path: str) -> None:
    reply = server.get(path)
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [UA_1000, "/v1/tables", "/v1/tables/flight_delays", "/v1/tables/flight_delays/versions"])
def test_a_parameter_that_would_be_ignored_is_refused(server: Server, path: str) -> None:
    problem = server.get(f"{path}?version=1").json()
    assert (problem["status"], problem["type"]) == (400, "/problems/bad-request")
    assert "'version'" in problem["detail"]
    assert server.send("POST", f"{LOOKUP}?version=1", b"{}", content_type="application/json").status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"keys"',
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": [], "fields": ["score"]}',
        b'{"keys": [NaN]}',
        b'{"keys": ["\xff"]}',
        b'{"keys": ["\\ud800"]}',
        b'{"keys": ' + b"[" * 200_000,
        b'{"keys": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"keys": [' + b"9" * 10_000 + b"]}",
        b"\xef\xbb\xbf{}",
        b"\x00" * 100,
    ],
)
def test_a_body_that_is_not_the_documented_json_is_400(server: Server, body: bytes) -> None:
    reply = server.send("POST", LOOKUP, body, content_type="application/json")
    assert reply.status == 400
    assert reply.json()["type"] == "/problems/bad-request"
    assert '{"keys": [{…}, …]}' in reply.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "text/json"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "application/jsonx"},
        {"content_type": "application/json", "content_encoding": "gzip"},
    ],
)
def test_anything_but_plain_json_is_415(server: Server, headers: dict[str, str]) -> None:
    reply = server.send("POST", LOOKUP, b'{"keys": []}', **headers)
    assert reply.status == 415
    assert "application/json" in reply.json()["detail"]


def test_json_may_say_that_it_is_utf_8(server: Server) -> None:
    for media_type in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
        assert server.send("POST", LOOKUP, b'{"keys": []}', content_type=media_type).status == 200


def test_a_body_of_two_mebibytes_is_413_and_the_connection_goes_on(server: Server) -> None:
    connection = server.connect()
    connection.request("POST", LOOKUP, b"x" * (2 << 20), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["type"] == "/problems/too-large"
    connection.request("GET", UA_1000)
    assert connection.getresponse().status == 200
    connection.close()


def test_an_endless_body_is_cut_off(server: Server) -> None:
    head = f"POST {LOOKUP} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    endless = server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 200)
    assert endless.startswith(b"HTTP/1.1 413") or endless == b""  # a reset may overtake the answer
    announced = server.raw(head + b"Content-Length: 99999999999\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in announced


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /../../etc/passwd HTTP/1.1", b"404"),
        (b"GET /v1/tables/../../../etc/passwd HTTP/1.1", b"404"),
        (b"GET /v1/tables/..%2F..%2Fcurrent/predictions/x HTTP/1.1", b"404"),
        (b"GET /v1/tables/%2e%2e/predictions/x HTTP/1.1", b"404"),
        (b"GET /v1/tables/flight_delays%00/predictions/UA/1000 HTTP/1.1", b"404"),
        (b"GET /v1/tables/%ff/predictions/UA/1000 HTTP/1.1", b"404"),
        (b"GET /v1/tables/flight_delays/predictions/%00/1000 HTTP/1.1", b"404"),
        (b"GET /v1/tables/flight_delays/predictions/%c0%af/1000 HTTP/1.1", b"400"),
        (b"GET /v1/tables/flight_delays/predictions/\xff/1000 HTTP/1.1", b"400"),
        (b"GET /v1/tables/flight_delays/predictions/UA' OR 1=1/1000 HTTP/1.1", b"400"),
        (b"GET /v1/tables/flight_delays/predictions/UA'%20OR%201=1/1000 HTTP/1.1", b"404"),
        (b"GET * HTTP/1.1", b"404"),
        (b"GET nonsense HTTP/1.1", b"400"),
        (b"NONSENSE / HTTP/1.1", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"400"),
        (b"GET /v1/tables/" + b"a" * 9_000 + b" HTTP/1.1", b"414"),
        (b"GET /v1/tables/flight_delays/predictions/" + b"a" * 9_000 + b"/1 HTTP/1.1", b"414"),
        (b"GET /v1/tables?" + b"a" * 9_000 + b" HTTP/1.1", b"414"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"4"),
    ],
)
def test_a_hostile_request_gets_its_4xx(server: Server, request_line: bytes, status: bytes) -> None:
    answer = server.raw(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]


def test_a_flood_of_headers_is_431(server: Server) -> None:
    start = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    many = server.raw(start + b"".join(b"x-%d: y\r\n" % n for n in range(200)) + b"\r\n")
    assert many.startswith(b"HTTP/1.1 431")
    endless = server.raw(start + b"".join(b"x-%d: %b\r\n" % (n, b"y" * 1000) for n in range(3000)))
    assert endless.startswith(b"HTTP/1.1 431") or endless == b""
    one = server.raw(start + b"x: " + b"y" * 3_000_000)
    assert one.startswith(b"HTTP/1.1 431") or one == b""


def test_after_all_that_the_server_is_well_and_its_memory_flat(server: Server) -> None:
    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def attack() -> None:
        for n in range(150):
            server.raw(b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nConnection: close\r\n\r\n", timeout=5)
            server.send("POST", LOOKUP, b"[" * 100_000, content_type="application/json")
            server.get(f"/v1/tables/table_{n}/predictions/x")

    attack()
    before = resident()
    attack()
    assert resident() - before < 8_000  # kB
    started = time.monotonic()
    assert server.get(UA_1000).status == 200
    assert time.monotonic() - started < 0.5
