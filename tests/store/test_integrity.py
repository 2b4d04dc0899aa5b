"""What verify promises to find, and repair to mend."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.drafts import DAY_ONE
from support.stores import FLIGHTS, build, build_and_publish, erase_one, new_store, put_live, roll_back

from batch_scoring.domain import VersionId
from batch_scoring.errors import StoreCorrupt, StoreUnavailable
from batch_scoring.store import (
    Files,
    Finding,
    Reader,
    Store,
    count_files,
    create_store,
    find_erased,
    repair,
    verify,
    version_folder,
)

FILES = (
    "manifest.json",
    "predictions.parquet",
    "explanations.parquet",
    "features.parquet",
    "model.ubj",
    "lookup.mdb",
    "explanations.mdb",
)


def problems(store: Store) -> dict[str, str]:
    return {finding.path: finding.problem for finding in verify(store)}


def flip(path: Path, at: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_verify_finds_one_flipped_bit_in_any_file_of_a_version(store: Store, name: str, where: float) -> None:
    build_and_publish(store, 0)
    path = version_folder(store.root, FLIGHTS, VersionId(1)) / name
    flip(path, int(where * path.stat().st_size))
    found = problems(store)
    assert found
    assert all(path.startswith("tables/flight_delays/versions/000001") for path in found)


@pytest.mark.parametrize("name", ["release.json", "predictions.duckdb"])
def test_verify_finds_one_flipped_bit_in_a_release(store: Store, name: str) -> None:
    build_and_publish(store, 0)
    path = store.root / "releases/000002" / name
    flip(path, path.stat().st_size // 2)
    assert any(name in found or "release" in problem for found, problem in problems(store).items())


def test_verify_finds_missing_and_truncated_files(store: Store) -> None:
    build_and_publish(store, 0)
    folder = version_folder(store.root, FLIGHTS, VersionId(1))
    (folder / "features.parquet").unlink()
    os.truncate(folder / "predictions.parquet", 100)
    (folder / "SHA256SUMS").chmod(0o644)
    found = problems(store)
    assert found["tables/flight_delays/versions/000001/features.parquet"] == "is missing"
    assert "now 100 bytes" in found["tables/flight_delays/versions/000001/predictions.parquet"]


def test_verify_finds_a_missing_live_version_and_missing_sums(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    folder = version_folder(store.root, FLIGHTS, VersionId(2))
    (folder / "SHA256SUMS").unlink()
    assert "holds no checksum of manifest.json" in {finding.problem for finding in verify(store)}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert problems(store)["tables/flight_delays/versions/000002"] == "the live version is missing"


def test_verify_finds_sums_that_were_changed_along_with_a_file(store: Store) -> None:
    build_and_publish(store, 0)
    folder = version_folder(store.root, FLIGHTS, VersionId(1))
    flip(folder / "model.ubj", 3)
    from hashlib import sha256

    lines = (folder / "SHA256SUMS").read_text().splitlines()
    digest = sha256((folder / "model.ubj").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").chmod(0o644)
    (folder / "SHA256SUMS").write_text("\n".join(f"{digest}  model.ubj" if "model" in line else line for line in lines) + "\n")
    assert list(problems(store).values()) == ["manifest and SHA256SUMS disagree about it"]


@pytest.mark.parametrize(
    "place",
    [
        "notes.txt",
        "tables/Flight Delays",
        "tables/flight_delays/readme",
        "tables/flight_delays/versions/latest",
        "tables/flight_delays/versions/000001/x.parquet",
        "releases/newest",
        "releases/000002/extra",
    ],
)
def test_verify_finds_what_the_store_did_not_put_there(store: Store, place: str) -> None:
    build_and_publish(store, 0)
    (store.root / place).write_text("hello")
    assert problems(store) == {place: "the store did not put it there"}


def test_what_people_wrote_is_none_of_its_business(store: Store) -> None:
    (store.root / "state.db").write_bytes(b"")
    (store.root / "state.db-wal").write_bytes(b"")
    assert verify(store) == ()


def test_verify_names_every_file_that_it_checks_and_how_many_there_are(store: Store) -> None:
    build_and_publish(store, 0)
    said: list[str] = []
    verify(store, said.append)
    assert said[:2] == ["releases/000001/release.json", "releases/000001/predictions.duckdb"]
    assert said[-1] == "tables/flight_delays/versions/000001/explanations.mdb"
    assert len(said) == len(set(said)) == count_files(store) == 11
    (store.root / "releases" / "0").touch()
    assert count_files(store) == 11


@pytest.mark.parametrize("at", ["manifest.json", "model.ubj", "explanations.mdb"])
def test_a_version_that_is_pruned_or_rewritten_while_it_is_checked_is_no_finding(store: Store, at: str) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    changed: list[str] = []

    def on_file(name: str) -> None:
        if name == f"tables/flight_delays/versions/000001/{at}":
            if not changed:  # an erasure puts a rewritten version in its place, then that one is pruned
                assert erase_one(store).versions == (1, 2)
            else:
                version_folder(store.root, FLIGHTS, VersionId(1)).rename(store.root.parent / "pruned")
            changed.append(name)

    assert verify(store, on_file) == ()
    assert len(changed) == 2


def test_a_version_that_loses_its_name_before_it_is_looked_at_is_no_finding(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)

    def on_file(name: str) -> None:
        if name == "tables/flight_delays/versions/000001/manifest.json":
            version_folder(store.root, FLIGHTS, VersionId(2)).rename(store.root.parent / "pruned")

    assert [each for each in verify(store, on_file) if "000002" in each.path] == []


class Watched(Files):
    """A file system on which somebody verifies the store before each operation."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.looks = 0

    def look(self, path: Path) -> None:
        root = next((each for each in path.parents if each.name == "store"), path)
        if (root / "current").is_symlink():
            self.looks += 1
            self.findings += verify(Store(root))

    def write(self, path: Path, data: bytes) -> None:
        self.look(path)
        super().write(path, data)

    def sync_folder(self, path: Path) -> None:
        self.look(path)
        super().sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self.look(target)
        super().rename(source, target)

    def link(self, path: Path, target: str) -> None:
        self.look(path)
        super().link(path, target)


def test_a_publish_that_goes_on_meanwhile_is_no_finding(tmp_path: Path) -> None:
    store = new_store(tmp_path, files := Watched())
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    roll_back(store)
    assert files.looks > 15
    assert files.findings == []


def test_releases_that_follow_one_another_meanwhile_are_no_finding(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    folder = store.root / "releases"
    said = []

    def on_file(name: str) -> None:
        said.append(name)
        if name == "releases/000001/release.json":
            put_live(store, 2)
        if name == "releases/000002/predictions.duckdb":
            (folder / "000002/predictions.duckdb").unlink()  # as a prune does with that of an earlier release

    assert verify(store, on_file) == ()
    assert "releases/000003/release.json" not in said
    assert verify(store) == ()


def test_a_release_that_is_flipped_to_meanwhile_is_no_finding(store: Store) -> None:
    for day in range(2):
        build_and_publish(store, day)

    def point_at(name: str) -> None:
        (store.root / "next").symlink_to(f"releases/{name}")
        (store.root / "next").rename(store.root / "current")

    point_at("000002")
    assert [each.path for each in verify(store)] == ["releases/000003"]
    assert verify(store, lambda _: point_at("000003")) == ()


def test_a_name_that_is_only_on_its_way_is_no_finding(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.root / "current.next").symlink_to("releases/000002")
    (store.root / "notes.txt").write_text("hello")
    monkeypatch.setattr(time, "sleep", lambda _: (store.root / "current.next").unlink())
    assert [each.path for each in verify(store)] == ["notes.txt"]


def test_history_that_ends_early_is_a_finding(store: Store) -> None:
    for day in range(3):
        build_and_publish(store, day)
    (store.root / "releases/000002/release.json").unlink()
    assert problems(store)["releases/000003"] == "the release before it cannot be read, so history ends here"


def test_every_finding_says_what_to_do(store: Store) -> None:
    build_and_publish(store, 0)
    (store.root / "current").unlink()
    (store.root / "x").write_text("")
    (version_folder(store.root, FLIGHTS, VersionId(1)) / "lookup.mdb").unlink()
    assert len(verify(store)) == 3
    assert all(finding.fix.endswith(".") for finding in verify(store))


def test_a_manifest_in_the_wrong_place_is_found(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1)
    folders = [version_folder(store.root, FLIGHTS, VersionId(number)) for number in (1, 2)]
    data = (folders[0] / "manifest.json").read_bytes()
    (folders[1] / "manifest.json").chmod(0o644)
    (folders[1] / "manifest.json").write_bytes(data)
    assert "expected its own manifest, found that of version 1" in problems(store)["tables/flight_delays/versions/000002"]


def test_leftovers_are_harmless_and_repair_removes_them(store: Store) -> None:
    build_and_publish(store, 0)
    before = Reader(store.root).snapshot().release
    left = (
        "releases/building-000003",
        "tables/flight_delays/versions/building-000002",
        "releases/000009",
        "tables/flight_delays/erased.json.next",
    )
    for name in left:
        (store.root / name).mkdir()
        (store.root / name / "half").write_text("written")
    (store.root / "current.next").symlink_to("releases/000009")
    findings = verify(store)
    assert {finding.path for finding in findings} == {*left, "current.next"}
    assert all(finding.harmless for finding in findings)
    assert sorted(repair(store)) == sorted(f"removed {name}." for name in (*left, "current.next"))
    assert verify(store) == ()
    assert Reader(store.root).snapshot().release == before


def test_work_in_progress_is_neither_reported_nor_removed(store: Store) -> None:
    from batch_scoring.store.files import take_flock

    folder = store.root / "tables/flight_delays/versions"
    folder.mkdir(parents=True)
    (folder / "building-000001").mkdir()
    builder = take_flock(folder / "building-000001", exclusive=True)
    assert builder is not None
    assert verify(store) == ()
    assert find_erased(store, FLIGHTS, ["AA/999"]) == ()
    assert repair(store) == ()
    os.close(builder)
    assert repair(store) == ("removed tables/flight_delays/versions/building-000001.",)


@pytest.mark.parametrize("harm", ["missing", "dangling", "elsewhere"])
def test_repair_points_a_lost_pointer_at_the_newest_whole_release(store: Store, harm: str) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    (store.root / "current").unlink()
    if harm == "dangling":
        (store.root / "current").symlink_to("releases/000077")
    if harm == "elsewhere":
        (store.root / "current").symlink_to("/tmp")
    assert [finding.path for finding in verify(store) if not finding.harmless] == ["current"]
    assert "current points at release 3 again." in repair(store)
    assert verify(store) == ()
    assert Reader(store.root).snapshot().served(FLIGHTS).live == 2


def test_repair_rebuilds_a_damaged_catalog(store: Store) -> None:
    build_and_publish(store, 0)
    catalog = store.root / "releases/000002/predictions.duckdb"
    flip(catalog, 5000)
    assert [finding.path for finding in verify(store)] == ["releases/000002/predictions.duckdb"]
    assert repair(store) == ("rebuilt the catalog of release 2.",)
    assert verify(store) == ()


def test_repair_of_a_whole_store_does_nothing(store: Store) -> None:
    build_and_publish(store, 0)
    roll = build_and_publish(store, 1)
    assert roll_back(store).id == roll.id + 1
    assert repair(store) == ()


def test_repair_of_nothing_says_so(tmp_path: Path, store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="expected a store, found none"):
        repair(Store(tmp_path / "none"))
    os.truncate(store.root / "releases/000001/release.json", 3)
    (store.root / "releases/000001/predictions.duckdb").unlink()
    with pytest.raises(StoreCorrupt, match="expected at least one whole release, found none"):
        repair(store)


def test_a_store_that_lost_its_pointer_is_not_taken_for_a_new_one(store: Store) -> None:
    build_and_publish(store, 0)
    (store.root / "current").unlink()
    with pytest.raises(StoreCorrupt, match="Run 'foretable repair'"):
        create_store(store, who="somebody", when=DAY_ONE)


def test_a_store_whose_creation_was_cut_short_can_be_created(store: Store) -> None:
    (store.root / "current").unlink()
    assert create_store(store, who="somebody", when=DAY_ONE).id == 1
    assert verify(store) == ()
