"""ETags, 304, HEAD, caching and the other headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.serving import Server

from lookup_api.conditional import holds

UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"
READS = (
    UA_1000,
    "/v1/tables/flight_delays/explanations/UA/1000",
    "/v1/tables/flight_delays",
    "/v1/tables/flight_delays/versions",
    "/v1/tables",
    "/openapi.json",
)


def test_the_etag_of_a_read_is_release_and_version(server: Server) -> None:
    for path in READS[:3]:
        reply = server.get(path)
        release, version = reply.headers["foretable-release"], reply.headers["foretable-version"]
        assert reply.headers["etag"] == f'"{release}-{version}"'
        assert reply.headers["cache-control"] == "private, no-cache"
    assert version == "2"


@pytest.mark.parametrize("path", READS)
def test_a_client_that_holds_the_current_state_gets_304_without_a_body(server: Server, path: str) -> None:
    etag = server.get(path).headers["etag"]
    assert not etag.startswith("W/")
    for known in (etag, f"W/{etag}", f'"other", {etag}', f'W/"x",W/{etag}', "*"):
        reply = server.get(path, if_none_match=known)
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == etag
        assert "content-length" not in reply.headers
        assert "content-type" not in reply.headers
    for stale in ('"0-0"', "", etag.strip('"'), '"other", "another"'):
        assert server.get(path, if_none_match=stale).status == 200


def test_a_condition_on_something_that_is_not_there_is_still_404(server: Server) -> None:
    etag = server.get(UA_1000).headers["etag"]
    for known in (etag, "*"):
        assert server.get("/v1/tables/flight_delays/predictions/UA/4711", if_none_match=known).status == 404
        assert server.get("/v1/tables/nope", if_none_match=known).status == 404


@pytest.mark.parametrize("path", [*READS, "/docs", "/livez", "/readyz", "/v1/tables/nope", "/nope"])
def test_head_answers_as_get_does_without_the_body(server: Server, path: str) -> None:
    got, asked = server.get(path), server.send("HEAD", path)
    assert asked.body == b""
    assert asked.status == got.status
    changing = {"date", "x-request-id", "content-length"}
    assert {n: v for n, v in asked.headers.items() if n not in changing} == {
        n: v for n, v in got.headers.items() if n not in changing
    }
    if got.status == 200:
        assert asked.headers["content-length"] == str(len(got.body))


def test_a_usable_request_id_is_echoed_and_another_is_replaced(server: Server) -> None:
    for path in (UA_1000, "/v1/tables", "/nope"):
        assert server.get(path, x_request_id="abc-123.X/7+=_:").headers["x-request-id"] == "abc-123.X/7+=_:"
        for unusable in ("a b", "x" * 129, "é", '"', "", "<script>"):
            replaced = server.get(path, x_request_id=unusable).headers["x-request-id"]
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", replaced)


def test_request_ids_differ_and_stand_in_the_problem(server: Server) -> None:
    first, second = server.get("/nope"), server.get("/nope")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.json()["request_id"] == first.headers["x-request-id"]


def test_nothing_says_what_the_server_is_made_of_and_nothing_is_sniffed(server: Server) -> None:
    for path in (*READS, "/docs", "/nope", "/livez"):
        headers = server.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_batch_names_release_and_version_and_is_not_stored(server: Server) -> None:
    reply = server.look_up("flight_delays", [])
    assert reply.headers["foretable-version"] == "2"
    assert reply.headers["foretable-release"] == str(reply.json()["release"])
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers


TAGS = st.from_regex(rb"[!#-~]{0,8}", fullmatch=True).map(lambda inner: b'"' + inner + b'"')


@given(tags=st.lists(st.tuples(st.booleans(), TAGS), min_size=1, max_size=5), etag=TAGS)
def test_if_none_match_compares_weakly_over_the_whole_list(tags: list[tuple[bool, bytes]], etag: bytes) -> None:
    field = b" , ".join((b"W/" if weak else b"") + tag for weak, tag in tags)
    assert holds(field, etag) == (etag in {tag for _, tag in tags})
