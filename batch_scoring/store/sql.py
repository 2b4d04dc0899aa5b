"""Quoting for SQL that must name files, tables and texts. Statements themselves are constants of their modules."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

Literal = str | float | int | bool | datetime | None
"""What a cell of the record may hold."""


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


def literal(value: int | datetime) -> str:
    """A value as a literal; moments become TIMESTAMPTZ."""
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat()}'"
    return str(value)


def rows(values: Iterable[Iterable[int | datetime]]) -> str:
    """Rows for ``VALUES``: ``(1, 2), (3, TIMESTAMPTZ '…')``."""
    return ",\n".join(f"({', '.join(literal(value) for value in row)})" for row in values)
