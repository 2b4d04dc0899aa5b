"""What must hold of a store after anything that can happen to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from support.stores import FLIGHTS

from batch_scoring.domain import Release
from batch_scoring.store import Reader, Store, history, repair, verify


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A release that a publish or a rollback returned, as an outside ledger keeps it."""

    id: int
    live: int | None


def acknowledged(release: Release, table: str = FLIGHTS) -> Acknowledged:
    """What a ledger keeps of a release."""
    served = release.tables.get(table)  # type: ignore[call-overload]
    return Acknowledged(release.id, served.live if served else None)


def require_whole(root: Path, ledger: list[Acknowledged]) -> Release:
    """The current release names whole versions, every acknowledged release is in its history, and nothing but rubbish is left.

    Repairs the store as an operator would, and requires that to change neither.
    """
    store = Store(root)
    before = _require_history(store, ledger)
    harm = [finding for finding in verify(store) if not finding.harmless]
    assert not harm, harm
    repair(store)
    assert verify(store) == ()
    after = _require_history(store, ledger)
    assert after == before or (after.action.kind, after.tables) == ("erase", before.tables)  # finished by the repair
    return after


def _require_history(store: Store, ledger: list[Acknowledged]) -> Release:
    releases = {release.id: release for release in history(store)}
    for entry in ledger:
        assert entry.id in releases, f"acknowledged release {entry.id} is lost; kept: {sorted(releases)}"
        assert acknowledged(releases[entry.id]) == entry
    snapshot = Reader(store.root).snapshot()
    if ledger:
        assert snapshot.release.id >= max(entry.id for entry in ledger)
    live = snapshot.served(FLIGHTS).live
    if live is not None:
        answer = json.loads(snapshot.prediction(FLIGHTS, "UA/1000") or b"{}")
        why = json.loads(snapshot.explanation(FLIGHTS, "UA/1000") or b"{}")
        assert {answer["version"], why["version"], snapshot.manifest(FLIGHTS).version} == {live}
        assert answer["score"] == why["score"]
    return snapshot.release
