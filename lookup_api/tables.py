"""A live table as the hot path sees it: its headers, its keys and its bytes, prepared once per release."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from batch_scoring.codec import to_plain
from batch_scoring.declare import Entity, TableName
from batch_scoring.domain import Manifest
from batch_scoring.errors import BadKey, UnknownKey
from batch_scoring.keys import encode_mapping, parse_segments
from batch_scoring.store import Reader, Snapshot
from lookup_api.exchange import Header, tag
from lookup_api.problems import NoSuchTable

_PLAIN_TEXT: Final = "[A-Za-z0-9_.~-]*"
_PLAIN_NUMBER: Final = "(?:0|-?[1-9][0-9]{0,17})"
_plain_text = re.compile(_PLAIN_TEXT).fullmatch
_broken_escape = re.compile("%(?![0-9A-Fa-f]{2})").search
_INT64 = range(-(2**63), 2**63)


class LiveTable:
    """The live version of one table in one release. Everything it answers comes from that version.

    Attributes:
        tagged: the headers of a read, with the strong ETag ``"<release>-<version>"``.
        read_from: the headers that name release and version.
        preamble: the opening of a batch answer, up to its results.
    """

    __slots__ = ("_parts", "_plain_path", "_snapshot", "entity", "manifest", "name", "preamble", "read_from", "tagged")

    def __init__(self, snapshot: Snapshot, manifest: Manifest) -> None:
        draft = manifest.draft
        release = snapshot.release.id
        self._snapshot = snapshot
        self.manifest = manifest
        self.name: TableName = draft.table
        self.entity: Entity = draft.entity
        self.read_from = read_from(release, manifest.version)
        self.tagged = tag(f"{release}-{manifest.version}", self.read_from)
        as_of = to_plain(draft.as_of)
        self.preamble = (
            f'{{"table":"{draft.table}","release":{release},"version":{manifest.version},"as_of":"{as_of}","results":['.encode()
        )
        # Most keys are already in canonical form; one match then replaces decoding and encoding every part again.
        plain = (_PLAIN_TEXT if key.type == "string" else _PLAIN_NUMBER for key in draft.entity.keys)
        self._plain_path = re.compile("/".join(plain)).fullmatch
        self._parts = tuple((key.name, key.type == "integer") for key in draft.entity.keys)

    def path_key(self, segments: str) -> str:
        """Canonical key of percent-encoded segments joined by ``/``, as they stand in a URL.

        Raises:
            BadKey: wrong number or type of parts, or not percent-encoded UTF-8.
        """
        if self._plain_path(segments):
            return segments
        broken = _broken_escape(segments)
        if broken:
            raise BadKey(
                f"key of {self.entity.name}",
                expected="percent-encoded UTF-8",
                found=repr(segments[broken.start() : broken.start() + 3]),
                fix="Write a percent sign inside a value as %25.",
            )
        return parse_segments(self.entity, segments.split("/"))

    def mapping_key(self, values: object) -> str:
        """Canonical key of one element of a batch request.

        Raises:
            BadKey: not an object, or a part is missing, unknown, or of the wrong type.
        """
        if type(values) is not dict:
            raise BadKey(
                f"key of {self.entity.name}",
                expected=f"an object with the members {', '.join(self.entity.key_names)}",
                found=type(values).__name__,
                fix='Send e.g. {"keys": [{' + ", ".join(f'"{name}": …' for name in self.entity.key_names) + "}]}.",
            )
        plain: list[str] = []
        for name, is_number in self._parts:
            value = values.get(name)
            if is_number and type(value) is int and value in _INT64:
                plain.append(str(value))
            elif not is_number and type(value) is str and _plain_text(value):
                plain.append(value)
            else:
                break
        if len(plain) == len(self._parts) == len(values):
            return "/".join(plain)
        return encode_mapping(self.entity, values)

    def prediction(self, key: str) -> bytes:
        """The stored JSON of one entity.

        Raises:
            UnknownKey: the version holds no such entity.
            StoreCorrupt, StoreUnavailable: the lookup index cannot be read.
        """
        found = self._snapshot.prediction(self.name, key)
        if found is None:
            raise self.unknown(key)
        return found

    def explanation(self, key: str) -> bytes:
        """As :meth:`prediction`, for the explanation."""
        found = self._snapshot.explanation(self.name, key)
        if found is None:
            raise self.unknown(key)
        return found

    def predictions(self, keys: list[str]) -> Iterable[bytes | None]:
        """The stored JSON of many entities, in order; None where the version holds no such entity."""
        return self._snapshot.predictions(self.name, keys)

    def unknown(self, key: str) -> UnknownKey:
        """The error of an entity that this version does not hold."""
        shown = key if len(key) <= 200 else key[:200] + "..."
        order = "/".join(f"<{name}>" for name in self.entity.key_names)
        draft = self.manifest.draft
        return UnknownKey(
            f"{self.entity.name} {shown!r} in table '{self.name}'",
            expected=f"an entity that version {self.manifest.version} was scored for ({order})",
            found="none",
            fix=f"Check the key; {draft.rows} entities were scored as of {draft.as_of:%Y-%m-%d %H:%M} UTC.",
        )


class Tables:
    """The live tables of whatever release is current: one look at the pointer per request, the rest kept per release."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._release = -1
        self._kept: dict[str, LiveTable] = {}

    def live(self, name: str) -> LiveTable:
        """The live version of a table right now.

        Raises:
            NoSuchTable, UnknownVersion: no such table in the current release, or nothing of it is live.
            StoreCorrupt, StoreUnavailable: the store cannot be read.
        """
        snapshot = self._reader.snapshot()
        if snapshot.release.id != self._release:
            self._kept = {}
            self._release = snapshot.release.id
        table = self._kept.get(name)
        if table is None:
            # The name came from a request: it is compared with the names of the release before anything else sees it.
            known = require_table(snapshot, name)
            table = self._kept[name] = LiveTable(snapshot, snapshot.manifest(known))
        return table


def require_table(snapshot: Snapshot, name: str) -> TableName:
    """A requested name as the release spells it.

    Raises:
        NoSuchTable: the release holds no such table.
    """
    names = sorted(snapshot.tables())
    for known in names:
        if known == name:
            return known
    shown = name if len(name) <= 80 else name[:80] + "..."
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise NoSuchTable(
        f"table {shown!r}",
        tables=tuple(names),
        expected=f"one of {listed}" if names else "",
        found="" if names else "no table published yet",
        fix="GET /v1/tables lists them." if names else "Publish one with 'foretable run TABLE --as-of DATE'.",
    )


def read_from(release: int, version: int | None = None) -> tuple[Header, ...]:
    """Which release and version an answer was read from, for clients that do not take ETags apart."""
    of_release = (b"foretable-release", str(release).encode())
    return (of_release,) if version is None else (of_release, (b"foretable-version", str(version).encode()))
