"""What retention promises: seven served versions at least, and nothing that somebody needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.drafts import FAILED, PASSED, draft_version
from support.stores import FLIGHTS, build, build_and_publish, put_live, roll_back

from batch_scoring.declare import Retention
from batch_scoring.domain import Manifest, Served, VersionId
from batch_scoring.errors import DeclarationError
from batch_scoring.store import Files, Reader, Store, history, prune, verify, version_folder, versions
from batch_scoring.store.retention import Pruned, surplus_versions


def kept(store: Store) -> list[int]:
    return [manifest.version for manifest in versions(store, FLIGHTS)]


def test_the_last_served_versions_are_kept_and_older_ones_go(nine: Store) -> None:
    assert prune(nine, FLIGHTS).versions == (1, 2)
    assert kept(nine) == [3, 4, 5, 6, 7, 8, 9]
    assert prune(nine, FLIGHTS).versions == ()
    assert verify(nine) == ()


def test_fewer_than_seven_versions_cannot_be_asked_for() -> None:
    with pytest.raises(DeclarationError, match="expected 7 or more, found 6"):
        Retention(versions=6)


def test_a_prune_says_what_it_freed_and_a_dry_run_what_it_would(nine: Store) -> None:
    def used() -> int:
        return sum(path.stat().st_size for path in nine.root.glob("tables/*/versions/*/*"))

    held = Reader(nine.root).snapshot()._version(FLIGHTS, 2)
    planned = prune(nine, FLIGHTS, dry_run=True)
    assert kept(nine) == list(range(1, 10))
    before = used()
    done = prune(nine, FLIGHTS)
    assert done == planned == Pruned(versions=(VersionId(1),), bytes=before - used(), leased=(VersionId(2),))
    assert done.bytes > 0
    del held


def test_bytes_that_a_kept_version_shares_are_not_counted_as_freed(nine: Store, tmp_path: Path) -> None:
    model = version_folder(nine.root, FLIGHTS, VersionId(1)) / "model.ubj"
    alone = prune(nine, FLIGHTS, dry_run=True).bytes
    (tmp_path / "second name").hardlink_to(model)
    assert prune(nine, FLIGHTS, dry_run=True).bytes == alone - model.stat().st_size


def test_more_are_kept_by_number_age_or_bytes_and_never_fewer_than_seven(nine: Store) -> None:
    def gone(keep: Retention) -> tuple[int, ...]:
        return prune(nine, FLIGHTS, keep, dry_run=True).versions

    one = sum(path.stat().st_size for path in version_folder(nine.root, FLIGHTS, VersionId(1)).iterdir())
    everything = sum(path.stat().st_size for path in nine.root.glob("tables/*/versions/*/*"))
    assert gone(Retention(versions=8)) == (1,)
    assert gone(Retention(versions=9)) == gone(Retention(versions=1_000)) == ()
    assert gone(Retention(days=1)) == (1, 2)  # seven stay however old
    assert gone(Retention(days=8)) == (1,)
    assert gone(Retention(days=9)) == gone(Retention(days=10**12)) == ()
    assert gone(Retention(bytes=1)) == gone(Retention(bytes=everything - one - 1)) == (1, 2)
    assert gone(Retention(bytes=everything - 1)) == (1,)
    assert gone(Retention(bytes=everything)) == ()
    assert gone(Retention(versions=9, days=8)) == gone(Retention(versions=8, bytes=everything)) == (1,)


def test_history_outlives_the_versions_it_speaks_of(nine: Store) -> None:
    prune(nine, FLIGHTS)
    assert [release.id for release in history(nine)] == list(range(10, 0, -1))


def test_catalogs_of_releases_whose_versions_are_gone_go_too(nine: Store) -> None:
    prune(nine, FLIGHTS)
    catalogs = sorted(path.parent.name for path in (nine.root / "releases").glob("*/predictions.duckdb"))
    assert catalogs == [f"{number:06d}" for number in (1, 4, 5, 6, 7, 8, 9, 10)]
    assert len(list((nine.root / "releases").glob("*/release.json"))) == 10


def test_the_current_catalog_still_answers_after_a_prune(store: Store) -> None:
    for day in range(9):
        build_and_publish(store, day)
    prune(store, FLIGHTS)
    with duckdb.connect(store.root / "current" / "predictions.duckdb", read_only=True) as con:
        found = con.sql("SELECT DISTINCT version FROM flight_delays_all_versions ORDER BY ALL").fetchall()
        assert found == [(number,) for number in range(3, 10)]
        assert con.sql("SELECT count(*) FROM flight_delays_as_of('2013-03-01 12:00+00')").fetchall() == [(0,)]


def test_a_version_that_a_reader_of_this_process_has_open_stays(nine: Store) -> None:
    snapshot = Reader(nine.root).snapshot()
    assert snapshot.manifest(FLIGHTS, 1).version == 1
    held = snapshot._version(FLIGHTS, 1)
    assert prune(nine, FLIGHTS).versions == (2,)
    assert b'"version":1' in (held.prediction("UA/1000") or b"")
    del held
    assert prune(nine, FLIGHTS).versions == (1,)


_HOLD = """
import sys
from pathlib import Path
from batch_scoring.store import Files, Reader
held = Reader(Path(sys.argv[1])).snapshot()._version("flight_delays", 1)
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_version_that_another_process_has_open_stays_until_that_process_ends_however_it_ends(nine: Store) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(nine.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        assert prune(nine, FLIGHTS).versions == (2,)
        reader.kill()
    assert prune(nine, FLIGHTS).versions == (1,)


def test_leftovers_of_an_interrupted_prune_do_not_make_a_number_free_again(store: Store) -> None:
    build(store, 0)
    folder = version_folder(store.root, FLIGHTS, VersionId(1))
    folder.rename(folder.with_name("building-000001"))
    assert build(store, 1).version == 2


def test_failed_versions_do_not_pile_up_forever(store: Store) -> None:
    build_and_publish(store, 0)
    for day in range(1, 11):
        build(store, day, gates=(FAILED,))
    assert prune(store, FLIGHTS).versions == (2, 3, 4)
    assert kept(store) == [1, *range(5, 12)]


def test_a_rolled_back_target_is_kept_when_it_is_old(nine: Store) -> None:
    roll_back(nine, to=1)
    assert prune(nine, FLIGHTS).versions == (2, 3)


def test_the_shadow_is_kept_however_old(nine: Store) -> None:
    put_live(nine, 1, channel="shadow")
    assert prune(nine, FLIGHTS).versions == (2,)


@given(
    passed=st.lists(st.booleans(), min_size=1, max_size=30),
    order=st.lists(st.integers(1, 30), max_size=60),
    keep=st.builds(
        Retention,
        versions=st.none() | st.integers(7, 12),
        days=st.none() | st.integers(1, 40),
        bytes=st.none() | st.integers(1, 40),
    ),
    data=st.data(),
)
def test_the_plan_never_removes_what_the_rules_protect(
    passed: list[bool], order: list[int], keep: Retention, data: st.DataObject
) -> None:
    kept = tuple(VersionId(number) for number in range(1, len(passed) + 1))
    lives = [number for number in order if number <= len(passed)]
    last_live = tuple(VersionId(number) for number in dict.fromkeys(reversed(lives)))
    barred = tuple(data.draw(st.sets(st.sampled_from(kept), max_size=3)))
    shadow = data.draw(st.none() | st.sampled_from(kept))
    served = Served(live=last_live[0] if last_live else None, shadow=shadow, barred=barred)
    manifests = [
        Manifest(version=number, draft=draft_version(day=number, gates=(PASSED if ok else FAILED,)), files=())
        for number, ok in zip(kept, passed, strict=True)
    ]
    surplus = surplus_versions(
        kept, served=served, last_live=last_live, manifests=manifests, keep=keep, sizes=dict.fromkeys(kept, 1)
    )
    left = set(kept) - set(surplus)
    good = [number for number, ok in zip(kept, passed, strict=True) if ok and number not in barred]
    assert set(last_live[: keep.versions if keep.versions and not keep.days and not keep.bytes else 7]) <= left
    assert {served.live, served.shadow} - {None} <= left
    assert not good or max(good) in left
    assert max(kept) in left
    most = keep.versions or (7 if keep.days is None and keep.bytes is None else 10**6)
    young = {number for number in kept if keep.days is None or max(kept) - number < keep.days}
    spared = {*last_live[:7], *[number for number in reversed(kept) if number not in last_live][:7]}
    spared |= {served.live, served.shadow, max(good, default=None), max(kept)}
    for further in (left & set(last_live) - spared, left - set(last_live) - spared):
        assert len(further) <= most - 7
        assert further <= young
    assert left <= spared or keep.bytes is None or len(left) <= keep.bytes


def test_a_removed_version_loses_its_name_before_its_files(nine: Store) -> None:
    seen: list[str] = []

    class Watching(Files):
        def remove(self, path: Path) -> None:
            if path.parent.name.startswith("building-"):
                seen.append(path.name)
                assert not path.parent.with_name(path.parent.name.removeprefix("building-")).exists()
            super().remove(path)

    watched = Store(nine.root, Watching())
    assert prune(watched, FLIGHTS).versions == (1, 2)
    assert len(seen) == 16
    assert os.path.lexists(nine.root / "current")
