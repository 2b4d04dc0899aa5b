"""What must hold of a store after anything that can happen to it, and what kind of harm it is when it does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
from support.stores import ERASABLE, FLIGHTS

from batch_scoring.domain import EXPLANATION_INDEX, EXPLANATIONS, FEATURES, INDEX, PREDICTIONS, Manifest, Release
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store import Erasure, Finding, Reader, Store, history, repair, verify, version_folder
from batch_scoring.store.index import index_key
from batch_scoring.store.layout import version_ids
from batch_scoring.store.reader import open_version
from batch_scoring.store.tombstones import read_tombstones

DATA = (PREDICTIONS, EXPLANATIONS, FEATURES)


class Lost(AssertionError):
    """Something that was acknowledged is gone, or its bytes have changed."""


class Mixed(AssertionError):
    """An answer was put together from two versions."""


class Unrecovered(AssertionError):
    """The store was not clean and did not become so, or a rule was broken."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A release that a publish or a rollback returned, as an outside ledger keeps it."""

    id: int
    live: int | None


def acknowledged(release: Release, table: str = FLIGHTS) -> Acknowledged:
    """What a ledger keeps of a release."""
    served = release.tables.get(table)  # type: ignore[call-overload]
    return Acknowledged(release.id, served.live if served else None)


@dataclass(frozen=True, slots=True)
class Said:
    """What a version answers: a hash over everybody but those whom tests erase, and what it says of each of those."""

    others: str
    erasable: dict[bytes, tuple[bytes, ...]]


def witness(root: Path) -> dict[int, Said]:
    """What each kept version says, in answers and explanations."""
    apart = {index_key(key) for key in ERASABLE}
    found = {}
    for version in version_ids(root, FLIGHTS):
        held = open_version(root, FLIGHTS, version)
        rows = [row for rows in (held.lookup_rows(), held.explanation_rows()) for row in rows]
        others = sha256(b"".join(key + value for key, value in rows if key not in apart)).hexdigest()
        said: dict[bytes, tuple[bytes, ...]] = {}
        for key, value in rows:
            if key in apart:
                said[key] = (*said.get(key, ()), value)
        found[int(version)] = Said(others, said)
    return found


@dataclass(slots=True)
class Ledger:
    """What a process was told, written down outside the store."""

    releases: list[Acknowledged]
    newest: int = 0
    erased: set[str] = field(default_factory=set)

    def note(self, result: object) -> None:
        """Write down what a verb returned: a release, a version, or that :func:`support.stores.erase_one` erased its entity."""
        match result:
            case Release():
                self.releases.append(acknowledged(result))
            case Manifest():
                self.newest = max(self.newest, result.version)
            case Erasure():
                self.erased.add(ERASABLE[0])


def read_ledger(path: Path, releases: Iterable[Acknowledged]) -> Ledger:
    """A ledger as :mod:`support.zygote` writes it, after the releases that were there before."""
    ledger = Ledger([*releases])
    for line in path.read_text().splitlines() if path.exists() else ():
        match line.split():
            case ["release", number, live]:
                ledger.releases.append(Acknowledged(int(number), int(live)))
            case ["version", number]:
                ledger.newest = int(number)
            case ["erased", key]:
                ledger.erased.add(key)
            case _:
                raise ValueError(line)
    return ledger


def require_ledger(root: Path, ledger: Ledger, before: dict[int, Said] | None = None) -> Release:
    """As :func:`require_whole`, for versions and erasures that were acknowledged too, before anything is repaired and after."""
    require_erased(root, ledger.erased)
    release = require_whole(root, ledger.releases, before)
    numbers = version_ids(root, FLIGHTS)
    if ledger.newest > max(numbers):
        raise Lost(f"version {ledger.newest} was acknowledged; kept: {numbers}")
    require_erased(root, ledger.erased)
    return release


def require_erased(root: Path, keys: Iterable[str]) -> None:
    """Each key has its tombstone, and is in no data file and no index of any version.

    Raises:
        Lost: an erasure that was acknowledged is forgotten, or was undone.
    """
    gone = set(keys)
    if not gone:
        return
    if forgotten := gone - known_erased(root, gone):
        raise Lost(f"erased, and no tombstone: {sorted(forgotten)}")
    for version in version_ids(root, FLIGHTS):
        folder, held = version_folder(root, FLIGHTS, version), open_version(root, FLIGHTS, version)
        found = {name: gone & set(pq.read_table(folder / name, columns=["key"])["key"].to_pylist()) for name in DATA}
        found[INDEX] = {key for key in gone if held.prediction(key) is not None}
        found[EXPLANATION_INDEX] = {key for key in gone if held.explanation(key) is not None}
        if any(found.values()):
            raise Lost(f"erased, and in version {version}: {found}")


def known_erased(root: Path, keys: Iterable[str]) -> set[str]:
    """Those of some keys that have a tombstone."""
    try:
        tombstones = read_tombstones(root, FLIGHTS)
    except StoreCorrupt as error:
        raise Lost(f"the tombstones: {error}") from error
    hashes = {entry.hash for entry in tombstones.entries} if tombstones else set()
    return {key for key in keys if tombstones and tombstones.hash_of(key) in hashes}


def require_whole(root: Path, ledger: list[Acknowledged], before: dict[int, Said] | None = None) -> Release:
    """The current release names whole versions, every acknowledged release is in its history, and nothing but rubbish is left.

    Repairs the store as an operator would, and requires that to change neither.

    Args:
        before: the :func:`witness` of what was there: it must still say the same, and nothing may be gone that retention keeps.

    Raises:
        Lost, Mixed, Unrecovered: each for what it says.
    """
    store = Store(root)
    release = _require_history(store, ledger)
    _require_sound([finding for finding in verify(store) if not finding.harmless])
    repair(store)
    _require_sound(verify(store))
    after = _require_history(store, ledger)
    finished = (after.action.kind, after.tables) == ("erase", release.tables)
    if after != release and not finished:
        raise Unrecovered(f"the repair changed release {release.id} to {after.id}")
    if before is not None:
        _require_same(store, before)
    return after


def _require_sound(findings: Iterable[Finding]) -> None:
    found = tuple(findings)
    if any("/versions/0" in finding.path for finding in found):
        raise Lost(str(found))
    if found:
        raise Unrecovered(str(found))


def _require_history(store: Store, ledger: list[Acknowledged]) -> Release:
    releases = {release.id: release for release in history(store)}
    for entry in ledger:
        if entry.id not in releases or acknowledged(releases[entry.id]) != entry:
            raise Lost(f"acknowledged release {entry.id}; kept: {sorted(releases)}")
    snapshot = Reader(store.root).snapshot()
    if ledger and snapshot.release.id < max(entry.id for entry in ledger):
        raise Lost(f"current is {snapshot.release.id}, after {ledger[-1]} was acknowledged")
    live = snapshot.served(FLIGHTS).live
    if live is not None:
        answer = json.loads(snapshot.prediction(FLIGHTS, "UA/1000") or b"{}")
        why = json.loads(snapshot.explanation(FLIGHTS, "UA/1000") or b"{}")
        if {answer["version"], why["version"], snapshot.manifest(FLIGHTS).version} != {live} or answer["score"] != why["score"]:
            raise Mixed(f"version {live} answers {answer} and {why}")
    return snapshot.release


def _require_same(store: Store, before: dict[int, Said]) -> None:
    now, gone = witness(store.root), {index_key(key) for key in known_erased(store.root, ERASABLE)}
    expected = {
        version: Said(said.others, {key: values for key, values in said.erasable.items() if key not in gone})
        for version, said in before.items()
    }
    changed = [version for version in now if expected.get(version, now[version]) != now[version]]
    if changed:
        raise Lost(f"versions {changed} answer otherwise than before")
    lives = dict.fromkeys(release.tables[FLIGHTS].live for release in history(store) if FLIGHTS in release.tables)
    served = history(store)[0].tables[FLIGHTS]
    last = [version for version in lives if version is not None and version in {*before, *now}][:7]
    missing = {version for version in (*last, served.live, served.shadow) if version is not None} - set(now)
    if missing:
        raise Lost(f"versions {sorted(missing)} are gone, though retention keeps them")
