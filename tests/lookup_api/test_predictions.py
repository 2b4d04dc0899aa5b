"""Reading predictions and explanations, one key or many."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from support.drafts import DAY_ONE, legs
from support.serving import Server, staged_score

UA_1000 = "/v1/tables/flight_delays/predictions/UA/1000"
LIVE = 2


def test_a_prediction_carries_version_as_of_score_decision_and_reasons(server: Server) -> None:
    reply = server.get(UA_1000)
    found = reply.json()
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert found["key"] == {"carrier": "UA", "flight": 1000}
    assert (found["table"], found["version"], found["as_of"]) == ("flight_delays", LIVE, "2013-03-03T09:00:00Z")
    assert found["score"] == pytest.approx(staged_score(2, ("UA", 1000)), abs=1e-12)
    assert found["decision"] == ("late" if found["score"] >= found["threshold"] else "on time")
    assert {reason["feature"] for reason in found["reasons"]} == {"delay_7d", "legs_30d", "season"}


def test_an_explanation_adds_up_to_the_score_of_the_prediction(server: Server) -> None:
    found = server.get("/v1/tables/flight_delays/explanations/UA/1000").json()
    total = found["base_value"] + sum(part["contribution"] for part in found["contributions"])
    assert total == pytest.approx(found["margin"], abs=1e-5)
    assert found["score"] == server.get(UA_1000).json()["score"]
    assert found["version"] == LIVE


def test_every_entity_is_found_under_its_own_url(server: Server) -> None:
    for carrier, flight in legs(20):
        found = server.get(f"/v1/tables/flight_delays/predictions/{carrier}/{flight}").json()
        assert found["key"] == {"carrier": carrier, "flight": flight}
        assert found["score"] == pytest.approx(staged_score(2, (carrier, flight)), abs=1e-12)


def test_another_spelling_of_the_same_key_finds_the_same_entity(server: Server) -> None:
    expected = server.get(UA_1000).body
    for spelling in ("%55%41/1000", "UA/%31000", "UA/01000", "%55A/0001000"):
        assert server.get(f"/v1/tables/flight_delays/predictions/{spelling}").body == expected
    assert server.get("/v1/tables/flight%5Fdelays/predictions/UA/1000").body == expected


def test_an_encoded_slash_belongs_to_the_value(server: Server) -> None:
    first = server.get("/v1/tables/notes/predictions/a%2Fb/c").json()
    second = server.get("/v1/tables/notes/predictions/a/b%2Fc").json()
    assert first["key"] == {"shelf": "a/b", "title": "c"}
    assert second["key"] == {"shelf": "a", "title": "b/c"}
    assert first["score"] != second["score"]


def test_a_plus_sign_is_a_plus_sign_and_an_empty_part_is_a_value(server: Server) -> None:
    assert server.get("/v1/tables/notes/predictions/a%20b/a+b").json()["key"] == {"shelf": "a b", "title": "a+b"}
    assert server.get("/v1/tables/notes/predictions/a%20b/a%2Bb").json()["key"] == {"shelf": "a b", "title": "a+b"}
    assert server.get("/v1/tables/notes/predictions//").json()["key"] == {"shelf": "", "title": ""}


def test_dots_are_values_and_no_way_up(server: Server) -> None:
    for spelling in ("../.", "%2E%2E/%2e", "..%2F../x"):
        reply = server.get(f"/v1/tables/notes/predictions/{spelling}")
        assert reply.status == (404 if "x" in spelling else 200), reply.body
    assert server.look_up("notes", [{"shelf": "..", "title": "."}]).json()["results"][0]["status"] == 200


def test_an_unknown_key_is_404_and_says_which_version_did_not_hold_it(server: Server) -> None:
    for kind in ("predictions", "explanations"):
        reply = server.get(f"/v1/tables/flight_delays/{kind}/UA/4711")
        assert reply.status == 404
        assert reply.json()["type"] == "/problems/unknown-key"
        assert "version 2" in reply.json()["detail"]
        assert reply.headers["foretable-version"] == "2"


def test_an_unknown_table_is_404_and_names_those_there_are(server: Server) -> None:
    for path in (
        "/v1/tables/nope",
        "/v1/tables/nope/versions",
        "/v1/tables/nope/predictions/1",
        "/v1/tables/nope/explanations/1",
    ):
        problem = server.get(path).json()
        assert (problem["status"], problem["type"]) == (404, "/problems/unknown-table")
        assert problem["tables"] == ["flight_delays", "notes"]
        assert "flight_delays, notes" in problem["detail"]
    assert server.look_up("nope", []).status == 404


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ("UA", "expected 2 parts: <carrier>/<flight>, found 1"),
        ("UA/15/EWR", "found 3"),
        ("UA/15/", "found 3"),
        ("", "found 1"),
        ("UA/fifteen", "Send flight as a whole number"),
        ("UA/1.5", "found '1.5'"),
        ("UA/", "found ''"),
        ("UA/9223372036854775808", "found 9223372036854775808"),
        ("%zz/15", "Write a percent sign inside a value as %25"),
        ("UA%/15", "percent-encoded"),
        ("%ff%fe/15", "bytes that are not UTF-8"),
        ("UA/%D9%A1", "whole number"),
    ],
)
def test_a_key_that_does_not_fit_is_400_and_says_what_to_do(server: Server, segments: str, said: str) -> None:
    for kind in ("predictions", "explanations"):
        reply = server.get(f"/v1/tables/flight_delays/{kind}/{segments}")
        assert reply.status == 400
        assert reply.json()["type"] == "/problems/bad-key"
        assert said in reply.json()["detail"]


def test_a_batch_answers_in_order_with_a_status_for_each_key(server: Server) -> None:
    keys = [
        {"flight": 998, "carrier": "9E"},
        {"carrier": "UA", "flight": 4711},
        {"carrier": "UA"},
        {"carrier": "UA", "flight": "1000"},
        {"carrier": "UA", "flight": True},
        {"carrier": "UA", "flight": 1000, "origin": "EWR"},
        ["UA", 1000],
        None,
        {"carrier": "UA", "flight": 1000},
        {"carrier": "UA", "flight": 1000},
    ]
    reply = server.look_up("flight_delays", keys)
    answer = reply.json()
    assert reply.status == 200
    assert (answer["table"], answer["version"], answer["as_of"]) == ("flight_delays", LIVE, "2013-03-03T09:00:00Z")
    assert [result["status"] for result in answer["results"]] == [200, 404, 400, 400, 400, 400, 400, 400, 200, 200]
    assert answer["results"][0]["prediction"] == server.get("/v1/tables/flight_delays/predictions/9E/998").json()
    assert answer["results"][8] == answer["results"][9]
    types = {result["status"]: result["problem"]["type"] for result in answer["results"] if "problem" in result}
    assert types == {404: "/problems/unknown-key", 400: "/problems/bad-key"}


def test_a_batch_agrees_with_single_reads_for_every_text_key(server: Server) -> None:
    listed = server.look_up("notes", [{"shelf": "100%", "title": "ü?#"}, {"shelf": "'; DROP TABLE x; --", "title": '\\"&<>'}])
    for result in listed.json()["results"]:
        key = result["prediction"]["key"]
        single = server.get(f"/v1/tables/notes/predictions/{quote(key['shelf'], safe='')}/{quote(key['title'], safe='')}")
        assert single.json() == result["prediction"]


def test_an_empty_batch_is_answered_and_a_thousand_keys_are_the_most(server: Server) -> None:
    assert server.look_up("flight_delays", []).json()["results"] == []
    keys = [{"carrier": "UA", "flight": n} for n in range(1000)]
    assert len(server.look_up("flight_delays", keys).json()["results"]) == 1000
    refused = server.look_up("flight_delays", [*keys, keys[0]])
    assert refused.status == 413
    assert "found 1001" in refused.json()["detail"]


def test_integers_beyond_64_bits_are_refused_and_not_rounded(server: Server) -> None:
    results = server.look_up("flight_delays", [{"carrier": "UA", "flight": 2**63}, {"carrier": "UA", "flight": 10**400}]).json()
    assert [result["status"] for result in results["results"]] == [400, 400]


def test_the_shadow_is_not_read(server: Server) -> None:
    assert server.get(UA_1000).json()["version"] == LIVE
    assert server.get("/v1/tables/flight_delays").json()["shadow"]["version"] == 3


def test_as_of_is_the_moment_of_the_live_version(server: Server) -> None:
    assert server.get("/v1/tables").json()["tables"][0]["as_of"] == (DAY_ONE.replace(day=3)).isoformat().replace("+00:00", "Z")
