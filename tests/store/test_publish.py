"""What a publish promises: judged, compared with what was there, one flip, recorded."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.drafts import DAY_ONE, FAILED, PASSED
from support.stores import FLIGHTS, build, build_and_publish, new_store, put_live, roll_back

from batch_scoring.domain import Served
from batch_scoring.errors import GateFailed, StoreConflict, StoreCorrupt, StoreUnavailable, UnknownTable, UnknownVersion
from batch_scoring.gates import GateResult
from batch_scoring.store import Files, Reader, Store, create_store, history, release_folder, verify, version_folder, versions
from batch_scoring.store.layout import numbers_in, table_names


def live(store: Store, table: str = FLIGHTS) -> int | None:
    return Reader(store.root).snapshot().served(table).live


def test_a_new_store_is_release_one_and_serves_nothing(store: Store) -> None:
    snapshot = Reader(store.root).snapshot()
    assert snapshot.release.id == 1
    assert snapshot.release.previous is None
    assert snapshot.tables() == ()
    assert verify(store) == ()


def test_a_store_cannot_lie_under_a_folder_that_duckdb_would_take_for_a_query(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="expected a path without"):
        create_store(Store(tmp_path / "what?"), who="somebody", when=DAY_ONE)


def test_creating_a_store_again_changes_nothing(store: Store) -> None:
    build_and_publish(store, 0)
    assert create_store(store, who="other", when=DAY_ONE).id == 2


def test_current_is_a_relative_link_so_a_store_can_be_moved(store: Store) -> None:
    build_and_publish(store, 0)
    assert (store.root / "current").readlink() == Path("releases/000002")
    moved = store.root.rename(store.root.with_name("moved"))
    assert Reader(moved).snapshot().prediction(FLIGHTS, "UA/1000") is not None


def test_a_publish_is_one_new_release_that_says_what_changed_who_when_and_why(store: Store) -> None:
    build_and_publish(store, 0)
    version = build(store, 1).version
    when = datetime(2020, 1, 2, 3, 4, tzinfo=UTC)
    from batch_scoring.store import publish

    release = publish(store, FLIGHTS, version, who="ann", when=when, why="late delivery")
    assert release == Reader(store.root).snapshot().release
    assert (release.id, release.previous, release.who, release.when, release.why) == (3, 2, "ann", when, "late delivery")
    assert (release.action.kind, release.action.from_version, release.action.to_version) == ("publish", 1, 2)
    assert release.tables == {FLIGHTS: Served(live=2)}


def test_publishing_one_table_leaves_the_others_as_they_were(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 0, "customers")
    build_and_publish(store, 1)
    assert Reader(store.root).snapshot().release.tables == {FLIGHTS: Served(live=2), "customers": Served(live=1)}


def test_publishing_what_is_live_already_changes_nothing(store: Store) -> None:
    first = build_and_publish(store, 0)
    assert put_live(store, 1) == first


def test_publish_refuses_an_unjudged_version(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1, gates=())
    with pytest.raises(GateFailed, match="expected the verdicts of its gates, found none"):
        put_live(store, 2)
    assert live(store) == 1


def test_publish_refuses_a_failed_version_with_every_number_and_limit_even_by_force(store: Store) -> None:
    build_and_publish(store, 0)
    other = GateResult(gate="score_shift", passed=False, observed=None, limit=1.0, message="could not be computed.")
    build(store, 1, gates=(PASSED, FAILED, other))
    for force in (False, True):
        with pytest.raises(
            GateFailed, match=r"beats_baseline \(observed -0.01, limit 0\).*score_shift \(observed nothing, limit 1\)"
        ):
            put_live(store, 2, force=force)
    assert live(store) == 1
    assert len(history(store)) == 2


def test_publish_refuses_when_someone_published_first(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    build(store, 2)
    put_live(store, 2, expected=2)
    with pytest.raises(StoreConflict, match="expected release 2, found 3"):
        put_live(store, 3, expected=2)
    assert live(store) == 2


def test_a_scheduled_publish_takes_only_what_is_newer_than_live(store: Store) -> None:
    build_and_publish(store, 5)
    build(store, 5, seed=99)
    build(store, 4)
    build(store, 6)
    for version in (2, 3):
        with pytest.raises(StoreConflict, match="expected an as-of after 2013-03-06 09:00 UTC, the latest that is live"):
            put_live(store, version, scheduled=True)
    assert put_live(store, 4, scheduled=True).tables[FLIGHTS].live == 4


def test_a_first_scheduled_publish_has_nothing_to_be_newer_than(store: Store) -> None:
    build(store, 0)
    assert put_live(store, 1, scheduled=True).tables[FLIGHTS].live == 1


def test_a_person_may_publish_an_older_version(store: Store) -> None:
    build_and_publish(store, 5)
    build_and_publish(store, 4)
    assert live(store) == 2


def test_a_damaged_live_version_does_not_keep_a_good_new_one_out(store: Store) -> None:
    build_and_publish(store, 0)
    manifest = version_folder(store.root, FLIGHTS, 1) / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    build(store, 1)
    assert put_live(store, 2, scheduled=True).tables[FLIGHTS].live == 2


def test_a_shadow_is_published_beside_live_and_leaves_when_promoted(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    assert put_live(store, 2, channel="shadow").tables[FLIGHTS] == Served(live=1, shadow=2)
    assert put_live(store, 2).tables[FLIGHTS] == Served(live=2, shadow=None)


def test_a_new_live_version_leaves_another_shadow_alone(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    put_live(store, 2, channel="shadow")
    build(store, 2)
    assert put_live(store, 3).tables[FLIGHTS] == Served(live=3, shadow=2)


def test_an_unknown_table_or_version_is_named_with_what_there_is(store: Store) -> None:
    build_and_publish(store, 0)
    with pytest.raises(UnknownTable, match="table 'flihgts': expected one of: flight_delays"):
        put_live(store, 1, "flihgts")
    with pytest.raises(UnknownVersion, match="expected one of the kept versions: 1, found 9"):
        put_live(store, 9)
    with pytest.raises(UnknownTable):
        put_live(store, 1, "../../etc")


@pytest.mark.parametrize("name", ["predictions.parquet", "explanations.mdb", "model.ubj"])
@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, path.stat().st_size - 1)])
def test_publish_refuses_a_version_with_a_missing_or_truncated_file(
    store: Store, name: str, harm: Callable[[Path], None]
) -> None:
    build(store, 0)
    harm(version_folder(store.root, FLIGHTS, 1) / name)
    with pytest.raises(StoreCorrupt, match=name):
        put_live(store, 1)
    assert live(store) is None


def test_publish_refuses_a_version_whose_manifest_was_edited(store: Store) -> None:
    build(store, 0, gates=(FAILED,))
    path = version_folder(store.root, FLIGHTS, 1) / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"passed": false', '"passed": true'))
    with pytest.raises(StoreCorrupt, match="expected its recorded checksum"):
        put_live(store, 1)


def test_a_store_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    nowhere = Store(tmp_path / "nowhere")
    for act in (lambda: put_live(nowhere, 1), lambda: roll_back(nowhere), lambda: history(nowhere), lambda: verify(nowhere)):
        with pytest.raises(StoreUnavailable, match="expected a store, found none"):
            act()


class Refusing(Files):
    """A file system that cannot make folders, for one reason."""

    def __init__(self, code: int) -> None:
        self.code: int | None = None
        self.later = code

    def make_folder(self, path: Path) -> None:
        if self.code is not None:
            raise OSError(self.code, os.strerror(self.code), str(path))
        super().make_folder(path)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.EACCES, "expected permission to write"),
        (errno.EROFS, "expected permission to write"),
        (errno.ENOSPC, "expected free disk space"),
        (errno.EDQUOT, "expected free disk space"),
        (errno.EIO, "expected a working file system"),
    ],
)
def test_a_disk_that_refuses_becomes_one_sentence_and_changes_nothing(tmp_path: Path, code: int, says: str) -> None:
    files = Refusing(code)
    store = new_store(tmp_path, files)
    build_and_publish(store, 0)
    build(store, 1)
    files.code = files.later
    for act in (
        lambda: put_live(store, 2),
        lambda: build(store, 2),
        lambda: create_store(Store(tmp_path / "b", files), who="", when=DAY_ONE),
    ):
        with pytest.raises(StoreUnavailable, match=says):
            act()
    assert live(store) == 1
    assert verify(store) == ()


def test_history_is_newest_first_and_can_be_of_one_table(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 0, "customers")
    build_and_publish(store, 1)
    assert [release.id for release in history(store)] == [4, 3, 2, 1]
    assert [release.id for release in history(store, FLIGHTS)] == [4, 2]


def test_versions_lists_every_kept_one_failed_and_unpublished_too(store: Store) -> None:
    build(store, 0, gates=(FAILED,))
    build(store, 1)
    assert [(manifest.version, manifest.passed) for manifest in versions(store, FLIGHTS)] == [(1, False), (2, True)]
    with pytest.raises(UnknownTable, match="expected one of: flight_delays"):
        versions(store, "nothing")  # type: ignore[arg-type]


def test_a_release_never_changes_after_it_was_made(store: Store) -> None:
    build_and_publish(store, 0)
    folder = release_folder(store.root, 2)  # type: ignore[arg-type]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    build_and_publish(store, 1)
    roll_back(store)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class Hurried(Files):
    """A file system on which somebody else makes the store just before the lock is taken."""

    def ensure_folder(self, path: Path) -> None:
        super().ensure_folder(path)
        if path.name == "tables":
            create_store(Store(path.parent), who="another", when=DAY_ONE)


def test_of_two_that_create_a_store_the_second_takes_what_is_there(tmp_path: Path) -> None:
    assert create_store(Store(tmp_path / "store", Hurried()), who="tester", when=DAY_ONE).who == "another"


def test_a_link_that_a_killed_flip_left_behind_is_in_nobodys_way(store: Store) -> None:
    (store.root / "current.next").symlink_to("releases/000009")
    build_and_publish(store, 0)
    assert verify(store) == ()


def test_a_release_that_was_never_pointed_at_keeps_its_number(store: Store) -> None:
    build_and_publish(store, 0)
    shutil.copytree(release_folder(store.root, 2), release_folder(store.root, 3))  # type: ignore[arg-type]
    assert build_and_publish(store, 1).id == 4


def test_a_release_under_a_number_that_is_not_its_own_is_refused(store: Store) -> None:
    build_and_publish(store, 0)
    path = release_folder(store.root, 2) / "release.json"  # type: ignore[arg-type]
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"id": 2', '"id": 7'))
    with pytest.raises(StoreCorrupt, match=r"expected id 2 in .*, found 7"):
        Reader(store.root).snapshot()


class Stubborn(Files):
    """A file system that can neither finish a release nor remove what there is of it."""

    refuses = False

    def rename(self, source: Path, target: Path) -> None:
        if self.refuses:
            raise OSError(errno.EIO, "no", str(source))
        super().rename(source, target)

    def remove_tree(self, path: Path) -> None:
        if self.refuses and path.exists():
            raise OSError(errno.EIO, "no", str(path))
        super().remove_tree(path)


def test_what_could_not_be_cleared_away_is_cleared_by_the_next_publish(tmp_path: Path) -> None:
    files = Stubborn()
    store = new_store(tmp_path, files)
    build(store, 0)
    files.refuses = True
    with pytest.raises(StoreUnavailable):
        put_live(store, 1)
    files.refuses = False
    assert put_live(store, 1).id == 2
    assert verify(store) == ()


class Forgetting(Files):
    """A file system that cannot say whether a flip is durable."""

    refuses = False

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        if self.refuses and target.name == "current":
            raise OSError(errno.EIO, "no answer", str(target))


def test_a_flip_that_happened_is_not_undone(tmp_path: Path) -> None:
    files = Forgetting()
    store = new_store(tmp_path, files)
    build(store, 0)
    files.refuses = True
    with pytest.raises(StoreUnavailable):
        put_live(store, 1)
    files.refuses = False
    assert live(store) == 1
    assert verify(store) == ()


def test_a_folder_without_releases_or_tables_has_none(tmp_path: Path) -> None:
    assert numbers_in(tmp_path / "nothing") == ()
    assert table_names(tmp_path) == ()
