"""What a build promises about space: it refuses early, with the figure, and stores an unchanged model once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.drafts import staged_version
from support.stores import FLIGHTS, build, build_and_publish, erase_one

from batch_scoring.domain import VersionId
from batch_scoring.errors import StoreUnavailable
from batch_scoring.store import Files, Store, build_version, verify, version_folder


class Small(Files):
    """A disk with little left."""

    def free_bytes(self, path: Path) -> int:
        return 10_000


class Linkless(Files):
    """A file system without hard links."""

    def share(self, path: Path, source: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))


def model(store: Store, version: int) -> Path:
    return version_folder(store.root, FLIGHTS, VersionId(version)) / "model.ubj"


def build_twice(store: Store, tmp_path: Path) -> None:
    for day in (0, 0):
        build_version(store, staged_version(tmp_path / "staged", day=day))


def test_a_build_without_room_is_refused_before_it_writes(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match=r"expected about [\d,]+ free bytes at .*, found 10,000"):
        build(Store(store.root, Small()))
    build_and_publish(store, 0)
    with pytest.raises(StoreUnavailable, match=r"build of 'flight_delays': expected about [\d,]+ free bytes"):
        build(Store(store.root, Small()), 1)
    assert verify(store) == ()


def test_an_erasure_without_room_leaves_every_version_as_it_was(store: Store) -> None:
    build_and_publish(store, 0)
    with pytest.raises(StoreUnavailable, match=r"erasure from 'flight_delays': expected about [\d,]+ free bytes"):
        erase_one(Store(store.root, Small()))
    assert verify(store) == ()
    assert erase_one(store).rows == 1


def test_an_unchanged_model_is_stored_once(store: Store, tmp_path: Path) -> None:
    build_twice(store, tmp_path)
    assert model(store, 1).samefile(model(store, 2))
    assert verify(store) == ()


def test_where_there_are_no_hard_links_the_model_is_copied(store: Store, tmp_path: Path) -> None:
    build_twice(Store(store.root, Linkless()), tmp_path)
    assert not model(store, 1).samefile(model(store, 2))
    assert model(store, 1).read_bytes() == model(store, 2).read_bytes()


def test_any_other_failure_to_link_stops_the_build(store: Store, tmp_path: Path) -> None:
    class Broken(Files):
        def share(self, path: Path, source: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with pytest.raises(StoreUnavailable, match="full or failing disk"):
        build_twice(Store(store.root, Broken()), tmp_path)
