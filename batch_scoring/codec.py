"""Frozen values to JSON and back, checked on the way in. One format for manifests, releases and ``--json``."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON with sorted mapping keys: equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def to_pretty_json(value: object) -> bytes:
    """As :func:`to_json`, indented for people, with a final newline."""
    return msgspec.json.format(to_json(value), indent=2) + b"\n"


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode and validate.

    Raises:
        ValueError: not JSON, or not a valid ``kind`` (``msgspec.ValidationError`` is a ``ValueError``).
    """
    return msgspec.json.decode(data, type=kind)


def to_plain(value: object) -> Any:
    """Dicts, lists, strings and numbers only, as JSON would show them."""
    return msgspec.to_builtins(value, order="sorted", str_keys=True)
