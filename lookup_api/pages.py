"""Everything that is not a prediction or an explanation: the catalogue, health, documentation. Starlette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from batch_scoring.errors import StoreError
from batch_scoring.store import Reader, Snapshot
from lookup_api import answers, catalog, problems
from lookup_api.docs import docs_page
from lookup_api.exchange import ASKED, JSON, NEVER_STORE, Answer, Asked, Receive, Scope, Send, fresh_or, respond, tag
from lookup_api.openapi import openapi_document
from lookup_api.problems import Refused
from lookup_api.tables import read_from, require_table

Refusal = Callable[[Exception, Scope, bytes], Answer]
Make = Callable[["Question"], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a page is made from: the release that was current when the request came, and the request."""

    reader: Reader
    path: dict[str, str]
    if_none_match: bytes | None

    def snapshot(self) -> Snapshot:
        """The current release; ask once per request."""
        return self.reader.snapshot()


def create_pages(reader: Reader, refuse: Refusal) -> Starlette:
    """The Starlette application; ``refuse`` makes a problem document of any failure."""

    def page(path: str, make: Make) -> Route:
        async def endpoint(request: Request) -> _Whole:
            asked: Asked = request.scope[ASKED]
            try:
                if path.startswith("/v1/"):
                    problems.require_no_query(request.scope["query_string"])
                question = Question(reader=reader, path=request.path_params, if_none_match=asked.if_none_match)
                # In a thread: a page may read files, and the loop must keep answering predictions meanwhile.
                return _Whole(await run_in_threadpool(make, question), asked.request_id)
            except Exception as error:  # noqa: BLE001 -- `refuse` logs what nobody foresaw
                return _Whole(refuse(error, request.scope, asked.request_id), asked.request_id)

        return Route(path, endpoint)

    async def misrouted(request: Request, error: Exception) -> Any:
        asked: Asked = request.scope[ASKED]
        return _Whole(refuse(_as_refused(request, error), request.scope, asked.request_id), asked.request_id)

    app = Starlette(
        routes=[
            page("/", lambda _: _redirect("/docs")),
            page("/docs", _docs),
            page("/openapi.json", _openapi),
            page("/problems/{slug}", _problem),
            page("/livez", lambda _: Answer(200, (JSON, NEVER_STORE), answers.encode(answers.Alive()))),
            page("/readyz", _ready),
            page("/v1/tables", _tables),
            page("/v1/tables/{table}", _table),
            page("/v1/tables/{table}/versions", _versions),
        ],
        exception_handlers={HTTPException: misrouted},
    )
    app.router.redirect_slashes = False
    return app


class _Whole:
    """A Starlette response that is sent as everything else here is."""

    def __init__(self, answer: Answer, request_id: bytes) -> None:
        self._answer = answer
        self._request_id = request_id

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(self._answer, self._request_id, send)


def _tables(question: Question) -> Answer:
    snapshot = question.snapshot()
    release = snapshot.release.id
    body = answers.encode(catalog.table_list(snapshot))
    return fresh_or(body, tag(str(release), read_from(release)), question.if_none_match)


def _table(question: Question) -> Answer:
    snapshot = question.snapshot()
    table = require_table(snapshot, question.path["table"])
    release, live = snapshot.release.id, snapshot.served(table).live
    body = answers.encode(catalog.table_detail(snapshot, table))
    return fresh_or(body, tag(f"{release}-{live or 0}", read_from(release, live)), question.if_none_match)


def _versions(question: Question) -> Answer:
    snapshot = question.snapshot()
    table = require_table(snapshot, question.path["table"])
    release, live = snapshot.release.id, snapshot.served(table).live
    body = answers.encode(catalog.version_list(snapshot, table))
    # A refused version joins this list without a new release, so release and version alone would not be a strong tag.
    return fresh_or(body, tag(f"{release}-{live or 0}-{_digest(body)}", read_from(release, live)), question.if_none_match)


def _ready(question: Question) -> Answer:
    snapshot = question.snapshot()
    live = {}
    for name in sorted(snapshot.tables()):
        version = snapshot.served(name).live
        if version is not None:
            snapshot.manifest(name)
            snapshot.prediction(name, "")  # opens the index; whether such a key exists does not matter
            live[str(name)] = int(version)
    ready = answers.Ready(status="ready", release=snapshot.release.id, tables=live, problem=question.reader.problem)
    return Answer(200, (JSON, NEVER_STORE, *read_from(snapshot.release.id)), answers.encode(ready))


def _openapi(question: Question) -> Answer:
    snapshot = _any_snapshot(question.reader)
    body = openapi_document(snapshot)
    of = read_from(snapshot.release.id) if snapshot is not None else ()
    return fresh_or(body, tag(_digest(body), of), question.if_none_match)


def _docs(question: Question) -> Answer:
    page = docs_page(openapi_document(_any_snapshot(question.reader)))
    return Answer(200, (NEVER_STORE, (b"content-type", b"text/html; charset=utf-8"), *page.headers), page.html)


def _any_snapshot(reader: Reader) -> Snapshot | None:
    """The current release; None when the store cannot be read, since the documentation can be read all the same."""
    try:
        return reader.snapshot()
    except StoreError:
        return None


def _problem(question: Question) -> Answer:
    """A problem type is a URI that leads to its documentation."""
    known = [kind.slug for kind in problems.PROBLEM_TYPES]
    slug = question.path["slug"]
    if slug not in known:
        raise Refused(
            problems.NO_SUCH_PAGE,
            f"problem type {slug[:80]!r}",
            expected=f"one of {', '.join(known)}",
            found="none",
            fix="See /docs.",
        )
    return _redirect(f"/docs#problem-{slug}")


def _redirect(location: str) -> Answer:
    return Answer(307, ((b"location", location.encode()), NEVER_STORE), b"")


def _as_refused(request: Request, error: Exception) -> Refused:
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "GET").split(", ")))
        return problems.method_not_allowed(request.method, allowed)
    path: str = request.scope["path"]
    return Refused(
        problems.NO_SUCH_PAGE,
        f"path {path if len(path) <= 120 else path[:120] + '...'}",
        fix="It is not part of this API; /docs lists every call.",
    )


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()[:16]
