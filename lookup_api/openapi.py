"""The OpenAPI 3.1 document: generated from the answer shapes, the problem types and the tables of a release.

A table has as many URL segments as its entity has join keys, which OpenAPI cannot say in general; so every table has
its own paths, with its own typed parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from batch_scoring.declare import Entity, Key
from batch_scoring.domain import Draft
from batch_scoring.errors import StoreError, UnknownVersion
from batch_scoring.store import Snapshot
from lookup_api import answers, examples, problems
from lookup_api.batch import MOST_KEYS
from lookup_api.catalog import url_template
from lookup_api.problems import ProblemType
from lookup_api.shapes import Shapes, shapes_of

API_VERSION = "1.0"

_SCHEMAS = "#/components/schemas/"
_SHAPES = (answers.TableList, answers.TableDetail, answers.VersionList, answers.Problem, answers.Alive, answers.Ready)
_INTRODUCTION = """\
Predictions, ready before anyone asks. Every score was computed ahead of time and is read here from an index; a published
version never changes.

**One release per answer.** A request is answered from the release that was current when it came, and says so in
`Foretable-Release` and `Foretable-Version`. A publish or a rollback is followed by the next request; nothing is restarted.

**Keys are URL segments**, one per join key, in the order of the table's `keys`. Percent-encode each value (UTF-8); a slash
inside a value is `%2F`. Some clients rewrite a value that is exactly `.` or `..`; look such a key up with
`predictions:lookup`.

**Caching.** Every answer about a table carries a strong `ETag`. Send it back in `If-None-Match` and get `304` until the
next publish.

**Errors** are `application/problem+json` (RFC 9457). Branch on `type`; `detail` is for people.
"""
_READ = (problems.BAD_REQUEST, problems.URL_TOO_LONG, problems.HEADERS_TOO_LARGE, problems.METHOD_NOT_ALLOWED)
_STORE = (problems.STORE_CORRUPT, problems.STORE_UNAVAILABLE, problems.INTERNAL)


def openapi_document(snapshot: Snapshot | None) -> bytes:
    """The document for the tables of a release, as JSON; without a release, the paths that every store has."""
    drafts = dict(_drafts(snapshot)) if snapshot is not None else {}
    paths = _catalogue_paths(next(iter(drafts), "flight_delays"))
    shapes = {table: shapes_of(draft) for table, draft in drafts.items()}
    for table, draft in drafts.items():
        paths.update(_table_paths(table, draft.entity, shapes[table]))
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "foretable lookup API", "version": API_VERSION, "description": _INTRODUCTION},
            "servers": [{"url": "/"}],
            "tags": [
                {"name": "catalogue", "description": "What is published."},
                *({"name": table, "description": draft.description} for table, draft in drafts.items()),
                {"name": "health", "description": "For load balancers and orchestrators."},
            ],
            "paths": {**paths, **_health_paths()},
            "components": _components({table: draft.entity for table, draft in drafts.items()}, shapes.values()),
        }
    )


def _drafts(snapshot: Snapshot) -> Iterable[tuple[str, Draft]]:
    for table in snapshot.tables():
        try:
            yield table, snapshot.manifest(table).draft
        except (UnknownVersion, StoreError):  # nothing live, or unreadable: it has no paths to document
            continue


def _catalogue_paths(table: str) -> dict[str, Any]:
    name = {
        "name": "table",
        "in": "path",
        "required": True,
        "description": "Name of a prediction table.",
        "schema": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
        "example": table,
    }
    missing = (problems.UNKNOWN_TABLE, problems.UNKNOWN_VERSION)
    listing = _operation("catalogue", "list_tables", "Every table, and what is live of it", answers.TableList)
    detail = _operation(
        "catalogue", "get_table", "One table: keys, columns, gates, live and shadow", answers.TableDetail, missing
    )
    versions = _operation(
        "catalogue",
        "list_versions",
        "Kept versions, newest first",
        answers.VersionList,
        missing,
        example=examples.version_list(table),
    )
    return {
        "/v1/tables": {"get": listing},
        "/v1/tables/{table}": {"parameters": [name], "get": detail},
        "/v1/tables/{table}/versions": {"parameters": [name], "get": versions},
    }


def _health_paths() -> dict[str, Any]:
    alive = _operation("health", "alive", "Is the process alive?", answers.Alive, conditional=False, store=False)
    ready = _operation("health", "ready", "Can every live version be read?", answers.Ready, conditional=False)
    return {"/livez": {"get": alive}, "/readyz": {"get": ready}}


def _table_paths(table: str, entity: Entity, shapes: Shapes) -> dict[str, Any]:
    parameters = [_key_parameter(key) for key in entity.keys]
    missing = (problems.UNKNOWN_KEY, problems.UNKNOWN_TABLE, problems.UNKNOWN_VERSION, problems.BAD_KEY)
    prediction = _operation(
        table,
        f"get_{table}_prediction",
        "The prediction of one entity",
        type(shapes.prediction),
        missing,
        example=shapes.prediction,
    )
    explanation = _operation(
        table,
        f"get_{table}_explanation",
        "Why: every contribution to one score",
        type(shapes.explanation),
        missing,
        example=shapes.explanation,
    )
    return {
        url_template(table, "predictions", entity): {"parameters": parameters, "get": prediction},
        f"/v1/tables/{table}/predictions:lookup": {"post": _lookup(table, entity, shapes)},
        url_template(table, "explanations", entity): {"parameters": parameters, "get": explanation},
    }


def _lookup(table: str, entity: Entity, shapes: Shapes) -> dict[str, Any]:
    refusals = (
        problems.UNKNOWN_TABLE,
        problems.UNKNOWN_VERSION,
        problems.BODY_TIMEOUT,
        problems.TOO_LARGE,
        problems.UNSUPPORTED_MEDIA_TYPE,
    )
    summary = f"The predictions of up to {MOST_KEYS} entities"
    operation = _operation(
        table,
        f"lookup_{table}_predictions",
        summary,
        type(shapes.lookup),
        refusals,
        example=shapes.lookup,
        conditional=False,
    )
    body = {"keys": [examples.key_examples(entity)]}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["keys"],
                    "additionalProperties": False,
                    "properties": {
                        "keys": {"type": "array", "maxItems": MOST_KEYS, "items": {"$ref": f"{_SCHEMAS}{_key_name(table)}"}}
                    },
                },
                "example": body,
            }
        },
    }
    return operation


def _operation(
    tag: str,
    name: str,
    summary: str,
    shape: type[answers.Answer],
    refusals: tuple[ProblemType, ...] = (),
    *,
    example: answers.Answer | None = None,
    conditional: bool = True,
    store: bool = True,
) -> dict[str, Any]:
    headers = ["X-Request-Id", "Cache-Control"]
    if store:
        headers.append("Foretable-Release")
    if tag not in ("catalogue", "health"):
        headers.append("Foretable-Version")
    if conditional:
        headers.append("ETag")
    carried = {header: {"$ref": f"#/components/headers/{header}"} for header in headers}
    media: dict[str, Any] = {"schema": {"$ref": f"{_SCHEMAS}{shape.__name__}"}}
    if example is not None:
        media["example"] = examples.plain(example)
    found = {
        "description": (shape.__doc__ or summary).split("\n")[0],
        "headers": carried,
        "content": {"application/json": media},
    }
    responses: dict[str, Any] = {"200": found}
    if conditional:
        responses["304"] = {"description": "What `If-None-Match` names is still current.", "headers": carried}
    kinds = {*refusals, *_READ, *(_STORE if store else ())}
    listed = [kind for kind in problems.PROBLEM_TYPES if kind in kinds]
    for status in sorted({kind.status for kind in listed}):
        responses[str(status)] = _problem_response([kind for kind in listed if kind.status == status])
    parameters = ["X-Request-Id", *(["If-None-Match"] if conditional else [])]
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{parameter}"} for parameter in parameters],
        "responses": responses,
    }


def _components(entities: dict[str, Entity], of_tables: Iterable[Shapes]) -> dict[str, Any]:
    answered = {type(answer) for each in of_tables for answer in (each.prediction, each.explanation, each.lookup)}
    shapes = (*_SHAPES, *sorted(answered, key=lambda shape: shape.__name__))
    _, schemas = msgspec.json.schema_components(shapes, ref_template=_SCHEMAS + "{name}")
    for table, entity in entities.items():
        schemas[_key_name(table)] = _key_schema(entity)
    text = {"type": "string"}
    return {
        "schemas": schemas,
        "examples": {kind.slug: {"summary": kind.title, "value": _problem_example(kind)} for kind in problems.PROBLEM_TYPES},
        "headers": {
            "ETag": {"description": 'Strong; begins with `"<release>-<version>`.', "schema": text, "example": '"42-7"'},
            "Cache-Control": {
                "description": "Keep it, but ask before using it again.",
                "schema": text,
                "example": "private, no-cache",
            },
            "Foretable-Release": {"description": "The snapshot that was read.", "schema": {"type": "integer"}, "example": 42},
            "Foretable-Version": {"description": "The table version that was read.", "schema": {"type": "integer"}, "example": 7},
            "X-Request-Id": {"description": "Yours, if it was usable, else a new one.", "schema": text, "example": "3f9c12ab-1"},
        },
        "parameters": {
            "If-None-Match": {
                "name": "If-None-Match",
                "in": "header",
                "description": "ETags that the client holds.",
                "schema": text,
                "example": '"42-7"',
            },
            "X-Request-Id": {
                "name": "X-Request-Id",
                "in": "header",
                "description": "Up to 128 of `A-Z a-z 0-9 . _ : / + = -`; echoed and logged.",
                "schema": {"type": "string", "maxLength": 128},
            },
        },
    }


def _problem_response(kinds: list[ProblemType]) -> dict[str, Any]:
    return {
        "description": " ".join(f"`{kind.uri}`: {kind.meaning}" for kind in kinds),
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        "content": {
            "application/problem+json": {
                "schema": {"$ref": f"{_SCHEMAS}Problem"},
                "examples": {kind.slug: {"$ref": f"#/components/examples/{kind.slug}"} for kind in kinds},
            }
        },
    }


def _problem_example(kind: ProblemType) -> dict[str, Any]:
    return {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": kind.meaning}


def _key_parameter(key: Key) -> dict[str, Any]:
    parameter = {"name": key.name, "in": "path", "required": True, "description": key.description}
    return {**parameter, "schema": {"type": key.type}, "example": examples.key_example(key)}


def _key_schema(entity: Entity) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"The join keys of {entity.name}.",
        "required": list(entity.key_names),
        "additionalProperties": False,
        "properties": {key.name: {"type": key.type, "description": key.description} for key in entity.keys},
    }


def _key_name(table: str) -> str:
    return f"{table}_key"
