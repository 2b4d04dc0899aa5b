"""The publish lock: one writer at a time, known by name, gone with its process."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.errors import StoreLocked
from batch_scoring.store.files import no_store, take_flock
from batch_scoring.store.layout import CURRENT, LOCK, Store

_PAUSE = 0.01


@contextmanager
def locked(store: Store, purpose: str) -> Iterator[None]:
    """Hold the store's lock, waiting at most ``store.patience`` seconds for it.

    It is an flock on ``<root>/lock``: the system releases it when the process ends, however it ends, so there is no
    stale lock to take over. The file's text says who holds it and its modification time since when.

    Raises:
        StoreUnavailable: there is no store here.
        StoreLocked: somebody else holds it all that time.
    """
    if not os.path.lexists(store.root / CURRENT):
        raise no_store(store.root)
    with held(store, purpose):
        yield


@contextmanager
def held(store: Store, purpose: str) -> Iterator[None]:
    """As :func:`locked`, for a store that is being created."""
    path = store.root / LOCK
    give_up = time.monotonic() + store.patience
    while (handle := take_flock(path, exclusive=True, create=True)) is None:
        if time.monotonic() >= give_up:
            raise _refusal(store, purpose)
        time.sleep(_PAUSE)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "purpose": purpose}
        store.files.overwrite(path, to_pretty_json(holder))
        yield
    finally:
        os.close(handle)


def _refusal(store: Store, purpose: str) -> StoreLocked:
    path = store.root / LOCK
    since = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    try:
        holder = from_json(path.read_bytes(), dict[str, int | str])
        who = f"process {holder['pid']} on {holder['host']} ({holder['purpose']})"
    except (ValueError, KeyError):  # read while the holder was writing it
        who = "another process"
    return StoreLocked(
        f"store {store.root}",
        expected=f"to {purpose} within {store.patience:g} s",
        found=f"{who} holding the lock since {since:%Y-%m-%d %H:%M:%S} UTC",
        fix="Wait for it and run this again; if it hangs, end that process.",
    )
