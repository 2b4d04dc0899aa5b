"""The documentation says what the server does, and the server does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.serving import Reply, Server

from lookup_api import answers
from lookup_api.problems import PROBLEM_TYPES

VALUES = {"table": "flight_delays", "carrier": "UA", "flight": "1000", "shelf": "a%2Fb", "title": "c"}
SHAPES = {name: shape for name, shape in vars(answers).items() if isinstance(shape, type) and issubclass(shape, answers.Answer)}


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in {"get", "post"} & set(item):
            yield path, method, {**item[method], "parameters": [*item.get("parameters", []), *item[method]["parameters"]]}


def nodes(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def call(server: Server, path: str, method: str, **headers: str) -> Reply:
    url = re.sub(r"\{(\w+)\}", lambda name: VALUES[name[1]], path)
    if method == "post":
        key = {"shelf": "a/b", "title": "c"} if "notes" in path else {"carrier": "UA", "flight": 1000}
        return server.post(url, {"keys": [key, {}]})
    return server.get(url, **headers)


def test_it_is_openapi_3_1_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    references = [node["$ref"] for node in nodes(document) if "$ref" in node]
    assert len(references) > 50
    for reference in references:
        assert resolve(document, reference)


def test_nothing_is_defined_that_is_not_used(document: dict[str, Any]) -> None:
    used = {node["$ref"] for node in nodes(document) if "$ref" in node}
    for kind in ("schemas", "headers", "parameters"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in used


def test_operation_ids_are_distinct_and_every_path_parameter_is_described(document: dict[str, Any]) -> None:
    found = list(operations(document))
    assert len({operation["operationId"] for _, _, operation in found}) == len(found) == 11
    tags = {tag["name"] for tag in document["tags"]}
    for path, _, operation in found:
        described = {parameter["name"] for parameter in operation["parameters"] if parameter.get("in") == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", path))
        assert set(operation["tags"]) <= tags


def test_every_documented_path_answers_with_the_documented_shape_and_headers(server: Server, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        reply = call(server, path, method)
        assert reply.status == 200, (path, reply.body)
        documented = operation["responses"]["200"]
        assert {name.lower() for name in documented["headers"]} <= set(reply.headers)
        shape = SHAPES[documented["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        # Decoding is strict about types and required members; encoding again shows members that are not documented.
        assert json.loads(msgspec.json.encode(msgspec.json.decode(reply.body, type=shape))) == reply.json()


def test_every_documented_304_happens(server: Server, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert ("304" in operation["responses"]) == (method == "get" and not path.endswith("z"))
        if "304" in operation["responses"]:
            assert call(server, path, method, if_none_match="*").status == 304


def test_every_example_has_the_shape_that_it_is_an_example_of(document: dict[str, Any]) -> None:
    checked = 0
    for node in nodes(document):
        if "example" in node and "$ref" in node.get("schema", {}):
            shape = SHAPES[node["schema"]["$ref"].rpartition("/")[2]]
            assert json.loads(msgspec.json.encode(msgspec.convert(node["example"], shape))) == node["example"]
            checked += 1
    for example in document["components"]["examples"].values():
        assert msgspec.convert(example["value"], answers.Problem).type.startswith("/problems/")
        checked += 1
    assert checked > 15


def test_every_problem_type_is_documented_under_its_status(document: dict[str, Any]) -> None:
    listed = {
        (int(status), slug)
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        for media in response.get("content", {}).values()
        for slug in media.get("examples", {})
    }
    everywhere = {(kind.status, kind.slug) for kind in PROBLEM_TYPES if kind.slug != "no-such-page"}
    assert listed == everywhere


class Links(HTMLParser):
    """Collects what a page loads, where it links to, and the ids it has."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.targets.append(value or "")
            elif name in ("src", "href", "srcset", "action"):
                self.loaded.append(value or "")


def test_the_page_loads_nothing_and_its_links_lead_somewhere(server: Server) -> None:
    reply = server.get("/docs")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = Links()
    page.feed(reply.body.decode())
    assert page.loaded == []
    assert len(set(page.ids)) == len(page.ids)
    for target in page.targets:
        assert (target[1:] in page.ids) if target.startswith("#") else server.get(target).status == 200


def test_the_page_may_run_its_own_script_and_nothing_else(server: Server) -> None:
    policy = server.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'sha256-" in policy


def test_the_page_shows_every_operation_and_problem(server: Server, document: dict[str, Any]) -> None:
    page = server.get("/docs").body.decode()
    for _, _, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in page
    for kind in PROBLEM_TYPES:
        assert kind.uri in page


def test_the_root_leads_to_the_documentation(server: Server) -> None:
    reply = server.get("/")
    assert (reply.status, reply.headers["location"]) == (307, "/docs")


def test_the_written_contract_lists_every_operation_and_problem(document: dict[str, Any]) -> None:
    written = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"/problems/[a-z-]+", written)) == {kind.uri for kind in PROBLEM_TYPES}
    for path in ("/v1/tables", "/v1/tables/{table}", "/v1/tables/{table}/versions", "/livez", "/readyz"):
        assert path in document["paths"]
        assert f"GET {path}`" in written
