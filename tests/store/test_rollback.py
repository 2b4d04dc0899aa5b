"""What a rollback promises: back to a good version, recorded, and it holds."""

from __future__ import annotations

import shutil

import pytest
from support.drafts import FAILED
from support.stores import FLIGHTS, build, build_and_publish, put_live, roll_back

from batch_scoring.domain import Served
from batch_scoring.errors import GateFailed, StoreConflict, StoreCorrupt, UnknownVersion
from batch_scoring.store import Reader, Store, history, verify, version_folder


def test_rollback_returns_to_the_version_that_was_live_before(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    release = roll_back(store)
    assert release.tables[FLIGHTS] == Served(live=2, barred=(3,))
    assert (release.action.kind, release.action.from_version, release.action.to_version) == ("rollback", 3, 2)
    assert (release.who, release.why) == ("operator", "it looked wrong")
    assert Reader(store.root).snapshot().release == release


def test_rolling_back_twice_goes_back_two_versions(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    roll_back(store)
    assert roll_back(store).tables[FLIGHTS] == Served(live=1, barred=(2, 3))


def test_rollback_skips_versions_that_were_never_live(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    build(store, 2, gates=(FAILED,))
    build_and_publish(store, 3)
    assert roll_back(store).tables[FLIGHTS].live == 1


def test_rollback_follows_the_order_of_service_not_of_numbers(store: Store) -> None:
    for day in range(3):
        build(store, day)
    for version in (2, 1, 3):
        put_live(store, version)
    assert roll_back(store).tables[FLIGHTS].live == 1


def test_rollback_to_names_any_kept_version(store: Store) -> None:
    for day in range(4):
        build_and_publish(store, day)
    assert roll_back(store, to=1).tables[FLIGHTS] == Served(live=1, barred=(4,))
    build(store, 4)
    assert roll_back(store, to=5).tables[FLIGHTS] == Served(live=5, barred=(1, 4))


def test_rollback_to_the_live_version_changes_nothing(store: Store) -> None:
    build_and_publish(store, 0)
    release = build_and_publish(store, 1)
    assert roll_back(store, to=2) == release


def test_rollback_refuses_a_target_that_failed_or_is_barred_or_gone(store: Store) -> None:
    for day in range(2):
        build_and_publish(store, day)
    build(store, 2, gates=(FAILED,))
    build_and_publish(store, 3)
    with pytest.raises(GateFailed, match="expected every gate passed"):
        roll_back(store, to=3)
    with pytest.raises(UnknownVersion, match="expected one of the kept versions: 1, 2, 3, 4, found 9"):
        roll_back(store, to=9)
    roll_back(store)
    with pytest.raises(StoreConflict, match="expected a version that was not rolled back"):
        roll_back(store, to=4)


def test_rollback_with_nothing_to_return_to_says_so(store: Store) -> None:
    with pytest.raises(UnknownVersion, match="expected a live version, found none"):
        roll_back(store)
    build_and_publish(store, 0)
    with pytest.raises(UnknownVersion, match="expected an earlier good version than 1"):
        roll_back(store)
    assert history(store)[0].id == 2


def test_rollback_refuses_when_someone_published_first(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    with pytest.raises(StoreConflict, match="expected release 3, found 4"):
        roll_back(store, expected=3)


def test_a_rolled_back_version_stays_out_of_scheduled_and_ordinary_publishes(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    roll_back(store)
    for scheduled in (True, False):
        with pytest.raises(StoreConflict, match="expected a version that was not rolled back"):
            put_live(store, 2, scheduled=scheduled)
    build(store, 2)
    assert put_live(store, 3, scheduled=True).tables[FLIGHTS] == Served(live=3, barred=(2,))
    with pytest.raises(StoreConflict, match="not rolled back"):
        put_live(store, 2)


def test_only_force_with_a_reason_lifts_the_bar(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    roll_back(store)
    with pytest.raises(StoreConflict, match="expected a reason for --force"):
        put_live(store, 2, force=True, why=" ")
    assert put_live(store, 2, force=True, why="it was right after all").tables[FLIGHTS] == Served(live=2)


def test_force_does_not_lift_a_failed_gate(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1, gates=(FAILED,))
    with pytest.raises(GateFailed):
        put_live(store, 2, force=True, why="please")


@pytest.mark.parametrize(
    "name", ["manifest.json", "SHA256SUMS", "predictions.parquet", "lookup.mdb", "explanations.parquet", None]
)
def test_rollback_works_when_the_newest_version_is_damaged(store: Store, name: str | None) -> None:
    for day in range(2):
        build_and_publish(store, day)
    folder = version_folder(store.root, FLIGHTS, 2)
    if name is None:
        shutil.rmtree(folder)
    else:
        (folder / name).unlink()
        (folder / name).write_bytes(b"\0" * 100)
    assert roll_back(store).tables[FLIGHTS] == Served(live=1, barred=(2,))
    answer = Reader(store.root).snapshot().prediction(FLIGHTS, "UA/1000")
    assert answer is not None
    assert b'"version":1' in answer


def test_rollback_works_when_a_parquet_file_of_the_right_size_is_nonsense(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    for version in (1, 3):
        path = version_folder(store.root, FLIGHTS, version) / "predictions.parquet"
        path.chmod(0o644)
        path.write_bytes(b"\0" * path.stat().st_size)
    import duckdb

    assert roll_back(store).tables[FLIGHTS].live == 2
    with duckdb.connect(store.root / "current" / "predictions.duckdb", read_only=True) as con:
        assert con.sql("SELECT DISTINCT version FROM flight_delays").fetchall() == [(2,)]
        assert con.sql("SELECT DISTINCT version FROM flight_delays_all_versions").fetchall() == [(2,)]


def test_a_live_version_with_a_nonsense_footer_is_called_damaged_and_rolled_back(store: Store) -> None:
    import duckdb

    build_and_publish(store, 0)
    build(store, 1)
    path = version_folder(store.root, FLIGHTS, 2) / "predictions.parquet"
    path.chmod(0o644)
    path.write_bytes(b"PAR1" + b"\0" * (path.stat().st_size - 8) + b"PAR1")
    put_live(store, 2)
    with duckdb.connect(store.root / "current" / "predictions.duckdb", read_only=True) as con:
        with pytest.raises(duckdb.Error, match="version 2 is damaged"):
            con.sql("FROM flight_delays").fetchall()
        assert con.sql("SELECT DISTINCT version FROM flight_delays_all_versions").fetchall() == [(1,)]
    assert roll_back(store).tables[FLIGHTS].live == 1


@pytest.mark.parametrize("name", ["lookup.mdb", "manifest.json"])
def test_rollback_passes_over_a_damaged_predecessor(store: Store, name: str) -> None:
    for day in range(3):
        build_and_publish(store, day)
    (version_folder(store.root, FLIGHTS, 2) / name).unlink()
    with pytest.raises(StoreCorrupt, match=name):
        roll_back(store, to=2)
    assert roll_back(store).tables[FLIGHTS].live == 1
    assert f"tables/flight_delays/versions/000002/{name}" in str(verify(store))


def test_the_same_run_made_again_does_not_bring_back_what_was_rolled_back(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    roll_back(store)
    build(store, 1, seed=7)
    with pytest.raises(StoreConflict, match="the latest that is live or was rolled back"):
        put_live(store, 3, scheduled=True)
    assert put_live(store, 3).tables[FLIGHTS].live == 3


def test_a_rollback_whose_answer_was_lost_can_be_asked_for_again(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    release = roll_back(store, expected=4)
    assert roll_back(store, expected=4) == release
    assert roll_back(store, to=2, expected=4) == release
    for how in ({"to": 1, "expected": 4}, {"expected": 3}):
        with pytest.raises(StoreConflict, match=f"expected release {how['expected']}, found 5"):
            roll_back(store, **how)
    build_and_publish(store, 0, "customers")
    with pytest.raises(StoreConflict, match="expected release 4, found 6"):
        roll_back(store, expected=4)
    assert history(store)[0].tables[FLIGHTS] == Served(live=2, barred=(3,))


def test_a_version_that_was_removed_by_hand_is_forgotten_as_a_target(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    shutil.rmtree(version_folder(store.root, FLIGHTS, 2))
    release = build_and_publish(store, 3)
    assert release.lives == {FLIGHTS: (4, 3, 1)}
    roll_back(store)
    assert roll_back(store).tables[FLIGHTS].live == 1
