"""Any key finds its own entity, over the URL and in a batch: the fast way is the same as the plain one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drafts import draft_version
from support.serving import Server, send, serving, staged_score
from support.stores import build_and_publish, new_store

from batch_scoring.declare import Entity, Key
from batch_scoring.domain import Manifest, VersionId
from batch_scoring.errors import BadKey
from batch_scoring.keys import encode_key, encode_mapping, parse_segments
from batch_scoring.store import Reader, Store
from lookup_api.tables import LiveTable

PAIR = Entity(name="pair", keys=(Key(name="left", type="string"), Key(name="right", type="string")))
LEG = Entity(name="leg", keys=(Key(name="carrier", type="string"), Key(name="flight", type="integer")))

NASTY = st.text(alphabet="/%.+ ~#?&=:;\\'\"\x00\n2Fé😀", max_size=6)
TEXT = st.one_of(NASTY, st.text(max_size=300), st.sampled_from(["", ".", "..", "../..", "%2F", "%", "a" * 500, "é" * 200]))
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=30, max_size=80, unique=True)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Server, list[int]]]:
    """A store and its server, and the days that have been published in it."""
    store = new_store(tmp_path_factory.mktemp("pairs"))
    with serving(store.root.parent) as server:
        yield store, server, [0]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(keys=PAIRS)
def test_any_text_round_trips_through_the_url_and_the_batch(
    pairs: tuple[Store, Server, list[int]], keys: list[tuple[str, str]]
) -> None:
    store, server, days = pairs
    days.append(days[-1] + 1)
    build_and_publish(store, days[-1], "pairs", keys=keys, entity=PAIR)
    with closing(server.connect()) as connection:
        for left, right in keys:
            path = f"/v1/tables/pairs/predictions/{quote(left, safe='')}/{quote(right, safe='')}"
            if len(path) > 8192:
                continue
            reply = send(connection, "GET", path)
            assert reply.status == 200, reply.body
            found = reply.json()
            assert found["key"] == {"left": left, "right": right}
            assert found["score"] == pytest.approx(staged_score(days[-1], (left, right)), abs=1e-12)
    answer = server.look_up("pairs", [{"left": left, "right": right} for left, right in keys]).json()
    assert [result["prediction"]["key"] for result in answer["results"]] == [
        {"left": left, "right": right} for left, right in keys
    ]


@pytest.fixture(scope="module")
def leg_table(tmp_path_factory: pytest.TempPathFactory) -> LiveTable:
    snapshot = Reader(new_store(tmp_path_factory.mktemp("empty")).root).snapshot()
    return LiveTable(snapshot, Manifest(version=VersionId(1), draft=draft_version(entity=LEG), files=()))


def outcome(call: object, *arguments: object) -> object:
    try:
        return call(*arguments)  # type: ignore[operator]
    except BadKey as error:
        return str(error)


SEGMENT = st.one_of(
    st.from_regex(r"-?[0-9]{1,21}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_.~%+/-]{0,6}", fullmatch=True),
    st.text(alphabet="%25Fe/-0", max_size=6),
)


@given(segments=st.lists(SEGMENT, min_size=1, max_size=3).map("/".join))
def test_a_path_means_the_same_on_the_short_way_and_on_the_long(leg_table: LiveTable, segments: str) -> None:
    found = outcome(leg_table.path_key, segments)
    expected = outcome(parse_segments, LEG, segments.split("/"))
    if "expected percent-encoded UTF-8" in str(found):
        assert "%" in segments
    else:
        assert found == expected


VALUE = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.floats(), st.lists(st.integers(), max_size=2))


@given(values=st.dictionaries(st.sampled_from(["carrier", "flight", "origin"]), VALUE))
def test_a_batch_key_means_the_same_on_the_short_way_and_on_the_long(leg_table: LiveTable, values: dict[str, object]) -> None:
    assert outcome(leg_table.mapping_key, values) == outcome(encode_mapping, LEG, values)


@given(carrier=st.text(max_size=8), flight=st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_a_leg_is_written_the_same_in_a_url_and_in_a_batch(leg_table: LiveTable, carrier: str, flight: int) -> None:
    canonical = encode_key(LEG, (carrier, flight))
    assert leg_table.path_key(f"{quote(carrier, safe='')}/{flight}") == canonical
    assert leg_table.mapping_key({"flight": flight, "carrier": carrier}) == canonical
