"""The store against a model of a few lines: any order of everything that can be asked of it, crashes and readers in between."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.drafts import FAILED, PASSED, staged_version
from support.faulty import Crashing, Failing, Forgetful, PowerCut, Watched
from support.scale import ROUNDS
from support.stores import FLIGHTS, build, build_and_publish, clone, erase_one, new_store, put_live, roll_back, scratch

from batch_scoring.domain import Staged, VersionId
from batch_scoring.errors import ForetableError, GateFailed, StoreConflict, UnknownVersion
from batch_scoring.store import Reader, Snapshot, Store, build_version, prune, repair, verify, version_folder, versions
from batch_scoring.store.layout import numbers_in
from batch_scoring.store.tombstones import read_tombstones

KEYS = (("UA", 1000), ("AA", 999), ("9E", 998))
ERASABLE = ("AA/999", "9E/998")
Refusal = type[ForetableError] | None


@dataclass(slots=True)
class Model:
    """What the store should say: nothing but lists and sets. A verb answers with the refusal to expect."""

    days: dict[int, int] = field(default_factory=dict)
    good: set[int] = field(default_factory=set)
    lives: list[int] = field(default_factory=list)
    shadow: int | None = None
    barred: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    releases: int = 1

    @property
    def live(self) -> int | None:
        return self.lives[-1] if self.lives else None

    @property
    def kept(self) -> list[int]:
        return sorted(set(self.days) - self.gone)

    def publish(self, version: int, *, channel: str = "live", scheduled: bool = False, force: bool = False) -> Refusal:
        if version == (self.live if channel == "live" else self.shadow):
            return None
        if version not in self.kept:
            return UnknownVersion
        if version not in self.good:
            return GateFailed
        if version in self.barred and not force:
            return StoreConflict
        earlier = [self.days[each] for each in {self.live, *self.barred} if each in self.kept]
        if scheduled and earlier and self.days[version] <= max(earlier):
            return StoreConflict
        self.releases += 1
        self.barred.discard(version)
        if channel == "shadow":
            self.shadow = version
        else:
            self.lives.append(version)
            self.shadow = None if self.shadow == version else self.shadow
        return None

    def roll_back(self, to: int | None = None) -> Refusal:
        if self.live is None:
            return UnknownVersion
        if to == self.live:
            return None
        if to is None:
            to = next((each for each in reversed(self.lives) if each in set(self.kept) - {self.live} - self.barred), -1)
        if to not in self.kept:
            return UnknownVersion
        if to in self.barred:
            return StoreConflict
        if to not in self.good:
            return GateFailed
        self.barred.add(self.live)
        self.lives.append(to)
        self.releases += 1
        return None

    def prune(self, leased: set[int]) -> None:
        lives = [each for each in dict.fromkeys(reversed(self.lives)) if each in self.kept]
        others = [each for each in reversed(self.kept) if each not in self.lives]
        good = [each for each in self.kept if each in self.good - self.barred]
        newest = {max(good, key=lambda each: (self.days[each], each))} if good else set()
        needed = {*lives[:7], *others[:7], self.live, self.shadow, *newest, *self.kept[-1:], *leased}
        self.gone |= set(self.kept) - needed

    def erase(self, key: str) -> None:
        self.releases += key not in self.erased
        self.erased.add(key)


class Beside(Watched):
    """A reader at work between any two operations of a writer."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look

    def before(self, step: str, path: Path) -> None:
        self.look()


@cache
def template(grown: bool) -> Path:
    """An empty store, or one in which versions 1 to 9 were live in turn."""
    store = new_store(scratch())
    for day in range(9 if grown else 0):
        build_and_publish(store, day, keys=KEYS, seed=0)
    return store.root


@cache
def _staged(day: int) -> Staged:
    return staged_version(scratch(), keys=KEYS, day=day, seed=0)


@cache
def _built(number: int, day: int, passes: bool, erased: frozenset[str]) -> Path:
    """A version that was built once: the same rows and number give the same bytes, so it may be given to many stores."""
    store = new_store(scratch())
    for key in sorted(erased):
        (store.root / "tables" / FLIGHTS / "versions").mkdir(parents=True, exist_ok=True)
        erase_one(store, key=key)
    (store.root / "tables" / FLIGHTS / "versions" / f"{number - 1:06d}").mkdir(parents=True)
    version = build(store, day, keys=KEYS, seed=0, gates=(PASSED if passes else FAILED,)).version
    assert version == number
    return version_folder(store.root, FLIGHTS, version)


class StoreMachine(RuleBasedStateMachine):
    @initialize(grown=st.booleans())
    def begin(self, grown: bool) -> None:
        self.folder = scratch()
        root = clone(template(grown), self.folder / "store")
        numbers = range(1, 10 if grown else 1)
        self.model = Model(
            days={each: each - 1 for each in numbers}, good=set(numbers), lives=[*numbers], releases=len(numbers) + 1
        )
        self.reader = Reader(root)
        self.store = Store(root, Beside(self.look), 0.5)
        self.held: list[tuple[Snapshot, int]] = []
        self.seen = 0
        self.tidy = True

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.held.clear()
            del self.reader
            self.mend()
            shutil.rmtree(self.folder)

    def mend(self) -> None:
        """What an operator does after a crash; nothing but leftovers may have been there to repair."""
        found = verify(self.store)
        assert all(finding.harmless for finding in found), found
        if repair(Store(self.store.root)) or found:
            assert verify(self.store) == ()

    def look(self) -> None:
        """One answer of a reader beside whatever is going on: of one version, and never of an older release than before."""
        snapshot = self.reader.snapshot()
        assert snapshot.release.id >= self.seen
        self.seen = snapshot.release.id
        self.require_one_version(snapshot)

    def require_one_version(self, snapshot: Snapshot) -> int | None:
        live = snapshot.served(FLIGHTS).live
        if live is not None:
            answer = json.loads(snapshot.prediction(FLIGHTS, "UA/1000") or b"{}")
            why = json.loads(snapshot.explanation(FLIGHTS, "UA/1000") or b"{}")
            assert (answer["version"], why["version"], snapshot.manifest(FLIGHTS).version) == (live, live, live)
            assert answer["score"] == why["score"]
        return live

    def leased(self) -> set[int]:
        return {live for _, live in self.held} | {self.model.live or 0}

    def expect(self, refusal: Refusal, act: Callable[[], object]) -> None:
        if refusal is None:
            act()
        else:
            with pytest.raises(refusal):
                act()

    @rule(day=st.integers(0, 19), passes=st.sampled_from([True, True, True, False]), afresh=st.integers(0, 7))
    def build(self, day: int, passes: bool, afresh: int) -> None:
        number = max([0, *self.model.days, *self.numbers()]) + 1
        if afresh == 0:
            staged = _staged(day)
            draft = replace(staged.draft, gates=(PASSED if passes else FAILED,))
            assert build_version(self.store, replace(staged, draft=draft)).version == number
        else:
            folder = version_folder(self.store.root, FLIGHTS, VersionId(number))
            clone(_built(number, day, passes, frozenset(self.model.erased)), folder)
        self.model.days[number] = day
        if passes:
            self.model.good.add(number)

    @precondition(lambda self: self.model.days)
    @rule(data=st.data(), channel=st.sampled_from(["live", "live", "shadow"]), scheduled=st.booleans(), force=st.booleans())
    def publish(self, data: st.DataObject, channel: str, scheduled: bool, force: bool) -> None:
        version = data.draw(st.sampled_from([*self.model.days, max(self.model.days) + 1]))
        refusal = self.model.publish(version, channel=channel, scheduled=scheduled, force=force)
        self.expect(refusal, lambda: put_live(self.store, version, channel=channel, scheduled=scheduled, force=force))

    @precondition(lambda self: self.model.shadow is not None)
    @rule()
    def promote(self) -> None:
        version = self.model.shadow or 0
        self.expect(self.model.publish(version), lambda: put_live(self.store, version))

    @precondition(lambda self: self.model.lives)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        to = data.draw(st.none() | st.sampled_from([*self.model.days, max(self.model.days) + 1]))
        self.expect(self.model.roll_back(to), lambda: roll_back(self.store, to=to))

    @precondition(lambda self: self.model.lives)
    @rule(stale=st.integers(1, 3))
    def publish_on_a_stale_release(self, stale: int) -> None:
        with pytest.raises(StoreConflict, match="Somebody published first"):
            put_live(self.store, self.model.live or 0, expected=self.model.releases - stale)

    @precondition(lambda self: self.model.days)
    @rule()
    def prune(self) -> None:
        before = set(self.model.gone)
        self.model.prune(self.leased())
        assert set(prune(self.store, FLIGHTS).versions) == self.model.gone - before

    @precondition(lambda self: self.model.days)
    @rule(key=st.sampled_from(ERASABLE))
    def erase(self, key: str) -> None:
        held = len(self.model.kept) if key not in self.model.erased else 0
        assert erase_one(self.store, key=key).rows == held
        self.model.erase(key)

    @precondition(lambda self: self.model.days)
    @rule(
        verb=st.sampled_from(["build", "publish", "roll back", "prune", "erase"]),
        nth=st.integers(0, 30) | st.integers(0, 300),
        power=st.booleans(),
        mend=st.booleans(),
        chance=st.integers(0, 2**16),
    )
    def crash(self, verb: str, nth: int, power: bool, mend: bool, chance: int) -> None:
        """The process is killed, or the machine loses its power, before the ``nth`` operation of a verb."""
        files = Forgetful(nth, self.folder / "graveyard") if power else Crashing(nth)
        store, before = Store(self.store.root, files, 0.5), self.model.releases
        expected = self.fresh_model()
        version = max(expected.good & set(expected.kept), default=0)
        key = ERASABLE[chance % 2]
        act: Callable[[], object]
        refusal: Refusal = None
        match verb:
            case "build":
                staged = _staged(chance % 20)
                act = lambda: build_version(store, staged)  # noqa: E731
            case "publish":
                refusal = expected.publish(version, force=True)
                act = lambda: put_live(store, version, force=True)  # noqa: E731
            case "roll back":
                refusal = expected.roll_back()
                act = lambda: roll_back(store)  # noqa: E731
            case "prune":
                expected.prune(self.leased())
                act = lambda: prune(store, FLIGHTS)  # noqa: E731
            case _:
                expected.erase(key)
                act = lambda: erase_one(store, key=key)  # noqa: E731
        crashed = False
        try:
            self.expect(refusal, act)
        except PowerCut:
            crashed = True
        if power:  # that of a verb that returned too: what it acknowledged must be on the disk
            self.held.clear()
            files.cut_power(random.Random(chance))  # type: ignore[attr-defined]
        for erased in self.model.erased:
            assert self.is_known_erased(erased)
        self.reader, self.seen = Reader(self.store.root), 0
        if crashed and (mend or verb == "erase"):
            self.mend()
            self.tidy = True
        elif crashed or power:
            self.tidy = False
        self.learn(verb, expected, before, crashed=crashed, key=key, day=chance % 20)

    def fresh_model(self) -> Model:
        model = self.model
        return Model(
            dict(model.days), set(model.good), list(model.lives), model.shadow, set(model.barred), set(model.gone),
            set(model.erased), model.releases,
        )  # fmt: skip

    def learn(self, verb: str, expected: Model, before: int, *, crashed: bool, key: str, day: int) -> None:
        """What was cut short either happened or did not; the model follows, and nothing in between is accepted."""
        release = Reader(self.store.root).snapshot().release
        there = {each.version for each in versions(self.store, FLIGHTS)}
        match verb:
            case "build":
                fresh = there - set(self.model.days)
                assert len(fresh) == 1 or (crashed and not fresh)
                for number in fresh:
                    self.model.days[number] = day
                    self.model.good.add(number)
            case "prune":
                assert expected.gone >= set(self.model.days) - there >= self.model.gone
                assert crashed or set(self.model.days) - there == expected.gone
                self.model.gone = set(self.model.days) - there
            case "erase":
                known = self.is_known_erased(key)
                assert known or crashed
                self.model = expected if known else self.model
            case _:
                assert release.id > before or crashed or expected.releases == before
                self.model = expected if release.id > before else self.model
        assert release.id >= before
        self.model.releases = release.id

    def numbers(self) -> list[int]:
        """Every number that a folder of the table has, finished or not."""
        parent = self.store.root / "tables" / FLIGHTS / "versions"
        return [*numbers_in(parent), *numbers_in(parent, "building-")]

    def is_known_erased(self, key: str) -> bool:
        """Whether the entity has a tombstone."""
        tombstones = read_tombstones(self.store.root, FLIGHTS)
        return tombstones is not None and tombstones.hash_of(key) in {entry.hash for entry in tombstones.entries}

    @precondition(lambda self: self.model.good & set(self.model.kept))
    @rule(nth=st.integers(0, 14), late=st.booleans(), code=st.sampled_from([5, 28, 4, 13]))
    def publish_on_a_failing_disk_then_repair(self, nth: int, late: bool, code: int) -> None:
        version = max(self.model.good & set(self.model.kept))
        expected = self.fresh_model()
        refusal = expected.publish(version, force=True)
        assert refusal is None
        failed = False
        try:
            put_live(Store(self.store.root, Failing(nth, code, late=late)), version, force=True)
        except ForetableError:
            failed = True
            repair(Store(self.store.root))
        self.learn("publish", expected, self.model.releases, crashed=failed, key="", day=0)

    @precondition(lambda self: self.model.live is not None and len(self.held) < 3)
    @rule()
    def hold_a_snapshot(self) -> None:
        self.held.append((self.reader.snapshot(), self.model.live or 0))

    @precondition(lambda self: self.held)
    @rule()
    def let_a_snapshot_go(self) -> None:
        self.held.pop(0)

    @rule()
    def open_the_store_anew(self) -> None:
        self.reader = Reader(self.store.root)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        model, snapshot = self.model, self.reader.snapshot()
        served = snapshot.served(FLIGHTS)
        assert (served.live, served.shadow, set(served.barred)) == (model.live, model.shadow, model.barred)
        if self.tidy:
            assert snapshot.release.id == model.releases
        else:  # what was cut short may leave a gap in the numbers, never a number that means two things
            assert snapshot.release.id >= model.releases
            model.releases = snapshot.release.id
        assert self.require_one_version(snapshot) == model.live
        if model.days:
            manifests = versions(self.store, FLIGHTS)
            assert [each.version for each in manifests] == model.kept
            assert {each.draft.rows for each in manifests} == {len(KEYS) - len(model.erased)}
        if model.live is not None:
            for key in ERASABLE:
                assert key not in model.erased or self.is_known_erased(key)
                assert (snapshot.prediction(FLIGHTS, key) is None) == (key in model.erased)
                assert (snapshot.explanation(FLIGHTS, key) is None) == (key in model.erased)

    @invariant()
    def snapshots_still_say_what_they_said(self) -> None:
        for snapshot, live in getattr(self, "held", []):
            assert self.require_one_version(snapshot) == live


StoreMachine.TestCase.settings = settings(max_examples=8 * ROUNDS, stateful_step_count=10, deadline=None)
TestStoreAgainstItsModel = StoreMachine.TestCase
