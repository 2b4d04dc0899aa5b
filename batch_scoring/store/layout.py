"""Where everything in a store lies, and how it is read. Nothing here writes.

::

    current -> releases/000042        THE pointer
    lock                              who is publishing; an flock, so it ends with its process
    releases/000042/                  release.json, predictions.duckdb, SHA256SUMS
    tables/<table>/versions/000007/   manifest.json, data, model, indexes, SHA256SUMS
    tables/<table>/erased.json        tombstones: salted hashes of the keys that must never be stored again

A folder whose name starts with ``building-`` is unfinished and means nothing to a reader. ``SHA256SUMS`` has the format
of coreutils, so ``sha256sum -c SHA256SUMS`` checks a folder without foretable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from batch_scoring.codec import from_json
from batch_scoring.declare import TableName
from batch_scoring.domain import MANIFEST, Manifest, Release, ReleaseId, Served, VersionId
from batch_scoring.errors import StoreCorrupt, UnknownTable, UnknownVersion
from batch_scoring.store.files import Files, no_store

CURRENT = "current"
NEXT = "current.next"
LOCK = "lock"
RELEASES = "releases"
TABLES = "tables"
VERSIONS = "versions"
RELEASE = "release.json"
CATALOG = "predictions.duckdb"
SUMS = "SHA256SUMS"
ERASED = "erased.json"
ERASED_NEXT = "erased.json.next"
BUILDING = "building-"
DAMAGED = "damaged-"
"""Of a release that could not be read any more when ``repair --force`` went back behind it; its number is not used again."""

_NUMBER = re.compile(r"\d{6,}")
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Store:
    """A versioned store on a local file system.

    Attributes:
        root: its folder.
        files: the port every change goes through.
        patience: seconds to wait for another process to finish publishing before it is refused.
    """

    root: Path
    files: Files = field(default_factory=Files)
    patience: float = 10.0


def folder_name(number: int) -> str:
    """``7 -> "000007"``; longer numbers keep all their digits."""
    return f"{number:06d}"


def releases_folder(root: Path) -> Path:
    """The folder of all releases."""
    return root / RELEASES


def release_folder(root: Path, release: ReleaseId) -> Path:
    """The folder of one release."""
    return root / RELEASES / folder_name(release)


def versions_folder(root: Path, table: TableName) -> Path:
    """The folder of all versions of a table."""
    return root / TABLES / table / VERSIONS


def version_folder(root: Path, table: TableName, version: VersionId) -> Path:
    """The folder of one version."""
    return versions_folder(root, table) / folder_name(version)


def is_table_name(name: str) -> bool:
    """Whether a name, perhaps from a URL, can be that of a table. Nothing else ever becomes part of a path."""
    return _TABLE.fullmatch(name) is not None


def numbers_in(folder: Path, prefix: str = "") -> tuple[int, ...]:
    """The numbers of the folders in ``folder`` named ``<prefix>000007``, ascending; none if it does not exist."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 -- half the time of iterdir, and every publish counts versions
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(number for name in names if (number := number_in(name, prefix)) is not None))


def number_in(name: str, prefix: str = "") -> int | None:
    """``<prefix>000007`` -> 7; None for any other name."""
    number = name.removeprefix(prefix)
    return int(number) if name.startswith(prefix) and _NUMBER.fullmatch(number) else None


def table_names(root: Path) -> tuple[TableName, ...]:
    """Every table with a folder, published or not, in alphabetical order."""
    try:
        names = [path.name for path in (root / TABLES).iterdir()]
    except FileNotFoundError:
        return ()
    return tuple(TableName(name) for name in sorted(names) if is_table_name(name))


def version_ids(root: Path, table: TableName) -> tuple[VersionId, ...]:
    """The stored versions of a table, ascending."""
    return tuple(VersionId(number) for number in numbers_in(versions_folder(root, table)))


def read_target(root: Path) -> str:
    """Where ``current`` points, e.g. ``releases/000042``.

    Raises:
        StoreUnavailable: there is no store here.
    """
    try:
        return os.readlink(root / CURRENT)  # noqa: PTH115 -- the raw text, in one system call: readers do this per request
    except FileNotFoundError:
        raise no_store(root) from None


def release_of(root: Path, target: str) -> ReleaseId:
    """The release a pointer's text names.

    Raises:
        StoreCorrupt: it names something else.
    """
    folder, _, name = target.rpartition("/")
    if folder != RELEASES or not _NUMBER.fullmatch(name):
        raise StoreCorrupt(
            f"pointer {root / CURRENT}", expected="a link to releases/<number>", found=repr(target), fix="Run 'foretable repair'."
        )
    return ReleaseId(int(name))


def read_current(root: Path) -> Release:
    """The release that is served now.

    Raises:
        StoreUnavailable: there is no store here.
        StoreCorrupt: the pointer or the release cannot be read.
    """
    return read_release(root, release_of(root, read_target(root)))


def read_release(root: Path, release: ReleaseId) -> Release:
    """One release, as recorded.

    Raises:
        StoreCorrupt: missing or unreadable.
    """
    return _read_release(root, release, sound=False)


def read_sound_release(root: Path, release: ReleaseId) -> Release:
    """As :func:`read_release`, but only with its recorded checksum.

    For whatever is to be served, or carried on into another release: a changed number is as readable as the right one.

    Raises:
        StoreCorrupt: missing, unreadable, or not what was written.
    """
    return _read_release(root, release, sound=True)


def read_sound_current(root: Path) -> Release:
    """As :func:`read_current`, but only with its recorded checksum.

    Raises:
        StoreUnavailable: there is no store here.
        StoreCorrupt: the pointer or the release cannot be read, or is not what was written.
    """
    return read_sound_release(root, release_of(root, read_target(root)))


def _read_release(root: Path, release: ReleaseId, *, sound: bool) -> Release:
    path = release_folder(root, release) / RELEASE
    try:
        content = path.read_bytes()
        found = from_json(content, Release)
    except FileNotFoundError:
        raise StoreCorrupt(
            f"release {release}",
            expected=f"a file {path}",
            found="none",
            fix="Run 'foretable repair'.",
        ) from None
    except ValueError as error:
        raise StoreCorrupt(
            f"release {release}", expected="a readable release.json", found=str(error), fix="Run 'foretable repair'."
        ) from None
    if found.id != release:
        raise StoreCorrupt(
            f"release {release}", expected=f"id {release} in {path}", found=str(found.id), fix="Run 'foretable repair'."
        )
    digest = sha256(content).hexdigest()
    if sound and read_sums(path.parent).get(RELEASE) != digest:
        raise StoreCorrupt(
            f"release {release}, file {path}", expected="its recorded checksum", found=digest[:12], fix="Run 'foretable repair'."
        )
    return found


def last_live(release: Release, table: TableName) -> tuple[VersionId, ...]:
    """Every version of a table that was ever live and was kept when the release was made, the latest first.

    From the release alone: one that cannot be read any more, however old, must not make a version look as if it had never
    been live.
    """
    live = release.tables.get(table, Served()).live
    return tuple(dict.fromkeys(() if live is None else (live, *release.lives.get(table, ()))))


def walk_back(root: Path, newest: Release) -> Iterator[Release]:
    """``newest`` and every release before it, along ``previous``; ends early where the chain is broken."""
    release = newest
    yield release
    while release.previous is not None:
        try:
            release = read_release(root, release.previous)
        except StoreCorrupt:
            return
        yield release


def read_manifest(root: Path, table: TableName, version: VersionId) -> Manifest:
    """The manifest of one stored version.

    Raises:
        UnknownTable, UnknownVersion: never built, or no longer kept.
        StoreCorrupt: the manifest cannot be read, or belongs elsewhere.
    """
    if not is_table_name(table) or not versions_folder(root, table).is_dir():
        raise unknown_table(root, table)
    subject = f"version {version} of '{table}'"
    path = version_folder(root, table, version) / MANIFEST
    try:
        found = from_json(path.read_bytes(), Manifest)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise StoreCorrupt(subject, expected=f"a file {path}", found="none", fix=_FIX) from None
        kept = ", ".join(str(number) for number in version_ids(root, table)) or "none"
        raise UnknownVersion(
            subject, expected=f"one of the kept versions: {kept}", found=str(version), fix="Choose one of those."
        ) from None
    except ValueError as error:
        raise StoreCorrupt(subject, expected="a readable manifest.json", found=str(error), fix=_FIX) from None
    if (found.draft.table, found.version) != (table, version):
        raise StoreCorrupt(
            subject, expected="its own manifest", found=f"that of version {found.version} of '{found.draft.table}'", fix=_FIX
        )
    return found


_FIX = "Roll back to another version with 'foretable rollback', then run 'foretable verify'."


def check_version(root: Path, manifest: Manifest) -> None:
    """Compare the size of every file with the manifest, and the manifest with its checksum.

    Costs the same beside any number of rows. Finds what is missing, truncated or misdescribed; a flipped byte in the
    data takes a full ``verify``.

    Raises:
        StoreCorrupt: naming the first file that differs.
    """
    folder = version_folder(root, manifest.draft.table, manifest.version)
    subject = f"version {manifest.version} of '{manifest.draft.table}'"
    found = sha256((folder / MANIFEST).read_bytes()).hexdigest() if (folder / MANIFEST).exists() else "no such file"
    if read_sums(folder).get(MANIFEST) != found:
        raise StoreCorrupt(f"{subject}, file {folder / MANIFEST}", expected="its recorded checksum", found=found[:12], fix=_FIX)
    for fact in manifest.files:
        path = folder / fact.name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = None
        if size != fact.bytes:
            raise StoreCorrupt(
                f"{subject}, file {path}",
                expected=f"{fact.bytes:,} bytes",
                found="no such file" if size is None else f"{size:,} bytes",
                fix=_FIX,
            )


def readable_versions(root: Path, table: TableName) -> tuple[Manifest, ...]:
    """Manifests of the stored versions that can be read, ascending."""
    found = []
    for version in version_ids(root, table):
        try:
            found.append(read_manifest(root, table, version))
        except (UnknownVersion, StoreCorrupt):  # pruned meanwhile, or damaged: 'foretable verify' reports it
            continue
    return tuple(found)


def read_sums(folder: Path) -> dict[str, str]:
    """The checksums recorded in a folder: SHA-256 by file name. Empty when there are none."""
    try:
        lines = (folder / SUMS).read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}


def has_its_files(root: Path, manifest: Manifest) -> bool:
    """Whether every file of a version is there with the size that its manifest promises, and every Parquet file begins
    and ends as one: a glance, so that no flip waits for more. ``verify`` reads them."""
    folder = version_folder(root, manifest.draft.table, manifest.version)
    try:
        check_version(root, manifest)
        return all(_looks_like_parquet(folder / fact.name) for fact in manifest.files if fact.name.endswith(".parquet"))
    except (StoreCorrupt, FileNotFoundError):
        return False


def _looks_like_parquet(path: Path) -> bool:
    magic = b"PAR1"
    with path.open("rb") as file:
        begins = file.read(len(magic)) == magic
        file.seek(-len(magic), os.SEEK_END)
        return begins and file.read() == magic


def unknown_table(root: Path, table: str) -> UnknownTable:
    """The error for a table that the store does not hold."""
    known = ", ".join(table_names(root)) or "none yet"
    return UnknownTable(
        f"table '{table}'", expected=f"one of: {known}", found=f"'{table}'", fix="Choose a published table, or run it first."
    )
