"""Write into MLflow what it does not hold yet. Any number of times: what is there already is left alone.

A marker in the data folder remembers what was sent where, so that a process with nothing to do never imports MLflow, which
takes seconds. The marker is a shortcut and no truth: without it, MLflow itself is asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from batch_scoring.codec import from_json, to_json
from batch_scoring.declare import TableName
from batch_scoring.domain import Manifest, Served, VersionId
from batch_scoring.errors import SettingsError, StoreError
from batch_scoring.settings import Settings
from pipelines.tracking.facts import aliases, key_of

_FOLDER, _MARKER, _LOCK = "tracking", "sent.json", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What one tracker is known to hold of one table: the keys of its versions, and where the aliases point."""

    keys: tuple[str, ...] = ()
    aliases: Mapping[str, VersionId] = field(default_factory=dict)


Marker = dict[str, dict[str, Sent]]
"""By SHA-256 of the tracker's URI, which may hold a password, and by table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A table as it shall be in the tracker."""

    table: TableName
    manifests: tuple[Manifest, ...]
    aliases: Mapping[str, VersionId]

    @property
    def sent(self) -> Sent:
        """What the marker will say once it is."""
        return Sent(keys=tuple(key_of(each) for each in self.manifests), aliases=self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What a catch-up did for one table: the versions it sent, and the aliases it moved (None: taken away)."""

    table: TableName
    versions: tuple[VersionId, ...]
    aliases: Mapping[str, VersionId | None]


def tracker(settings: Settings) -> str:
    """The URI of the tracker: ``MLFLOW_TRACKING_URI``, or a SQLite file in the data folder.

    People see it by :func:`pipelines.tracking.address.shown` alone.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{settings.data / _FOLDER / 'mlflow.db'}"


def pending(settings: Settings) -> tuple[Wanted, ...]:
    """The tables that the tracker is not known to hold as they are now. Reads the store and the marker, nothing else.

    Raises:
        StoreError: the store cannot be read.
    """
    from batch_scoring.store import Reader, Store, versions
    from batch_scoring.store.layout import table_names

    snapshot = Reader(settings.store).snapshot()
    known = _read_marker(settings).get(_tracker_hash(settings), {})
    wanted = []
    for table in table_names(settings.store):
        kept = versions(Store(root=settings.store), table)
        served = snapshot.served(table) if table in snapshot.tables() else Served()
        each = Wanted(table=table, manifests=kept, aliases=aliases(served, kept))
        if kept and known.get(table) != each.sent:
            wanted.append(each)
    return tuple(wanted)


def catch_up(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> tuple[Tracked, ...]:
    """Bring the tracker up to date with the store. Several at once do the work once.

    Raises:
        SettingsError: MLflow is not installed.
        TrackingUnavailable: it does not answer, or refuses. What it holds by then stays, and the next time goes on from there.
        StoreError: the store cannot be read.
    """
    done: list[Tracked] = []
    while pending(settings):  # again once the lock is free: whoever published meanwhile relied on the process that held it
        with _alone(settings, wait=True):
            for wanted in pending(settings):
                done.append(_bring(settings, wanted, progress))
                _mark(settings, wanted)
    return tuple(done)


def _bring(settings: Settings, wanted: Wanted, progress: Callable[[str], None]) -> Tracked:
    if find_spec("mlflow") is None:
        raise SettingsError(
            "tracking", expected="the extra 'mlflow'", found="no MLflow", fix="Install it: pip install 'foretable[mlflow]'."
        )
    from pipelines.tracking.mlflow_store import MlflowTracker

    return MlflowTracker(uri=tracker(settings), files=settings.data / _FOLDER).bring(wanted, settings.store, progress)


def follow(settings: Settings) -> None:
    """Have a process of its own catch up with what has just been published or rolled back. Returns at once, and never raises.

    Does nothing when tracking is off, nothing is missing, or such a process is running already: it looks again before it ends.
    """
    if settings.tracking == "off":
        return
    import subprocess
    import sys

    try:
        with _alone(settings, wait=False) as mine:
            if not mine or not pending(settings):
                return
        with (settings.data / _FOLDER / "log.txt").open("ab") as log:
            subprocess.Popen(  # our own interpreter and module
                [sys.executable, "-m", "pipelines", "track"],
                env=os.environ | {"FORETABLE_WORKSPACE": str(settings.workspace)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except (OSError, StoreError):  # a tracker that cannot be followed, not even a process for it, must not stop what it follows
        return


@contextmanager
def _alone(settings: Settings, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of the tracking folder; without ``wait``, whether it was free."""
    folder = settings.data / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _tracker_hash(settings: Settings) -> str:
    return hashlib.sha256(tracker(settings).encode()).hexdigest()


def _marker(settings: Settings) -> Path:
    return settings.data / _FOLDER / _MARKER


def _read_marker(settings: Settings) -> Marker:
    try:
        return from_json(_marker(settings).read_bytes(), Marker)
    except (FileNotFoundError, ValueError):  # a damaged marker costs a look at the tracker
        return {}


def _mark(settings: Settings, wanted: Wanted) -> None:
    marker = _read_marker(settings)
    marker.setdefault(_tracker_hash(settings), {})[wanted.table] = wanted.sent
    unfinished = _marker(settings).with_suffix(".tmp")
    unfinished.write_bytes(to_json(marker))
    unfinished.replace(_marker(settings))
