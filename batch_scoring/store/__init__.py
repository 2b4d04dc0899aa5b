"""The versioned store: build, publish, roll back, read, verify.

Reading (:class:`Reader`, :class:`Snapshot`) loads LMDB and nothing heavier; DuckDB is loaded when something is written.
Names are resolved on first use, so that a reader does not pay for what writes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_scoring.store.build import build_version
    from batch_scoring.store.catalog import write_catalog
    from batch_scoring.store.erasure import Erasure, erase
    from batch_scoring.store.files import Files
    from batch_scoring.store.index import render_explanation
    from batch_scoring.store.integrity import Finding, count_files, repair, verify
    from batch_scoring.store.layout import Store, release_folder, version_folder
    from batch_scoring.store.proof import find_erased
    from batch_scoring.store.reader import Reader, Snapshot
    from batch_scoring.store.record import history, versions
    from batch_scoring.store.releases import create_store, publish, rollback
    from batch_scoring.store.retention import prune

_HOMES = {
    "build": ("build_version",),
    "catalog": ("write_catalog",),
    "erasure": ("Erasure", "erase"),
    "files": ("Files",),
    "index": ("render_explanation",),
    "integrity": ("Finding", "count_files", "repair", "verify"),
    "layout": ("Store", "release_folder", "version_folder"),
    "proof": ("find_erased",),
    "reader": ("Reader", "Snapshot"),
    "record": ("history", "versions"),
    "releases": ("create_store", "publish", "rollback"),
    "retention": ("prune",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Erasure",
    "Files",
    "Finding",
    "Reader",
    "Snapshot",
    "Store",
    "build_version",
    "count_files",
    "create_store",
    "erase",
    "find_erased",
    "history",
    "prune",
    "publish",
    "release_folder",
    "render_explanation",
    "repair",
    "rollback",
    "verify",
    "version_folder",
    "versions",
    "write_catalog",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
