"""A key is one string, and no two entities share it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import Entity, Key
from batch_scoring.errors import BadKey
from batch_scoring.keys import decode_key, encode_key, encode_mapping, parse_segments

LEG = Entity(
    name="leg",
    keys=(
        Key(name="carrier", type="string"),
        Key(name="flight", type="integer"),
        Key(name="dest", type="string"),
    ),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.tuples(texts, st.integers(-(2**63), 2**63 - 1), texts)


@given(keys)
def test_a_key_comes_back_from_its_canonical_string(values: tuple[str, int, str]) -> None:
    assert decode_key(LEG, encode_key(LEG, values)) == values


@given(keys, keys)
def test_different_entities_have_different_keys(one: tuple[str, int, str], other: tuple[str, int, str]) -> None:
    assert (encode_key(LEG, one) == encode_key(LEG, other)) == (one == other)


@given(keys)
def test_a_canonical_key_is_safe_in_a_path(values: tuple[str, int, str]) -> None:
    canonical = encode_key(LEG, values)
    assert canonical.count("/") == 2
    assert canonical.isascii()
    assert not set(canonical) & set("?#\\ \"'<>")


def test_a_slash_in_a_value_stays_in_its_value() -> None:
    assert encode_key(LEG, ("a/b", 1, "c")) == "a%2Fb/1/c"
    assert parse_segments(LEG, ["a%2Fb", "1", "c"]) == "a%2Fb/1/c"


def test_a_key_given_by_name_may_come_in_any_order() -> None:
    assert encode_mapping(LEG, {"dest": "SFO", "flight": 15, "carrier": "UA"}) == "UA/15/SFO"


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        (["UA", "15"], r"expected 3 parts: <carrier>/<flight>/<dest>, found 2"),
        (["UA", "fifteen", "SFO"], r"key part flight of leg: expected a whole number, found 'fifteen'"),
        (["UA", "1.5", "SFO"], r"expected a whole number"),
        (["UA", "٣", "SFO"], r"expected a whole number"),
        (["UA", "9" * 20, "SFO"], r"expected a whole number"),
        (["%ff", "15", "SFO"], r"not UTF-8"),
    ],
)
def test_a_malformed_key_is_refused_with_what_was_expected(segments: list[str], sentence: str) -> None:
    with pytest.raises(BadKey, match=sentence):
        parse_segments(LEG, segments)


@pytest.mark.parametrize(
    "values",
    [
        {"carrier": "UA", "flight": 15},
        {"carrier": "UA", "flight": 15, "dest": "SFO", "gate": "B2"},
        {"carrier": "UA", "flight": "15", "dest": "SFO"},
        {"carrier": "UA", "flight": True, "dest": "SFO"},
        {"carrier": None, "flight": 15, "dest": "SFO"},
        {"carrier": "\ud800", "flight": 15, "dest": "SFO"},
    ],
)
def test_a_key_by_name_must_name_every_part_once_and_in_its_type(values: dict[str, object]) -> None:
    with pytest.raises(BadKey):
        encode_mapping(LEG, values)
