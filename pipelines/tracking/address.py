"""A tracker's URI as people may see it. It may hold a password, before the host or among the options. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "…"
_SHORTEST = 3
"""Shorter pieces of an address are in every sentence."""


def shown(uri: str) -> str:
    """The URI without login and options. Where it cannot be told what is which, the scheme alone."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return re.split("[?#]", uri, maxsplit=1)[0]
    place, *options = re.split("[?#]", rest, maxsplit=1)
    login, _, host = place.rpartition("@")
    if not login and any("@" in part for part in options):  # a question mark in a password, or an @ in an option
        return f"{scheme}://{_HIDDEN}"
    return f"{scheme}://{host}"


def without_secrets(text: str, uri: str) -> str:
    """A text in which nothing is left of what :func:`shown` hides of the URI."""
    rest = uri.partition("://")[2] or uri
    host = shown(uri).partition("://")[2] or shown(uri)
    parts = [rest] if host == _HIDDEN else rest.split(host, maxsplit=1)
    hidden = {piece for part in parts for piece in (part.strip("@?#"), *re.split("[:@?#&;=]", part)) if len(piece) >= _SHORTEST}
    hidden |= {unquote(each) for each in hidden}
    text = text.replace(uri, shown(uri))
    for secret in sorted(hidden, key=len, reverse=True):  # whole ones first: parts of them would be left
        text = text.replace(secret, _HIDDEN)
    return text
