"""Which feature views a folder declares, read without Feast, so that a code location loads in a moment."""

from __future__ import annotations

import ast
from pathlib import Path

_KINDS = ("FeatureView", "BatchFeatureView")


def declared_views(folder: Path) -> tuple[str, ...]:
    """Names of the feature views that the files of a folder declare, in their order; nothing is imported.

    Only names that are written out are found, as they are in a repository that people read.
    """
    found: dict[str, None] = {}
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
            if isinstance(node, ast.Call) and _called(node.func) in _KINDS:
                names = [word.value for word in node.keywords if word.arg == "name"]
                found |= {name.value: None for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)}
    return tuple(found)


def _called(function: ast.expr) -> str:
    """The last name of what is called: of ``FeatureView`` and of ``feast.FeatureView``."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
