"""The power goes before every operation in turn, on a disk that keeps nothing it was not told to sync."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.drafts import DAY_ONE
from support.faulty import Counting, Forgetful, PowerCut
from support.invariants import Acknowledged, Ledger, require_erased, require_ledger
from support.scale import ROUNDS, some
from support.stores import FLIGHTS, build, build_beside_an_erasure, erase_one, new_store, put_live, roll_back

from batch_scoring.store import Reader, Store, create_store, history, prune, publish, verify, versions

Copy = Callable[..., Store]
BEFORE = [Acknowledged(id=10, live=9)]


def a_day(store: Store, note: Callable[[object], None]) -> None:
    """A version is built and published, found wrong, rolled back; old ones are pruned."""
    manifest = build(store, 10)
    note(manifest)
    note(publish(store, FLIGHTS, manifest.version, who="nightly", when=DAY_ONE, why="schedule", scheduled=True))
    note(roll_back(store))
    prune(store, FLIGHTS)
    note(put_live(store, 10))


def an_erasure(store: Store, note: Callable[[object], None]) -> None:
    """Somebody is erased from the last versions, twice to be sure."""
    note(put_live(store, 10))
    for _ in range(2):
        note(erase_one(store))
        note(history(store)[0])


def an_erasure_during_a_build(store: Store, note: Callable[[object], None]) -> None:
    """Somebody is erased when a version is built and has no name yet; then that version goes live."""
    manifest = build_beside_an_erasure(store, note)
    note(manifest)
    note(put_live(store, manifest.version))


DAYS = {"a day": a_day, "an erasure": an_erasure, "an erasure during a build": an_erasure_during_a_build}


@pytest.mark.parametrize("day", list(DAYS))
def test_a_cut_anywhere_in_a_day_loses_nothing_that_was_acknowledged(copy: Copy, tmp_path: Path, day: str) -> None:
    counted, small = Counting(), "erasure" in day
    DAYS[day](copy("counted", counted, small=small), lambda _: None)
    steps = len(counted.steps)
    assert steps > 70
    for seed in range(ROUNDS):
        for nth in some(steps + 1, every=37, first=steps):
            chance = random.Random(f"{seed}/{nth}")
            files = Forgetful(nth, tmp_path / f"graveyard-{seed}-{nth}")
            store = copy(f"{seed}-{nth}", files, small=small)
            ledger = Ledger([*BEFORE])
            try:
                DAYS[day](store, ledger.note)
            except PowerCut:
                pass
            else:
                assert nth == steps
            files.cut_power(chance)
            require_ledger(store.root, ledger)
            sound = Store(store.root)
            build(sound, 11)
            put_live(sound, versions(sound, FLIGHTS)[-1].version)
            require_erased(sound.root, ledger.erased)
            assert verify(sound) == ()
            shutil.rmtree(store.root.parent)


def test_a_cut_while_a_store_is_created_leaves_one_that_can_be_created(tmp_path: Path) -> None:
    counted = Counting()
    new_store(tmp_path / "counted", counted)
    for seed in range(ROUNDS):
        for nth in some(len(counted.steps) + 1, every=2):
            folder = tmp_path / f"{seed}-{nth}"
            folder.mkdir()
            files = Forgetful(nth, tmp_path / f"graveyard-{seed}-{nth}")
            acknowledged_it = False
            with suppress(PowerCut):
                acknowledged_it = create_store(Store(folder / "store", files), who="tester", when=DAY_ONE).id == 1
            files.cut_power(random.Random(seed))
            if acknowledged_it:
                assert Reader(folder / "store").snapshot().release.id == 1
            assert create_store(Store(folder / "store"), who="tester", when=DAY_ONE).id == 1
            assert verify(Store(folder / "store")) == ()


class Hasty(Forgetful):
    """As :class:`Forgetful`, on a store that never syncs: proves that these tests would notice."""

    def sync(self, path: Path) -> None: ...

    def sync_folder(self, path: Path) -> None: ...


def test_without_syncs_these_cuts_do_lose_acknowledged_releases(copy: Copy, tmp_path: Path) -> None:
    lost = 0
    for seed in range(2):
        files = Hasty(10_000, tmp_path / f"graveyard-{seed}")
        store = copy(f"hasty-{seed}", files)
        ledger = Ledger([*BEFORE])
        a_day(store, ledger.note)
        files.cut_power(random.Random(seed))
        try:
            require_ledger(store.root, ledger)
        except Exception:  # noqa: BLE001 -- however it shows
            lost += 1
    assert lost > 0


def test_the_forgetful_disk_gives_back_what_was_synced_and_only_that(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    for seed in range(20):
        files = Forgetful(100, tmp_path / f"graveyard-{seed}")
        folder = root / str(seed)
        folder.mkdir()
        files.write(folder / "kept", b"kept")
        files.sync(folder / "kept")
        files.sync_folder(folder)
        files.write(folder / "maybe", b"maybe")
        files.rename(folder / "kept", folder / "renamed")
        files.cut_power(random.Random(seed))
        names = {path.name for path in folder.iterdir()}
        assert names in ({"kept"}, {"kept", "maybe"}, {"renamed", "maybe"})
        assert (folder / min(names - {"maybe"})).read_bytes() == b"kept"


@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_goes_backwards_changes_no_order(copy: Copy, seed: int) -> None:
    from datetime import timedelta

    store = copy("clock")
    when = DAY_ONE - timedelta(days=1000 * (seed + 1))
    published = publish(store, FLIGHTS, versions(store, FLIGHTS)[-1].version, who="tester", when=when, why="an odd clock")
    assert published.id == 11
    assert Reader(store.root).snapshot().served(FLIGHTS).live == 10
    assert roll_back(store).tables[FLIGHTS].live == 9
