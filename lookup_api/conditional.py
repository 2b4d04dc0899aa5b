"""Conditional requests (RFC 9110, section 13): does the client already hold what it asks for?"""

from __future__ import annotations

import re

_ENTITY_TAG = re.compile(rb'(?:W/)?("[^"]*")')


def holds(if_none_match: bytes, etag: bytes) -> bool:
    """Whether ``If-None-Match`` names ``etag``: weak comparison, over a list, or ``*`` for anything there is.

    Args:
        if_none_match: the field's value; several fields joined with a comma.
        etag: the strong tag of what would be sent, quotes included.
    """
    return if_none_match == etag or if_none_match.strip() == b"*" or etag in _ENTITY_TAG.findall(if_none_match)
