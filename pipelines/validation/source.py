"""Where a raw file is, and its bytes as text. No parsing."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import assert_never

from batch_scoring.declare import LandedFile, PackageFile, RawFile
from batch_scoring.errors import DataRejected
from batch_scoring.settings import Settings


def read_bytes(raw: RawFile, settings: Settings) -> bytes:
    """The file as delivered.

    Raises:
        DataRejected: it is not there, or cannot be read.
    """
    path = locate(raw, settings)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _rejected(raw, "exists", f"a file {path}", "none", "Deliver it, then ingest again.") from None
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise _rejected(raw, "readable", f"a readable file {path}", found, "Mend its permissions, then ingest again.") from None


def locate(raw: RawFile, settings: Settings) -> Path:
    """Path of a raw file; a package is found without being imported.

    Raises:
        DataRejected: the package is not installed.
    """
    match raw.location:
        case LandedFile(path=path):
            return settings.landing / path
        case PackageFile(package=package, path=path):
            spec = find_spec(package)
            folders = spec.submodule_search_locations if spec else None
            if not folders:
                raise _rejected(raw, "exists", f"the Python package {package}", "none", f"Install {package}, then ingest again.")
            return Path(folders[0]) / path
        case _:
            assert_never(raw.location)


def text_bytes(raw: RawFile, delivered: bytes) -> bytes:
    """The text inside: taken out of a .zip or .gz of one member, checked to be UTF-8, without a byte order mark.

    Raises:
        DataRejected: a broken archive, not exactly one member, or bytes that are not UTF-8.
    """
    text = _unpacked(raw, delivered)
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{text[error.start]:02x} in line {line}"
        raise _rejected(raw, "UTF-8", "text in UTF-8", found, "Have it delivered in UTF-8.") from None
    return text.removeprefix(b"\xef\xbb\xbf")


def _unpacked(raw: RawFile, delivered: bytes) -> bytes:
    name = raw.location.path
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(BytesIO(delivered)) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) != 1:
                    raise _rejected(raw, "one file inside", "an archive of one file", f"{len(members)} files", "Pack one file.")
                return archive.read(members[0])
        if name.endswith(".gz"):
            return gzip.decompress(delivered)
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        found = str(error) or type(error).__name__
        raise _rejected(raw, "whole archive", "an archive that can be unpacked", found, "Deliver it again.") from None
    return delivered


def _rejected(raw: RawFile, check: str, expected: str, found: str, fix: str) -> DataRejected:
    report = ((raw.location.path, "", check, found),)
    return DataRejected(f"raw file '{raw.name}'", expected=expected, found=found, fix=fix, report=report)
