"""``/docs``: the OpenAPI document as one page that needs no network but this server.

Rendered here rather than in the browser, so it can be read without scripts, searched and printed; a small script adds
the forms that send a request.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

_Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An HTML page and the headers that keep it from running or loading anything else."""

    html: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def docs_page(document: bytes) -> Page:
    """Render an OpenAPI 3.1 document (JSON)."""
    spec: _Document = json.loads(document)
    style, script = _asset("docs.css"), _asset("docs.js")
    groups = [(tag, _operations_of(spec, tag["name"])) for tag in spec["tags"]]
    body = (
        f"<nav>{_contents(spec, groups)}</nav><main>{_opening(spec)}"
        + "".join(_group(spec, tag, operations) for tag, operations in groups)
        + _problems(spec)
        + _schemas(spec)
        + "</main>"
    )
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(spec['info']['title'])}</title><style>{style}</style></head>"
        f"<body>{body}<script>{script}</script></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html=html.encode(), headers=((b"content-security-policy", policy.encode()), (b"referrer-policy", b"no-referrer")))


def _asset(name: str) -> str:
    return files("lookup_api").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _operations_of(spec: _Document, tag: str) -> list[tuple[str, str, _Document]]:
    """(path, method, operation) of a tag; an operation takes the path's own parameters over."""
    found = []
    for path, item in spec["paths"].items():
        for method in ("get", "post"):
            operation = item.get(method)
            if operation and tag in operation["tags"]:
                shared = item.get("parameters", [])
                found.append((path, method, {**operation, "parameters": [*shared, *operation["parameters"]]}))
    return found


def _contents(spec: _Document, groups: list[tuple[_Document, list[tuple[str, str, _Document]]]]) -> str:
    parts = [f'<a class="top" href="#top">{escape(spec["info"]["title"])}</a>']
    for tag, operations in groups:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        parts += [
            f'<a href="#{operation["operationId"]}">{_badge(method)}<span>{escape(_short(path))}</span></a>'
            for path, method, operation in operations
        ]
    parts.append('<h2>reference</h2><a href="#problems">Problems</a><a href="#schemas">Schemas</a>')
    parts.append('<a href="/openapi.json">openapi.json</a>')
    return "".join(parts)


def _short(path: str) -> str:
    """What distinguishes a path from its neighbours."""
    rest = path.removeprefix("/v1/tables/")
    return rest.partition("/")[2] if rest != path and not rest.startswith("{") else path


def _opening(spec: _Document) -> str:
    return f'<header id="top"><h1>{escape(spec["info"]["title"])}</h1>{_prose(spec["info"]["description"])}</header>'


def _group(spec: _Document, tag: _Document, operations: list[tuple[str, str, _Document]]) -> str:
    inner = "".join(_operation(spec, path, method, operation) for path, method, operation in operations)
    return f"<section><h2>{escape(tag['name'])}</h2>{_prose(tag.get('description', ''))}{inner}</section>"


def _operation(spec: _Document, path: str, method: str, operation: _Document) -> str:
    name = operation["operationId"]
    return (
        f'<article id="{name}"><h3>{_badge(method)}<code>{_breakable(path)}</code></h3><p>{escape(operation["summary"])}.</p>'
        f"{_form(spec, path, method, operation)}"
        f"<details><summary>Answers</summary>{_responses(spec, operation)}</details></article>"
    )


def _form(spec: _Document, path: str, method: str, operation: _Document) -> str:
    parameters = [_resolve(spec, listed) for listed in operation["parameters"]]
    fields = [_field(parameter) for parameter in parameters if parameter["in"] == "path"]
    if "requestBody" in operation:
        example = json.dumps(operation["requestBody"]["content"]["application/json"]["example"])
        fields.append(
            f'<label><span>body <small>application/json</small></span><textarea name="body" rows="3" spellcheck="false">'
            f"{escape(example)}</textarea></label>"
        )
    headers = "".join(_field(parameter) for parameter in parameters if parameter["in"] == "header")
    fields.append(f"<details><summary>Request headers</summary>{headers}</details>")
    return (
        f'<form data-method="{method.upper()}" data-path="{escape(path)}">{"".join(fields)}'
        '<pre class="curl"></pre><p><button>Send</button> <button type="button" class="copy">Copy curl</button></p>'
        '<output hidden><p class="status"></p><pre class="answer"></pre></output></form>'
    )


def _field(parameter: _Document) -> str:
    label = f"<code>{escape(parameter['name'])}</code> <small>{escape(parameter['schema']['type'])}</small>"
    value = escape(str(parameter["example"])) if parameter["in"] == "path" else ""
    return (
        f'<label><span>{label}</span><input name="{escape(parameter["name"])}" data-in="{parameter["in"]}" value="{value}"'
        f' autocomplete="off" spellcheck="false"><small>{_inline(parameter.get("description", ""))}</small></label>'
    )


def _responses(spec: _Document, operation: _Document) -> str:
    rows = []
    for status, response in operation["responses"].items():
        media: _Document = next(iter(response.get("content", {}).values()), {})
        if "examples" in media:
            kinds = [(slug, _resolve(spec, example)) for slug, example in media["examples"].items()]
            said = "<br>".join(
                f'<a href="#problem-{slug}"><code>{escape(kind["value"]["type"])}</code></a> {escape(kind["summary"])}'
                for slug, kind in kinds
            )
        else:
            headers = ", ".join(f"<code>{escape(name)}</code>" for name in response["headers"])
            said = f"{_inline(response['description'])}<br><small>{headers}</small>"
        rows.append(f"<tr><td><b>{status}</b></td><td>{_type(media['schema']) if media else ''}</td><td>{said}</td></tr>")
    example = _example(operation)
    return f"<table>{''.join(rows)}</table>{example}"


def _example(operation: _Document) -> str:
    media = operation["responses"]["200"].get("content", {}).get("application/json", {})
    if "example" not in media:
        return ""
    return f"<pre>{escape(json.dumps(media['example'], indent=2, ensure_ascii=False))}</pre>"


def _problems(spec: _Document) -> str:
    rows = [
        f'<tr id="problem-{slug}"><td><b>{kind["value"]["status"]}</b></td><td><code>{escape(kind["value"]["type"])}</code></td>'
        f"<td><b>{escape(kind['summary'])}.</b> {_inline(kind['value']['detail'])}</td></tr>"
        for slug, kind in spec["components"]["examples"].items()
    ]
    return (
        '<section id="problems"><h2>Problems</h2><p>The <code>type</code> of a problem never changes its meaning.</p>'
        f"<table>{''.join(rows)}</table></section>"
    )


def _schemas(spec: _Document) -> str:
    parts = []
    for name, schema in spec["components"]["schemas"].items():
        required = schema.get("required", [])
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code></td><td>{_type(kind)}</td>"
            f"<td>{'' if field in required else '<small>optional</small> '}{_inline(kind.get('description', ''))}</td></tr>"
            for field, kind in schema.get("properties", {}).items()
        )
        parts.append(
            f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3><p>{_inline(schema.get("description", ""))}</p>'
            f"<table>{rows}</table></article>"
        )
    return f'<section id="schemas"><h2>Schemas</h2>{"".join(parts)}</section>'


def _type(schema: _Document) -> str:
    """A JSON Schema in a few words, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(choice))}</code>" for choice in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("format", kind)))


def _resolve(spec: _Document, listed: _Document) -> _Document:
    if "$ref" not in listed:
        return listed
    found: Any = spec
    for part in listed["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    resolved: _Document = found
    return resolved


def _badge(method: str) -> str:
    return f'<b class="{method}">{method.upper()}</b>'


def _breakable(path: str) -> str:
    return escape(path).replace("/", "/<wbr>")


def _prose(markdown: str) -> str:
    """Paragraphs with bold and code: all the Markdown that the document uses."""
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in markdown.strip().split("\n\n") if paragraph)


def _inline(markdown: str) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(markdown))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
