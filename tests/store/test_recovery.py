"""A damaged record of the current release is carried into nothing, and comes back as it was or is missed aloud."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stores import FLIGHTS, build, build_and_publish, erase_one, put_live, roll_back

from batch_scoring.domain import ReleaseId, VersionId
from batch_scoring.errors import StoreCorrupt
from batch_scoring.store import Reader, Store, history, prune, release_folder, repair, verify, version_folder
from batch_scoring.store.layout import read_current


def record(store: Store, number: int) -> Path:
    return release_folder(store.root, ReleaseId(number)) / "release.json"


def rot(path: Path, before: str, after: str) -> None:
    """Change bytes and keep the file readable."""
    content = path.read_text()
    assert before in content
    path.chmod(0o644)
    path.write_text(content.replace(before, after))


@pytest.fixture
def rolled_back(store: Store) -> Store:
    """Release 5: version 3 was live, is barred, and 2 is live again."""
    for day in range(3):
        build_and_publish(store, day)
    roll_back(store)
    return store


@pytest.mark.parametrize(
    "change",
    [
        lambda store: put_live(store, 1),
        lambda store: put_live(store, 2),
        lambda store: roll_back(store, to=1),
        erase_one,
        lambda store: prune(store, FLIGHTS),
        lambda store: Reader(store.root).snapshot(),
    ],
    ids=["publish", "publish what it says is live", "rollback", "erase", "prune", "read"],
)
def test_a_release_that_says_something_else_than_was_written_is_neither_served_nor_carried_on(
    rolled_back: Store, change: Callable[[Store], object]
) -> None:
    rot(record(rolled_back, 5), '"live": 2', '"live": 1')
    with pytest.raises(StoreCorrupt, match=r"release 5, file .*expected its recorded checksum.*Run 'foretable repair'"):
        change(rolled_back)
    assert len(list((rolled_back.root / "releases").iterdir())) == 5
    repair(rolled_back)
    assert verify(rolled_back) == ()
    assert read_current(rolled_back.root).tables[FLIGHTS].live == 2


def _torn(path: Path) -> None:
    os.truncate(path, 10)


def _changed(path: Path) -> None:
    rot(path, '"kind": "', '"kind":  "')


def _without_sums(path: Path) -> None:
    path.with_name("SHA256SUMS").unlink()


@pytest.mark.parametrize("harm", [_torn, _changed, Path.unlink, _without_sums])
@pytest.mark.parametrize("last", ["rollback", "publish", "shadow", "erase", "create"])
def test_repair_restores_the_record_of_the_current_release_to_the_byte(
    store: Store, last: str, harm: Callable[[Path], None]
) -> None:
    if last != "create":
        for day in range(3):
            build_and_publish(store, day)
        (version_folder(store.root, FLIGHTS, VersionId(1)) / "manifest.json").unlink()  # not kept in any catalog from here on
    match last:
        case "rollback":
            roll_back(store)
        case "publish":
            build_and_publish(store, 3)
        case "shadow":
            build(store, 3)
            put_live(store, 4, channel="shadow")
        case "erase":
            (version_folder(store.root, FLIGHTS, VersionId(1))).rename(store.root.parent / "gone")
            erase_one(store)
    release = read_current(store.root)
    path = record(store, release.id)
    content = path.read_bytes()
    harm(path)
    assert repair(store)[0] == f"restored the record of release {release.id} from its catalog and the release before it."
    assert path.read_bytes() == content
    assert read_current(store.root) == release
    assert [each.path for each in verify(store) if "000001" not in each.path or last == "create"] == []
    assert repair(store) == ()


def test_repair_restores_a_record_although_versions_were_pruned_since(nine: Store) -> None:
    assert prune(nine, FLIGHTS).versions == (1, 2)
    content = record(nine, 10).read_bytes()
    record(nine, 10).unlink()
    (nine.root / "current").unlink()
    assert repair(nine)[-1] == "current points at release 10 again."
    assert record(nine, 10).read_bytes() == content


@pytest.mark.parametrize("harm", ["its catalog", "a catalog that says nothing", "its checksum", "the release before"])
def test_repair_goes_back_behind_a_lost_release_only_when_it_is_told_to(rolled_back: Store, harm: str) -> None:
    """It would undo a rollback in silence, and give the number of an acknowledged release to another."""
    os.truncate(record(rolled_back, 5), 10)
    catalog = record(rolled_back, 5).with_name("predictions.duckdb")
    match harm:
        case "its catalog":
            os.truncate(catalog, 100)
        case "a catalog that says nothing":
            catalog.unlink()
            catalog.write_bytes(record(rolled_back, 4).with_name("predictions.duckdb").read_bytes())
        case "its checksum":
            record(rolled_back, 5).with_name("SHA256SUMS").unlink()
        case _:
            rot(record(rolled_back, 4), '"why"', ' "why"')
    before = sorted(path.name for path in (rolled_back.root / "releases").iterdir())
    with pytest.raises(StoreCorrupt, match=r"release 5.*'foretable repair --force': what was published, rolled back and barred"):
        repair(rolled_back)
    assert sorted(path.name for path in (rolled_back.root / "releases").iterdir()) == before
    done = repair(rolled_back, force=True)
    assert done[0].startswith("put release ")
    assert "put release 5, which cannot be read, aside; what was barred in it is not any more." in done
    back = read_current(rolled_back.root).id
    assert done[-1] == f"current points at release {back} again."
    assert back == (3 if harm == "the release before" else 4)
    findings = verify(rolled_back)
    assert [each.path for each in findings] == [f"releases/damaged-{number:06d}" for number in range(back + 1, 6)]
    assert not any(each.harmless for each in findings)
    assert repair(rolled_back) == ()
    assert erase_one(rolled_back).release == 6
    assert build_and_publish(rolled_back, 3).id == 7
    assert [each.id for each in history(rolled_back)] == [7, 6, *range(back, 0, -1)]


def test_a_rotten_old_release_changes_nothing_of_what_is_kept(nine: Store) -> None:
    for number in (2, 5, 9):
        os.truncate(record(nine, number), 10)
    for day in range(9, 20):
        build(nine, day)
    assert prune(nine, FLIGHTS).versions == (1, 2, 10, 11, 12, 13)
