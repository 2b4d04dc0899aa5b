"""Where a raw file is, a copy of it that nobody else can change, and its text on disk. No parsing, bounded memory.

A file is taken before it is looked at: copied whole, hashed on the way. What is checked, read, and, if need be,
quarantined is the copy, so a producer that writes while it is read can never be half-read.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

from batch_scoring.data_checks import Finding, FixedCheck
from batch_scoring.declare import LandedFile, PackageFile, RawFile
from batch_scoring.settings import Settings

_CHUNK = 4 << 20
_BOM = b"\xef\xbb\xbf"
_MOST_TIMES, _ALWAYS = 250, 256 << 20
"""A text may be so many times the bytes of its archive, and at least so many bytes; more is no table but a trap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A raw file where it was delivered. ``sha256`` (hex) is of its bytes; ``modified`` is when it was written."""

    path: Path
    bytes: int
    sha256: str
    modified: datetime


def look(raw: RawFile, settings: Settings) -> Seen | Finding:
    """Hash a raw file where it lies, or say why that is not possible."""
    path = locate(raw, settings)
    if isinstance(path, Finding):
        return path
    try:
        status = path.stat()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return failed(raw, "exists", f"is there, at {path}", "none")
    except OSError as error:
        return failed(raw, "readable", f"can be read, at {path}", error.strerror or type(error).__name__)
    return Seen(path=path, bytes=status.st_size, sha256=sha256, modified=datetime.fromtimestamp(status.st_mtime, UTC))


def locate(raw: RawFile, settings: Settings) -> Path | Finding:
    """Path of a raw file; a package is found without being imported."""
    match raw.location:
        case LandedFile(path=path):
            return settings.landing / path
        case PackageFile(package=package, path=path):
            spec = find_spec(package)
            folders = spec.submodule_search_locations if spec else None
            if not folders:
                return failed(raw, "exists", f"is there, in the Python package {package}", "no such package")
            return Path(folders[0]) / path
        case _:
            assert_never(raw.location)


def take(raw: RawFile, seen: Seen, folder: Path) -> Iterator[Finding]:
    """Copy a file into ``folder``; the findings are about the bytes: still the same, and the ones that were promised.

    A checksum is promised by a file of the same name with ``.sha256`` behind it, as ``sha256sum`` writes it.
    """
    digest, wrong = hashlib.sha256(), ""
    with taken_path(raw, folder).open("wb") as copy:  # its errors are our disk's, not the producer's, and go on as they are
        for chunk in _chunks(seen.path):
            if isinstance(chunk, str):
                wrong = chunk
                break
            digest.update(chunk)
            copy.write(chunk)
    if wrong:
        yield failed(raw, "readable", f"can be read, at {seen.path}", wrong)
        return
    changed = digest.hexdigest() != seen.sha256
    yield finding(raw, "stable", "stays as it is while it is read", "it changed" if changed else "it did", passed=not changed)
    beside = seen.path.with_name(f"{seen.path.name}.sha256")
    try:
        promised = beside.read_text(encoding="utf-8", errors="replace") if beside.exists() else None
    except OSError as error:
        yield failed(raw, "readable", f"can be read, at {beside}", error.strerror or type(error).__name__)
        return
    if promised is not None:
        yield _checksum(raw, beside.name, promised.split(), digest.hexdigest())


def taken_path(raw: RawFile, folder: Path) -> Path:
    """Where the copy of a raw file lies."""
    return folder / f"{raw.name}{''.join(Path(raw.location.path).suffixes[-2:])}"


def text_of(raw: RawFile, taken: Path, folder: Path) -> tuple[Path, tuple[Finding, ...]]:
    """The text of a taken file: of a .zip or .gz of one member, unpacked into ``folder``. A finding per check made."""
    path = taken_path(raw, taken)
    findings = []
    if path.suffix in (".zip", ".gz"):
        packed, path = path, folder / f"{raw.name}.text"
        found = _unpack(packed, path)
        findings.append(finding(raw, "archive", "is a whole archive of one file", found or "one file", passed=not found))
        if found:
            return path, tuple(findings)
    wrong = _not_utf8(path)
    findings.append(finding(raw, "encoding", "is text in UTF-8", wrong or "UTF-8", passed=not wrong))
    return path, tuple(findings)


def bom_length(path: Path) -> int:
    """3 for a text that begins with a byte order mark, else 0."""
    with path.open("rb") as file:
        return len(_BOM) if file.read(len(_BOM)) == _BOM else 0


def failed(raw: RawFile, check: FixedCheck, must: str, found: str) -> Finding:
    """A fixed check that did not hold."""
    return finding(raw, check, must, found, passed=False)


def finding(raw: RawFile, check: FixedCheck, must: str, found: str, *, passed: bool, column: str = "") -> Finding:
    """What a fixed check saw."""
    return Finding(source=raw.name, column=column, check=check, severity="error", passed=passed, must=must, found=found)


def _chunks(path: Path) -> Iterator[bytes | str]:
    """A file in pieces; last of all, if it cannot be read, why."""
    try:
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except OSError as error:
        yield error.strerror or type(error).__name__


def _checksum(raw: RawFile, beside: str, promised: list[str], sha256: str) -> Finding:
    must = f"has the SHA-256 that {beside} promises"
    if not promised or not re.fullmatch(r"[0-9a-fA-F]{64}", promised[0]):
        return failed(raw, "checksum", must, f"no 64 hexadecimal digits in {beside}")
    same = promised[0].lower() == sha256
    found = f"{sha256[:12]}…" if same else f"{sha256[:12]}… instead of {promised[0].lower()[:12]}…"
    return finding(raw, "checksum", must, found, passed=same)


def _unpack(packed: Path, target: Path) -> str:
    """Write the one member of an archive; returns what is wrong with the archive. What is wrong with ``target`` is raised."""
    most, size = max(_ALWAYS, _MOST_TIMES * packed.stat().st_size), 0
    chunks = _unpacked(packed)
    with target.open("wb") as text:
        for chunk in chunks:
            if isinstance(chunk, str):
                return chunk
            size += len(chunk)
            if size > most:
                return f"more than {most:,} bytes of text in {packed.stat().st_size:,}"
            text.write(chunk)
    return ""


def _unpacked(packed: Path) -> Iterator[bytes | str]:
    """The one member of an archive in pieces; last of all, if there is something wrong with it, what."""
    try:
        if packed.suffix == ".gz":
            with gzip.open(packed) as only:
                while chunk := only.read(_CHUNK):
                    yield chunk
            return
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                yield f"{len(members)} files inside"
                return
            with archive.open(members[0]) as member:
                while chunk := member.read(_CHUNK):
                    yield chunk
    except Exception as error:  # noqa: BLE001  # a damaged archive may raise anything: OSError, IndexError, LZMAError, …
        yield f"it is damaged: {str(error) or type(error).__name__}"


def _not_utf8(path: Path) -> str:
    """Where a file stops being UTF-8, in words; empty when it is UTF-8 to its end."""
    done, line, rest = 0, 1, b""
    with path.open("rb") as file:
        while (chunk := file.read(_CHUNK)) or rest:
            block = rest + chunk
            try:
                if not block.isascii():
                    block.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                # A character may be cut in two by the end of a chunk, but never by the end of the file.
                if error.reason != "unexpected end of data" or not chunk:
                    line += block.count(b"\n", 0, error.start)
                    return f"byte 0x{block[error.start]:02x} at offset {done + error.start:,}, in line {line:,}"
                block, rest = block[: error.start], block[error.start :]
            done += len(block)
            line += block.count(b"\n")
            if not chunk:
                break
    return ""
