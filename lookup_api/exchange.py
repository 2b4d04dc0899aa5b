"""One request and one answer, as the raw ASGI application and Starlette beside it both see them."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, NamedTuple

from lookup_api.conditional import holds

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")
# A rollback must reach every reader at once, so nothing is kept without asking; asking costs a 304.
REVALIDATE = (b"cache-control", b"private, no-cache")
NEVER_STORE = (b"cache-control", b"no-store")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")

ASKED = "foretable.asked"
"""Where the scope of a page carries what its request asked."""
READ_FROM = "foretable.read_from"
"""Where the scope carries the headers that name release and version, once they are known: a refusal names them too."""

_usable_request_id = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}").fullmatch


class Answer(NamedTuple):
    """A whole response. ``headers`` lack what every response gets: length, request id, nosniff."""

    status: int
    headers: Iterable[Header]
    body: bytes


def request_ids() -> Iterator[bytes]:
    """New request ids. Every process must make its own, or two would count the same."""
    process = secrets.token_hex(4)
    return (f"{process}-{number:x}".encode() for number in itertools.count(1))


class Asked(NamedTuple):
    """What the headers of a request say that matters to every resource."""

    request_id: bytes
    if_none_match: bytes | None


def asked(headers: Iterable[Header], new_ids: Iterator[bytes]) -> Asked:
    """Read the request id (the caller's if it is usable, else a new one) and ``If-None-Match``."""
    request_id = b""
    if_none_match = None
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value if _usable_request_id(value) else b""
        elif name == b"if-none-match":
            if_none_match = value if if_none_match is None else if_none_match + b", " + value
    return Asked(request_id or next(new_ids), if_none_match)


class Tagged(NamedTuple):
    """The headers of a JSON resource in one state: of its 200 and of its 304. Both carry its strong ETag."""

    etag: bytes
    found: tuple[Header, ...]
    unchanged: tuple[Header, ...]


def tag(etag: str, read_from: tuple[Header, ...]) -> Tagged:
    """The headers of a resource whose state ``etag`` names, without its quotes."""
    quoted = f'"{etag}"'.encode()
    unchanged = ((b"etag", quoted), REVALIDATE, *read_from)
    return Tagged(quoted, (JSON, *unchanged), unchanged)


def fresh_or(body: bytes, tagged: Tagged, if_none_match: bytes | None) -> Answer:
    """200 with the JSON ``body``, or 304 if the client holds it already."""
    if if_none_match is not None and holds(if_none_match, tagged.etag):
        return Answer(304, tagged.unchanged, b"")
    return Answer(200, tagged.found, body)


async def respond(answer: Answer, request_id: bytes, send: Send) -> None:
    """Send a whole answer."""
    headers = [*answer.headers, (b"x-request-id", request_id), NO_SNIFFING]
    if answer.status != 304:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
