"""The ASGI application: predictions and explanations answered here, byte for byte from the index; the rest by Starlette.

::

    GET   /v1/tables/{table}/predictions/{k1}/{k2}/…     one percent-encoded segment per join key, in declared order
    GET   /v1/tables/{table}/explanations/{k1}/{k2}/…
    POST  /v1/tables/{table}/predictions:lookup          {"keys": [{…}, …]}, at most 1000
    …     everything else                                lookup_api.pages

A request looks at the store's pointer once, and everything it answers comes from the release it found there. Nothing
here opens a file by a name that came from a request: a table is looked up among the names of the release, an entity
among the keys of an index.
"""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import unquote

from batch_scoring.errors import ForetableError, StoreError
from batch_scoring.store import Reader
from batch_scoring.store.files import plain_errors
from lookup_api import answers, problems
from lookup_api.batch import look_up, read_body
from lookup_api.exchange import (
    ASKED,
    NEVER_STORE,
    PROBLEM,
    READ_FROM,
    Answer,
    Asked,
    Receive,
    Scope,
    Send,
    asked,
    fresh_or,
    request_ids,
    respond,
)
from lookup_api.pages import create_pages
from lookup_api.problems import Refused
from lookup_api.tables import Tables

_PREFIX = b"/v1/tables/"
_MOST_HEADERS = 100
_LONGEST_URL = 8192

_log = logging.getLogger("foretable.lookup_api")


class LookupApi:
    """Serves one store. Holds no state of its own beyond what it has read of the current release."""

    def __init__(self, store: Path) -> None:
        self._store = store
        reader = Reader(store)
        self._tables = Tables(reader)
        self._new_ids = request_ids()
        self._pages = create_pages(reader, self._refusal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id, if_none_match = asked(scope["headers"], self._new_ids)
        try:
            _require_modest(scope)
            answer = await self._hot(scope, receive, if_none_match)
        except Exception as error:  # noqa: BLE001 -- the last line of defence: whatever it is, the client gets a problem document
            answer = self._refusal(error, scope, request_id)
        if answer is not None:
            await respond(answer, request_id, send)
        else:
            scope[ASKED] = Asked(request_id, if_none_match)
            await self._pages(scope, receive, send)

    async def _hot(self, scope: Scope, receive: Receive, if_none_match: bytes | None) -> Answer | None:
        """Answer a prediction or an explanation; None for everything else."""
        path: bytes = scope["raw_path"]
        if not path.startswith(_PREFIX):
            return None
        name, _, rest = path[len(_PREFIX) :].decode("ascii").partition("/")
        kind, slash, segments = rest.partition("/")
        if slash and kind in ("predictions", "explanations"):
            _require_method(scope, "GET, HEAD")
            problems.require_no_query(scope["query_string"])
            table = self._tables.live(_plain_name(name))
            scope[READ_FROM] = table.read_from
            key = table.path_key(segments)
            body = table.prediction(key) if kind == "predictions" else table.explanation(key)
            return fresh_or(body, table.tagged, if_none_match)
        if not slash and (kind == "predictions:lookup" or kind.lower() == "predictions%3alookup"):
            _require_method(scope, "POST")
            problems.require_no_query(scope["query_string"])
            # The table is resolved after the body has arrived: the answer is from the release that is live when it is made.
            keys = await read_body(scope, receive)
            return look_up(self._tables.live(_plain_name(name)), keys)
        return None

    def _plain(self, error: Exception) -> Exception:
        """What LMDB or the system says in the middle of a read, as the store's own sentence about it."""
        try:
            with plain_errors(self._store):
                raise error  # noqa: TRY301 -- plain_errors translates what passes through it
        except Exception as said:  # noqa: BLE001 -- the same error, or its translation
            return said

    def _refusal(self, error: Exception, scope: Scope, request_id: bytes) -> Answer:
        """Any failure as a problem document; what nobody foresaw is logged under the request id."""
        error = self._plain(error)
        if not isinstance(error, ForetableError):
            _log.error("request %s failed", request_id.decode(), exc_info=error)
            error = ForetableError("request")
        elif isinstance(error, StoreError):
            _log.error("request %s: %s", request_id.decode(), error)
        kind = problems.problem_type(error)
        instance = scope["raw_path"].decode("ascii", "replace")
        problem = problems.describe(error, instance=instance, request_id=request_id.decode())
        extra = error.headers if isinstance(error, Refused) else ()
        return Answer(kind.status, (PROBLEM, NEVER_STORE, *scope.get(READ_FROM, ()), *extra), answers.encode(problem))


def _plain_name(name: str) -> str:
    return unquote(name, errors="replace") if "%" in name else name


def _require_modest(scope: Scope) -> None:
    if len(scope["headers"]) > _MOST_HEADERS:
        raise Refused(
            problems.HEADERS_TOO_LARGE,
            "request",
            expected=f"at most {_MOST_HEADERS} header fields",
            found=str(len(scope["headers"])),
            fix="Send fewer.",
            close=True,
        )
    length = len(scope["raw_path"]) + len(scope["query_string"])
    if length > _LONGEST_URL:
        raise Refused(
            problems.URL_TOO_LONG,
            "URL",
            expected=f"at most {_LONGEST_URL} bytes",
            found=str(length),
            fix="Look long keys up with POST …/predictions:lookup.",
        )


def _require_method(scope: Scope, allowed: str) -> None:
    if scope["method"] not in allowed.split(", "):
        raise problems.method_not_allowed(scope["method"], allowed)
