"""Every operation of every verb fails once, in turn: nothing acknowledged is lost, and the verb works when tried again."""

from __future__ import annotations

import errno
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.drafts import DAY_ONE, staged_version
from support.faulty import Counting, Crashing, Failing, PowerCut
from support.invariants import Acknowledged, Ledger, require_erased, require_ledger, require_whole
from support.scale import some
from support.stores import FLIGHTS, build, build_beside_an_erasure, erase_one, new_store, put_live, roll_back

from batch_scoring.errors import StoreUnavailable
from batch_scoring.store import Store, build_version, create_store, find_erased, prune, verify, versions

Copy = Callable[..., Store]
Note = Callable[[object], object]

VERBS: dict[str, Callable[[Store, Note], object]] = {
    "build": lambda store, _: build(store, 10),
    "publish": lambda store, _: put_live(store, 10),
    "rollback": lambda store, _: roll_back(store),
    "prune": lambda store, _: prune(store, FLIGHTS),
    "erase": lambda store, _: erase_one(store),
    "build beside an erasure": build_beside_an_erasure,
}
"""What each returns is noted by the caller; what is acknowledged before that, by itself."""
SMALL = ("erase", "build beside an erasure")
CODES = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EACCES)
BEFORE = [Acknowledged(id=10, live=9)]


def steps_of(copy: Copy, verb: str) -> list[str]:
    files = Counting()
    VERBS[verb](copy("counted", files, small=verb in SMALL), lambda _: None)
    return files.steps


def done_and_whole(store: Store, verb: str) -> None:
    """The verb has had its effect and the store holds."""
    release = require_whole(store.root, BEFORE)
    live = release.tables[FLIGHTS].live
    match verb:
        case "build":
            assert versions(store, FLIGHTS)[-1].version >= 11
        case "publish":
            assert live == 10
        case "rollback":
            assert live in (7, 8)  # 7 if the flip of the failed attempt had reached the disk after all
        case "erase":
            assert find_erased(store, FLIGHTS, ["AA/999"]) == ()
            assert {each.draft.rows for each in versions(store, FLIGHTS)} == {19}
        case "build beside an erasure":
            assert versions(store, FLIGHTS)[-1].version >= 11
            assert find_erased(store, FLIGHTS, ["AA/999"]) == ()
        case "prune":
            assert [each.version for each in versions(store, FLIGHTS)] == list(range(3, 11))


@pytest.mark.parametrize("late", [False, True], ids=["refused", "half done"])
@pytest.mark.parametrize("verb", list(VERBS))
def test_any_single_failure_loses_nothing_and_the_next_attempt_succeeds(copy: Copy, verb: str, late: bool) -> None:
    steps = steps_of(copy, verb)
    assert len(steps) >= 15
    for nth in some(len(steps), every=25 if verb in SMALL else 3, first=late):
        files = Failing(nth, CODES[nth % len(CODES)], late=late)
        store = copy(f"{nth}", files, small=verb in SMALL)
        ledger = Ledger([*BEFORE])
        try:
            result = VERBS[verb](store, ledger.note)
        except StoreUnavailable:
            pass
        else:  # a failure in cleaning up after success may be survived, but then the result stands
            assert files.fired
            ledger.note(result)
        assert files.fired, steps[nth]
        require_ledger(store.root, ledger)
        sound = Store(store.root)
        VERBS[verb](sound, ledger.note)
        require_erased(sound.root, ledger.erased)
        done_and_whole(sound, verb)
        shutil.rmtree(store.root.parent)


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_disk_that_fails_for_good_loses_nothing(copy: Copy, verb: str) -> None:
    steps = steps_of(copy, verb)
    for nth in some(len(steps), every=29 if verb in SMALL else 6):
        store = copy(f"{nth}", Failing(nth, errno.ENOSPC, forever=True), small=verb in SMALL)
        ledger = Ledger([*BEFORE])
        with pytest.raises(StoreUnavailable, match="expected free disk space"):
            VERBS[verb](store, ledger.note)
        release = require_ledger(store.root, ledger)
        assert nth >= len(steps) - 1 or verb in ("prune", *SMALL) or release.tables[FLIGHTS].live == 9
        shutil.rmtree(store.root.parent)


def test_a_store_whose_creation_failed_anywhere_can_be_created_after_all(tmp_path: Path) -> None:
    files = Counting()
    new_store(tmp_path / "counted", files)
    for nth in range(len(files.steps)):
        store = Store(tmp_path / str(nth) / "store", Failing(nth, errno.EIO, forever=True))
        with pytest.raises(StoreUnavailable):
            create_store(store, who="tester", when=DAY_ONE)
        sound = Store(store.root)
        assert create_store(sound, who="tester", when=DAY_ONE).id == 1
        assert verify(sound) == ()


def test_a_publish_that_could_not_make_its_flip_durable_does_so_when_tried_again(copy: Copy) -> None:
    last = len(steps_of(copy, "publish")) - 1
    store = copy("flipped", Failing(last, errno.EIO))
    with pytest.raises(StoreUnavailable):
        put_live(store, 10)
    again = Counting()
    assert put_live(Store(store.root, again), 10).id == 11
    assert again.steps[-1] == "sync_folder store"


@pytest.mark.parametrize("verb", ["build", "publish"])
def test_a_file_system_that_is_truly_full_loses_nothing(copy: Copy, tmp_path: Path, verb: str) -> None:
    """A limit on file size stops DuckDB and LMDB in the middle of a write, as a full disk does."""
    staged = staged_version(tmp_path / "staged", day=10)
    act: Callable[[Store], object] = (
        (lambda store: put_live(store, 10)) if verb == "publish" else (lambda store: build_version(store, staged))
    )
    store = copy("full")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1_000, 2_000, 5_000, 12_000, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(StoreUnavailable, match=r"expected free disk space|full or failing disk"):
                act(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        require_whole(store.root, BEFORE)
    signal.signal(signal.SIGXFSZ, before)
    act(store)
    done_and_whole(store, verb)


def test_the_same_call_finishes_an_erasure_that_was_killed_anywhere(copy: Copy) -> None:
    """Nobody repairs anything in between."""
    steps = steps_of(copy, "erase")
    exchanged = [nth for nth, step in enumerate(steps) if step.startswith("exchange")]
    for nth in sorted({*some(len(steps), every=21), *(nth + 1 for nth in exchanged)}):
        store = copy(f"{nth}", Crashing(nth), small=True)
        with pytest.raises(PowerCut):
            erase_one(store)
        sound = Store(store.root)
        erase_one(sound)
        require_erased(store.root, ["AA/999"])
        assert find_erased(sound, FLIGHTS, ["AA/999"]) == (), steps[nth]
        assert not list(store.root.glob(f"tables/{FLIGHTS}/versions/building-*")), steps[nth]
        shutil.rmtree(store.root.parent)
