"""What the port to the disk promises, and what its errors become for the person who reads them."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import duckdb
import lmdb
import pytest

import batch_scoring.store
from batch_scoring.errors import StoreCorrupt, StoreUnavailable
from batch_scoring.store import Files
from batch_scoring.store.files import hold_folder, identity, plain_errors, take_flock


def test_two_folders_change_places_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    Files().exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "other").exists()
    with pytest.raises(FileNotFoundError):
        Files().exchange(tmp_path / "one", tmp_path / "nowhere")
    assert (tmp_path / "one" / "other").exists()


def test_a_lock_excludes_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    first = take_flock(tmp_path, exclusive=True)
    assert first is not None
    assert take_flock(tmp_path, exclusive=False) is None
    os.close(first)
    second = hold_folder(tmp_path)
    assert second is not None
    os.close(second)


def test_a_folder_that_is_removed_before_its_lock_is_taken_is_not_held(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert hold_folder(folder) is None
    folder.mkdir()
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    def remove() -> None:
        time.sleep(0.05)
        folder.rmdir()
        os.close(other)

    remover = threading.Thread(target=remove)
    remover.start()
    assert hold_folder(folder) is None
    remover.join()
    assert identity(folder) is None


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.EDQUOT, "quota"), StoreUnavailable, "expected free disk space"),
        (OSError(errno.EROFS, "read-only"), StoreUnavailable, "expected permission to write"),
        (OSError(errno.EIO, "broken"), StoreUnavailable, "full or failing disk"),
        (duckdb.IOException('Cannot write "x": No space left on device'), StoreUnavailable, "expected free disk space"),
        (duckdb.IOException('Cannot open "x": Permission denied'), StoreUnavailable, "expected permission to write"),
        (lmdb.Error("mdb_txn_commit: Input/output error"), StoreUnavailable, "full or failing disk"),
        (duckdb.InvalidInputException("No magic bytes"), StoreCorrupt, "which file is damaged"),
    ],
)
def test_errors_of_the_system_and_of_libraries_become_one_sentence(
    tmp_path: Path, error: Exception, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said), plain_errors(tmp_path):
        raise error


def test_a_folder_without_a_store_is_told_from_a_file_that_is_missing_in_one(tmp_path: Path) -> None:
    for root, said in ((tmp_path / "nowhere", "expected a store, found none"), (tmp_path, "working file system")):
        with pytest.raises(StoreUnavailable, match=said), plain_errors(root):
            (root / "file").read_bytes()


def test_errors_of_our_own_making_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), plain_errors(tmp_path):
        raise ZeroDivisionError


def test_the_store_has_the_names_it_lists_and_no_others() -> None:
    assert all(hasattr(batch_scoring.store, name) for name in batch_scoring.store.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        batch_scoring.store.nosuch  # noqa: B018
