"""File systems that fail, die or forget at a chosen moment: the store's port, seen from its worst side."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_scoring.store import Files

STEPS = (
    "make_folder",
    "write",
    "overwrite",
    "produce",
    "sync",
    "sync_folder",
    "protect",
    "rename",
    "link",
    "replace",
    "exchange",
    "share",
    "remove",
    "remove_folder",
)
"""The primitive operations of the port: everything else is made of them."""


class Watched(Files):
    """Calls :meth:`before` ahead of every primitive operation and :meth:`after` behind it."""

    def before(self, step: str, path: Path) -> None: ...

    def after(self, step: str, path: Path) -> None: ...


def _watch(step: str) -> Callable[..., None]:
    real = getattr(Files, step)

    def watched(self: Watched, path: Path, *rest: Any) -> None:
        self.before(step, path)
        real(self, path, *rest)
        self.after(step, path)

    return watched


for _step in STEPS:
    setattr(Watched, _step, _watch(_step))


class Counting(Watched):
    """Writes down every operation."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def before(self, step: str, path: Path) -> None:
        self.steps.append(f"{step} {path.name}")


class Failing(Watched):
    """The ``nth`` operation (from 0), and with ``forever`` every later one, fails with an errno.

    Args:
        late: the operation is carried out and then reported as failed, as a lost answer of a network disk is; or, for
            ``produce`` and ``write``, leaves half a file behind.
    """

    def __init__(self, nth: int, code: int, *, forever: bool = False, late: bool = False) -> None:
        self.left, self.code, self.forever, self.late = nth, code, forever, late
        self.fired = False

    def _is_due(self) -> bool:
        self.left -= 1
        due = self.left < 0 if self.forever else self.left == -1
        self.fired = self.fired or due
        return due

    def before(self, step: str, path: Path) -> None:
        if not self.late and self._is_due():
            raise OSError(self.code, os.strerror(self.code), str(path))

    def after(self, step: str, path: Path) -> None:
        if self.late and self._is_due():
            if step in ("write", "produce"):
                os.truncate(path, path.stat().st_size // 2)
            raise OSError(self.code, os.strerror(self.code), str(path))


class Dying(Watched):
    """The process is killed before the ``nth`` operation (from 0)."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def before(self, step: str, path: Path) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class PowerCut(BaseException):
    """The moment after which nothing more happens."""


class Crashing(Watched):
    """As :class:`Dying`, for many crashes in one process: from the ``nth`` operation on (from 0) nothing happens any more.

    Locks end with the exception that passes through, as they would with the process.
    """

    def __init__(self, nth: int) -> None:
        self.left = nth

    def before(self, step: str, path: Path) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCut


@dataclass(slots=True)
class _Change:
    """A change of names in ``folder`` that no sync has made durable yet, and how to take it back."""

    folder: Path
    undo: Callable[[], None]


class Forgetful(Watched):
    """A disk that keeps nothing it was not told to sync, cut off before the ``nth`` operation (from 0).

    :meth:`cut_power` then makes the folder what such a disk could hold: of the names changed in each folder since its
    last sync, any number of the latest are taken back; files whose bytes were not synced are torn, emptied or filled
    with other bytes.
    """

    def __init__(self, nth: int, graveyard: Path) -> None:
        self.left = nth
        self.graveyard = graveyard
        self.changes: list[_Change] = []
        self.unsynced: set[Path] = set()
        self.moves: list[tuple[Path, Path]] = []
        graveyard.mkdir(exist_ok=True)

    def before(self, step: str, path: Path) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCut

    def _moved(self, source: Path, target: Path) -> None:
        """Everything known by an old path is known by the new one."""
        self.unsynced = {_rebase(path, source, target) for path in self.unsynced}
        for change in self.changes:
            change.folder = _rebase(change.folder, source, target)
        self.moves.append((source, target))

    def _where(self, since: int) -> Callable[[Path], Path]:
        """Where a path of an earlier moment is now."""

        def now(path: Path) -> Path:
            for source, target in self.moves[since:]:
                path = _rebase(path, source, target)
            return path

        return now

    def _note(self, folder: Path, act: Callable[[Callable[[Path], Path]], None]) -> None:
        since = len(self.moves)
        self.changes.append(_Change(folder, lambda: act(self._where(since))))

    def after(self, step: str, path: Path) -> None:
        match step:
            case "make_folder":
                self._note(path.parent, lambda now: shutil.rmtree(now(path), ignore_errors=True))
            case "write" | "produce":
                self.unsynced.add(path)
                self._note(path.parent, lambda now: now(path).unlink(missing_ok=True))
            case "link" | "share":
                self._note(path.parent, lambda now: now(path).unlink(missing_ok=True))
            case "sync":
                self.unsynced.discard(path)
            case "sync_folder":
                self.changes = [change for change in self.changes if change.folder != path]

    def rename(self, source: Path, target: Path) -> None:
        self.before("rename", source)
        Files.rename(self, source, target)
        self._moved(source, target)

        def undo(now: Callable[[Path], Path]) -> None:
            here = now(target)
            back = here.with_name(source.name)
            if os.path.lexists(here) and not os.path.lexists(back):
                here.rename(back)
                self._moved(here, back)

        self._note(target.parent, undo)

    def replace(self, source: Path, target: Path) -> None:
        self.before("replace", source)
        saved = self._bury(target)
        Files.replace(self, source, target)
        if source in self.unsynced:
            self.unsynced.discard(source)
            self.unsynced.add(target)

        def undo(now: Callable[[Path], Path]) -> None:
            here = now(target)
            if os.path.lexists(here):
                here.replace(here.with_name(source.name))
            if saved is not None:
                _unbury(saved, here)

        self._note(target.parent, undo)

    def exchange(self, one: Path, other: Path) -> None:
        self.before("exchange", one)
        self._swap(one, other)
        self._note(other.parent, lambda now: self._swap(now(one), now(other)))

    def _swap(self, one: Path, other: Path) -> None:
        if os.path.lexists(one) and os.path.lexists(other):
            Files.exchange(self, one, other)
            between = one.with_name("between")
            for source, target in ((one, between), (other, one), (between, other)):
                self._moved(source, target)

    def remove(self, path: Path) -> None:
        self.before("remove", path)
        saved = self._bury(path)
        Files.remove(self, path)

        def undo(now: Callable[[Path], Path]) -> None:
            if saved is not None and now(path).parent.is_dir():
                _unbury(saved, now(path))

        self._note(path.parent, undo)

    def remove_folder(self, path: Path) -> None:
        self.before("remove_folder", path)
        Files.remove_folder(self, path)
        self._note(path.parent, lambda now: now(path).mkdir(exist_ok=True) if now(path).parent.is_dir() else None)

    def _bury(self, path: Path) -> Path | None:
        if not os.path.lexists(path):
            return None
        saved = self.graveyard / f"{len(list(self.graveyard.iterdir()))}"
        shutil.copy2(path, saved, follow_symlinks=False)
        return saved

    def cut_power(self, chance: random.Random) -> None:
        """Make the disk what it may hold after the cut."""
        doomed: set[int] = set()
        for folder in {change.folder for change in self.changes}:
            here = [id(change) for change in self.changes if change.folder == folder]
            doomed.update(here[chance.randrange(len(here) + 1) :])
        for change in reversed(self.changes):
            if id(change) in doomed:
                change.undo()
        for path in sorted(self.unsynced):
            if path.is_file() and not path.is_symlink():
                _tear(path, chance)


def _unbury(saved: Path, path: Path) -> None:
    """Put a file back in one step; the graveyard may be on another file system."""
    aside = path.with_name("unburied")
    shutil.copy2(saved, aside, follow_symlinks=False)
    aside.replace(path)


def _tear(path: Path, chance: random.Random) -> None:
    path.chmod(0o644)
    size = path.stat().st_size
    match chance.randrange(4):
        case 0:
            path.write_bytes(b"")
        case 1:
            os.truncate(path, chance.randrange(size + 1))
        case 2:
            path.write_bytes(b"\0" * size)
        case _:
            return


def _rebase(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path == source or source in path.parents else path
