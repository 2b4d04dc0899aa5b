"""The only door through which the store changes a disk.

Every mutation is one method of :class:`Files`, so a test can fail, forget or count each of them. Files that DuckDB and
LMDB write themselves pass through :meth:`Files.produce`: written aside, closed, then synced and renamed like the rest.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from batch_scoring.errors import ForetableError, StoreCorrupt, StoreUnavailable

_READ_ONLY = 0o444


class Files:
    """The real file system. All paths are absolute; every method raises ``OSError`` as the system call does."""

    def make_folder(self, path: Path) -> None:
        """Create one folder, which must not exist."""
        path.mkdir()

    def write(self, path: Path, data: bytes) -> None:
        """Create a file, which must not exist, and write it whole. Not durable before :meth:`sync`."""
        with path.open("xb") as file:
            file.write(data)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace the bytes of a file in place; only for the lock file, whose loss costs nothing."""
        path.write_bytes(data)

    def produce(self, path: Path, write: Callable[[Path], None]) -> None:
        """Let a library write the file (or folder content) at ``path`` and close it."""
        write(path)

    def sync(self, path: Path) -> None:
        """Return when the bytes of a file have reached the disk."""
        _fsync(path, os.O_RDONLY)

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder have reached the disk."""
        _fsync(path, os.O_RDONLY | os.O_DIRECTORY)

    def protect(self, path: Path) -> None:
        """Take the write permission of a finished file away."""
        path.chmod(_READ_ONLY)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file or folder within one folder; ``target`` must not exist."""
        source.rename(target)

    def link(self, path: Path, target: str) -> None:
        """Create the symbolic link ``path``, which must not exist."""
        path.symlink_to(target)

    def replace(self, source: Path, target: Path) -> None:
        """Move ``source`` over ``target`` in one atomic step."""
        source.replace(target)

    def exchange(self, one: Path, other: Path) -> None:
        """Let two names of one folder change places in one atomic step; both must exist."""
        _exchange(one, other)

    def share(self, path: Path, source: Path) -> None:
        """Give a finished file a second name, ``path``, which must not exist."""
        path.hardlink_to(source)

    def free_bytes(self, path: Path) -> int:
        """What may still be written to the file system of ``path``."""
        return shutil.disk_usage(path).free

    def remove(self, path: Path) -> None:
        """Delete one file or link."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Delete one empty folder."""
        path.rmdir()

    def ensure_folder(self, path: Path) -> None:
        """Create a folder unless it is there, durably either way: whoever made it may have died before it was."""
        if not path.is_dir():
            with suppress(FileExistsError):  # another process came first
                self.make_folder(path)
        self.sync_folder(path.parent)

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all it holds, deepest first; one that is already gone is fine."""
        if path.is_symlink() or not path.is_dir():
            if os.path.lexists(path):
                self.remove(path)
            return
        for inner in sorted(path.iterdir()):
            self.remove_tree(inner)
        self.remove_folder(path)


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


def _exchange(one: Path, other: Path) -> None:
    """renameat2(2) of Linux, renamex_np(2) of macOS: what ``rename`` cannot do for folders that are not empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":  # pragma: no cover -- tests run on Linux
        failed = libc.renamex_np(*names, _RENAME_SWAP)
    else:
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one))


def take_flock(path: Path, *, exclusive: bool, create: bool = False) -> int | None:
    """Open a file or folder and take its advisory lock without waiting.

    The lock belongs to the returned descriptor and ends with it, hence at the latest with the process. Reading
    permission is enough.

    Returns:
        The descriptor, or None when somebody else holds a lock that excludes this one.
    """
    handle = os.open(path, (os.O_RDWR | os.O_CREAT) if create else os.O_RDONLY, 0o644)
    with ExitStack() as undo:
        undo.callback(os.close, handle)
        with suppress(BlockingIOError):
            fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            undo.pop_all()
            return handle
    return None


def hold_folder(path: Path) -> int | None:
    """Wait for the exclusive lock of a folder that others hold for moments only.

    Returns:
        The descriptor, or None when the folder was removed meanwhile.
    """
    with ExitStack() as undo:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        undo.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = os.fstat(handle)
        if identity(path) == (found.st_dev, found.st_ino):
            undo.pop_all()
            return handle
    return None


@contextmanager
def unless_busy(folder: Path) -> Iterator[bool]:
    """Whether no live process is building in a folder, and none begins to as long as this lasts.

    A builder's lock is exclusive. Readers share theirs, and may hold one on what an erasure put aside: they keep what they
    have open, so it is no reason to keep the names.
    """
    with ExitStack() as held:
        handle = None
        with suppress(FileNotFoundError):  # it has just finished
            handle = take_flock(folder, exclusive=False)
        if handle is not None:
            held.callback(os.close, handle)
        yield handle is not None


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what has that name now; None if nothing has. Names change places, inodes do not."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_WORDS = tuple(os.strerror(code) for code in sorted(_FULL))
_BROKEN_WORDS = os.strerror(errno.EIO)
_FORBIDDEN_WORDS = tuple(os.strerror(code) for code in sorted(_FORBIDDEN))


@contextmanager
def plain_errors(root: Path) -> Iterator[None]:
    """Turn errors of the system, DuckDB and LMDB into one sentence about the store at ``root``.

    Raises:
        StoreUnavailable: missing, not writable, full, or another error of the file system.
        StoreCorrupt: a library could not read or make sense of a file.
    """
    try:
        yield
    except ForetableError:
        raise
    except OSError as error:
        raise _unavailable(root, error.errno, str(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb", "lmdb"):
            raise
        text = str(error).strip().splitlines()[0]
        code = getattr(error, "code", None)
        if any(word in str(error) for word in _FULL_WORDS) or code in _FULL:
            raise _unavailable(root, errno.ENOSPC, text) from error
        if any(word in str(error) for word in _FORBIDDEN_WORDS) or code in _FORBIDDEN:
            raise _unavailable(root, errno.EACCES, text) from error
        if _BROKEN_WORDS in str(error) or code == errno.EIO:  # what LMDB says of a disk that filled up in mid-write
            raise _unavailable(root, errno.EIO, text) from error
        raise StoreCorrupt(
            f"store {root}",
            expected="readable files",
            found=text,
            fix="Run 'foretable verify' to see which file is damaged.",
        ) from error


def _unavailable(root: Path, code: int | None, text: str) -> StoreUnavailable:
    subject = f"store {root}"
    if code in _FULL:
        return StoreUnavailable(
            subject, expected="free disk space", found=text, fix="Free some space and run it again; nothing was published."
        )
    if code in _FORBIDDEN:
        return StoreUnavailable(
            subject, expected="permission to write", found=text, fix="Correct the owner or mode of that path."
        )
    if code == errno.ENOENT and not root.exists():
        return no_store(root)
    return StoreUnavailable(
        subject, expected="a working file system", found=text, fix="Look for a full or failing disk, then run 'foretable verify'."
    )


def no_store(root: Path) -> StoreUnavailable:
    """The error for a folder that holds no store."""
    return StoreUnavailable(
        f"store {root}",
        expected="a store",
        found="none",
        fix="Run 'foretable run TABLE --as-of DATE' to make it, or correct the setting 'store'.",
    )
