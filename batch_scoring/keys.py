"""Entity keys: how a row of join keys becomes one canonical string, and back.

The canonical form is also the URL path of an entity and its place in the lookup index: each part percent-encoded
(RFC 3986, UTF-8, nothing but unreserved characters left bare), parts joined by ``/`` in declared order. A slash inside
a value is therefore always ``%2F``, so ``("a/b", "c")`` and ``("a", "b/c")`` can never meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

from batch_scoring.declare import Entity, Key
from batch_scoring.errors import BadKey

_INT64 = range(-(2**63), 2**63)

type_names = {"string": "text", "integer": "a whole number"}


def encode_key(entity: Entity, values: Sequence[object]) -> str:
    """Canonical string of one entity, e.g. ``("UA", 15, "EWR", "SFO") -> "UA/15/EWR/SFO"``.

    Args:
        entity: gives the order and the type of the parts.
        values: one value per join key, in declared order.

    Raises:
        BadKey: wrong number of parts, or a part that is null or not of the declared type.
    """
    if len(values) != len(entity.keys):
        raise _wrong_count(entity, len(values))
    return "/".join(_encode_part(entity, key, value) for key, value in zip(entity.keys, values, strict=True))


def encode_mapping(entity: Entity, values: Mapping[str, object]) -> str:
    """As :func:`encode_key`, for ``{"carrier": "UA", "flight": 15, ...}``.

    Raises:
        BadKey: a part is missing, unknown, or of the wrong type.
    """
    names = [key.name for key in entity.keys]
    unknown = sorted(set(values) - set(names))
    missing = [name for name in names if name not in values]
    if unknown or missing:
        raise BadKey(
            f"key of {entity.name}",
            expected=f"exactly the parts {', '.join(names)}",
            found=", ".join(sorted(values)) or "none",
            fix="Name every join key once and nothing else.",
        )
    return encode_key(entity, [values[name] for name in names])


def parse_segments(entity: Entity, segments: Sequence[str]) -> str:
    """Canonical string of one entity given as text, e.g. still percent-encoded URL segments.

    Raises:
        BadKey: wrong number of segments, not UTF-8, or not of the declared type.
    """
    if len(segments) != len(entity.keys):
        raise _wrong_count(entity, len(segments))
    return encode_key(entity, [decode_segment(entity, key, text) for key, text in zip(entity.keys, segments, strict=True)])


def decode_segment(entity: Entity, key: Key, segment: str) -> str | int:
    """One percent-encoded segment as a value of the key's type.

    Raises:
        BadKey: the segment is not UTF-8, or not a whole number where one is declared.
    """
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong_type(entity, key, "bytes that are not UTF-8") from None
    if key.type == "string":
        return text
    if text.isascii() and text.lstrip("-").isdigit() and text.count("-") <= 1 and len(text) <= 20:
        return int(text)
    raise _wrong_type(entity, key, repr(text))


def decode_key(entity: Entity, canonical: str) -> tuple[str | int, ...]:
    """The values of a canonical key, in declared order: the inverse of :func:`encode_key`."""
    segments = canonical.split("/")
    if len(segments) != len(entity.keys):
        raise _wrong_count(entity, len(segments))
    return tuple(decode_segment(entity, key, text) for key, text in zip(entity.keys, segments, strict=True))


def _encode_part(entity: Entity, key: Key, value: object) -> str:
    match key.type, value:
        case "integer", bool():
            raise _wrong_type(entity, key, repr(value))
        case "integer", int() if value in _INT64:
            return str(value)
        case "string", str():
            try:
                return quote(value, safe="")
            except UnicodeEncodeError:  # a lone surrogate: JSON can carry one, UTF-8 cannot
                raise _wrong_type(entity, key, "text that is not valid Unicode") from None
        case _:
            raise _wrong_type(entity, key, repr(value))


def _wrong_count(entity: Entity, count: int) -> BadKey:
    names = "/".join(f"<{key.name}>" for key in entity.keys)
    return BadKey(
        f"key of {entity.name}",
        expected=f"{len(entity.keys)} part{'s' if len(entity.keys) != 1 else ''}: {names}",
        found=str(count),
        fix="Give one part per join key, in that order.",
    )


def _wrong_type(entity: Entity, key: Key, found: str) -> BadKey:
    return BadKey(
        f"key part {key.name} of {entity.name}",
        expected=type_names[key.type],
        found=found if len(found) <= 80 else found[:77] + "...",
        fix=f"Send {key.name} as {type_names[key.type]}.",
    )
