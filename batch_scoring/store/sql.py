"""Quoting for SQL that must name files, tables and texts. Statements themselves are constants of their modules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

Literal = str | float | int | bool | datetime | None


def ident(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A quoted string literal. NUL, which SQL text cannot carry, becomes U+FFFD."""
    return "'" + value.replace("\0", "\ufffd").replace("'", "''") + "'"


def path_text(path: Path) -> str:
    """A path as a string literal, for a function that takes exactly one file."""
    return text(str(path))


def glob_text(path: Path) -> str:
    """A path as the literal beginning of a glob pattern: its own ``*``, ``?`` and ``[`` mean themselves."""
    return text("".join(f"[{char}]" if char in "*?[" else char for char in str(path)))[1:-1]


def literal(value: Literal) -> str:
    """A value as a literal; moments become TIMESTAMPTZ, numbers that are not finite become NULL."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value!r}::DOUBLE" if math.isfinite(value) else "NULL"
        case datetime():
            return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat()}'"
        case str():
            return text(value)


def rows(values: Iterable[Iterable[Literal]]) -> str:
    """Rows for ``VALUES``: ``(1, 'a'), (2, NULL)``."""
    return ",\n".join(f"({', '.join(literal(value) for value in row)})" for row in values)
