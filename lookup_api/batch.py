"""Many keys in one request: read the body, look every key up in one version, answer in order."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from batch_scoring.errors import BadKey, ForetableError
from lookup_api import answers, problems
from lookup_api.exchange import JSON, NEVER_STORE, Answer, Receive, Scope
from lookup_api.problems import Refused
from lookup_api.tables import LiveTable

MOST_KEYS = 1000
LARGEST_BODY = 1 << 20
BODY_PATIENCE = 20.0
"""Seconds a client has to send its body."""
# A body that is too large but announced is read to its end and dropped, so that its sender hears why; a larger one is cut off.
_LARGEST_DRAINED = 16 << 20


class LookupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a batch lookup. Elements are checked one by one, so that one bad key does not spoil the others."""

    keys: list[Any]


_decode = msgspec.json.Decoder(LookupRequest).decode


async def read_body(scope: Scope, receive: Receive) -> list[Any]:
    """The keys of a batch request.

    Raises:
        Refused: not JSON, not the documented shape, too large, too many keys, or too slow.
    """
    _require_json(scope)
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            body = await _receive_all(receive)
    except TimeoutError:
        raise Refused(
            problems.BODY_TIMEOUT,
            "body",
            expected=f"all of it within {BODY_PATIENCE:g} s",
            found="only a part",
            fix="Send the request again.",
            close=True,
        ) from None
    return _keys_of(body)


def look_up(table: LiveTable, keys: list[Any]) -> Answer:
    """One result per key, in order: 200 with the prediction, 404 or 400 with a problem."""
    canonical: list[str | BadKey] = []
    for key in keys:
        try:
            canonical.append(table.mapping_key(key))
        except BadKey as error:
            canonical.append(error)
    found = iter(table.predictions([key for key in canonical if isinstance(key, str)]))
    results = [_result(table, key, next(found)) if isinstance(key, str) else _refused(key) for key in canonical]
    body = table.preamble + b",".join(results) + b"]}"
    return Answer(200, (JSON, NEVER_STORE, *table.read_from), body)


def _result(table: LiveTable, key: str, prediction: bytes | None) -> bytes:
    if prediction is None:
        return _refused(table.unknown(key))
    return b'{"status":200,"prediction":' + prediction + b"}"


def _refused(error: ForetableError) -> bytes:
    problem = problems.describe(error)
    return b'{"status":%d,"problem":%b}' % (problem.status, answers.encode(problem))


def _require_json(scope: Scope) -> None:
    headers = dict(scope["headers"])
    media_type, _, parameters = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
    if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8") or encoding != "identity":
        found = headers.get(b"content-type", b"none").decode("latin-1")[:80]
        raise Refused(
            problems.UNSUPPORTED_MEDIA_TYPE,
            "body",
            expected="Content-Type: application/json, UTF-8, not compressed",
            found=found if encoding == "identity" else f"{found}, Content-Encoding: {encoding[:40]}",
            fix="Send JSON and say so in Content-Type.",
        )
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise _too_large(announced.decode(), close=int(announced) > _LARGEST_DRAINED)


async def _receive_all(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(problems.BAD_REQUEST, "body", expected="all of it", found="a closed connection", close=True)
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise _too_large(f"more than {LARGEST_BODY}", close=True)
        if not message.get("more_body", False):
            return bytes(body)


def _keys_of(body: bytes) -> list[Any]:
    try:
        keys = _decode(body).keys
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise Refused(
            problems.BAD_REQUEST,
            "body",
            expected='{"keys": [{…}, …]}',
            found=str(error)[:200],
            fix="Send one object per key, with the table's join keys as its members.",
        ) from None
    if len(keys) > MOST_KEYS:
        raise Refused(
            problems.TOO_LARGE,
            "keys",
            expected=f"at most {MOST_KEYS}",
            found=str(len(keys)),
            fix=f"Send them in requests of {MOST_KEYS}.",
        )
    return keys


def _too_large(found: str, *, close: bool) -> Refused:
    return Refused(
        problems.TOO_LARGE,
        "body",
        expected=f"at most {LARGEST_BODY} bytes",
        found=found,
        fix=f"Send at most {MOST_KEYS} keys a request.",
        close=close,
    )
