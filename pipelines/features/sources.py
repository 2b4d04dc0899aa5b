"""The files that features are read from, by content: whatever product or person put them there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from batch_scoring.errors import NoData
from pipelines.features.port import ViewDefinition
from pipelines.files import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that features were read from: a dataset of the delivery, or the served features of a version."""

    name: str
    sha256: str


def hashed_sources(views: Iterable[ViewDefinition], data: Path) -> tuple[Source, ...]:
    """The sources of some views as they are now, by name. Files that did not change since are not read again.

    Raises:
        NoData: one is not there.
    """
    return tuple(Source(name=name, sha256=_hash(name, data / name)) for name in sorted({view.source for view in views}))


def files_of(path: Path) -> tuple[Path, ...]:
    """The Parquet files of a source: one file, a folder of them, or a pattern; links followed, in order."""
    if path.is_dir():
        return tuple(sorted(path.resolve().glob("*.parquet")))
    if set(path.name) & set("*?["):
        return tuple(sorted(path.parent.resolve().glob(path.name)))
    return (path.resolve(),)


def _hash(name: str, path: Path) -> str:
    try:
        parts = [(file.name, _hash_once(file, (found := file.stat()).st_size, found.st_mtime_ns)) for file in files_of(path)]
    except FileNotFoundError:
        parts = []
    if not parts:
        raise NoData(f"feature source {name}", expected="Parquet", found="no file", fix="Run 'foretable ingest' first.")
    if len(parts) == 1:
        return parts[0][1]
    return hashlib.sha256("\n".join(f"{sha256} {file}" for file, sha256 in parts).encode()).hexdigest()


@lru_cache(maxsize=256)  # a replay asks for the same files every day
def _hash_once(path: Path, _size: int, _changed: int) -> str:
    return sha256_of(path)
