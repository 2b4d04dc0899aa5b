"""The lookup indexes of a version: two LMDB files from key to answer, written once, in key order.

``lookup.mdb`` holds the final JSON of every entity, so a lookup copies bytes and nothing else. ``explanations.mdb``
holds one compact MessagePack record per entity, ``[score, margin, base value, [feature values], contributions]``, where
contributions are little-endian float32 in the order of the manifest's feature columns, and for a table of classes the
class that is explained comes last; :func:`render_explanation` turns it into JSON when somebody asks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batch_scoring.domain import Column, Manifest
from batch_scoring.errors import StoreCorrupt
from batch_scoring.keys import decode_key

if TYPE_CHECKING:
    import lmdb

LONGEST_PLAIN_KEY = 480
"""LMDB keys end at 511 bytes; a longer canonical key is stored as its beginning and its hash."""

_BATCH = 5_000
_FIRST_MAP = 16 * 2**20

Value = float | int | str | bool | None


def index_key(key: str) -> bytes:
    """The bytes under which a canonical key (ASCII) is indexed. ``#`` never occurs bare in a canonical key."""
    plain = key.encode("ascii")
    if not plain:
        return b"#"  # a single empty text part; LMDB has no empty key
    if len(plain) <= LONGEST_PLAIN_KEY:
        return plain
    return plain[:400] + b"#" + sha256(plain).hexdigest().encode("ascii")


def write_index(path: Path, rows: Iterable[tuple[bytes, bytes]], *, ordered: bool) -> int:
    """Put (index key, value) rows into an LMDB file, creating it if need be. Bounded memory, any size.

    Args:
        ordered: rows come in strictly ascending order after everything already stored; packs pages full.

    Returns:
        The number of rows written.

    Raises:
        StoreCorrupt: a key comes twice, or out of order.
        lmdb.Error: the disk is full or refuses.
    """
    import lmdb

    env = lmdb.open(str(path), subdir=False, lock=False, map_size=_FIRST_MAP, metasync=False, sync=False)
    try:
        rest = iter(rows)
        written = 0
        while batch := list(islice(rest, _BATCH)):
            _put(env, path, batch, ordered=ordered)
            written += len(batch)
        return written
    finally:
        env.close()


def _put(env: lmdb.Environment, path: Path, batch: list[tuple[bytes, bytes]], *, ordered: bool) -> None:
    import lmdb

    while True:
        try:
            with env.begin(write=True) as txn, txn.cursor() as cursor:
                _, added = cursor.putmulti(batch, overwrite=False, append=ordered)
        except lmdb.MapFullError:
            env.set_mapsize(env.info()["map_size"] * 2)
            continue
        if added != len(batch):
            raise StoreCorrupt(
                f"index {path}",
                expected="every key once, in order",
                found=f"a repeated or misplaced key between {batch[0][0]!r} and {batch[-1][0]!r}",
                fix="Score every entity once and build the version again.",
            )
        return


def open_index(path: Path) -> lmdb.Environment:
    """Open an index for reading: no lock file, no read-ahead, no write permission needed, any number of threads."""
    import lmdb

    return lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, max_spare_txns=4)


def feature_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The feature columns, in the order in which records hold them."""
    return tuple(column for column in columns if column.role == "feature")


class Packer:
    """Writes explanation records of ``features`` contributions each."""

    def __init__(self, features: int) -> None:
        self._contributions = struct.Struct(f"<{features}f")
        self._encode = msgspec.msgpack.Encoder().encode

    def pack(
        self,
        score: float,
        margin: float,
        base: float,
        values: tuple[Value, ...],
        contributions: tuple[float, ...],
        decision: str | None = None,
    ) -> bytes:
        """One record. ``contributions`` has as many numbers as there are features; ``decision``: the class explained, if any."""
        record = (score, margin, base, values, self._contributions.pack(*contributions))
        return self._encode(record if decision is None else (*record, decision))


def _unpack(record: bytes) -> tuple[float, float, float, tuple[Value, ...], tuple[float, ...], str | None]:
    score, margin, base, values, packed, *decision = msgspec.msgpack.decode(record)
    return score, margin, base, values, struct.unpack(f"<{len(values)}f", packed), decision[0] if decision else None


def render_explanation(manifest: Manifest, key: str, record: bytes) -> bytes:
    """The JSON of one explanation.

    ``{"table", "key", "version", "as_of", "score", "margin", "base_value", "contributions": [{"feature",
    "description", "value", "contribution"}]}``; contributions are in the unit of the table's margins, largest effect first,
    and with ``base_value`` they add up to ``margin``. Of a table of classes, ``"decision"`` says which one is explained.
    """
    draft = manifest.draft
    score, margin, base, values, contributions, decision = _unpack(record)
    features = feature_columns(draft.columns)
    ranked = sorted(range(len(features)), key=lambda n: (-abs(contributions[n]), n))
    return msgspec.json.encode(
        {
            "table": draft.table,
            "key": dict(zip(draft.entity.key_names, decode_key(draft.entity, key), strict=True)),
            "version": manifest.version,
            "as_of": draft.as_of,
            "score": score,
            **({} if decision is None else {"decision": decision}),
            "margin": margin,
            "base_value": base,
            "contributions": [
                {
                    "feature": features[n].name,
                    "description": features[n].description,
                    "value": values[n],
                    "contribution": _shortest(contributions[n]),
                }
                for n in ranked
            ],
        }
    )


def _shortest(value: float) -> float:
    """The float with the fewest digits that is the same float32: ``0.1``, not ``0.10000000149011612``."""
    for digits in (7, 8):
        short = float(f"{value:.{digits}g}")
        if struct.unpack("<f", struct.pack("<f", short))[0] == value:
            return short
    return value


def iterate(env: lmdb.Environment) -> Iterator[tuple[bytes, bytes]]:
    """Every (index key, value) of an open index, in index order."""
    with env.begin() as txn, txn.cursor() as cursor:
        yield from cursor
