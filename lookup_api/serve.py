"""Running the application: one listening socket, one or more worker processes, a graceful end."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.errors import SettingsError, StoreUnavailable
from batch_scoring.store import Reader

if TYPE_CHECKING:
    from uvicorn import Config

GRACE = 15
"""Seconds that requests in flight have to finish when the server is stopped."""
_KEEP_ALIVE = 75
"""Seconds an idle connection stays open: longer than the idle time of common load balancers and client pools, so that the
client closes first and no request meets a closing connection."""
_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What to serve, and where."""

    store: Path
    host: str
    port: int
    workers: int

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def check_store(store: Path) -> int:
    """Open the current release, to find out now rather than at the first request whether it can be served.

    Returns:
        The release.

    Raises:
        StoreUnavailable: missing, or not readable by this user.
        StoreCorrupt: the release or a live version is damaged.
    """
    blocked = _first_unreadable(store)
    if blocked is not None:
        raise StoreUnavailable(
            f"store {store}",
            expected="permission to read",
            found=f"none on {blocked} for user {os.geteuid()}",
            fix="Give this user read permission (and 'x' on folders), or serve as the store's owner.",
        )
    return Reader(store).snapshot().release.id


def bind(serving: Serving) -> socket.socket:
    """The listening socket; the kernel queues connections from now on.

    Raises:
        SettingsError: the port is held, forbidden, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            serving.host, serving.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(serving, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _unusable(serving, error) from None
    listener.set_inheritable(True)
    return listener


def run(serving: Serving, listener: socket.socket) -> bool:
    """Serve until SIGINT or SIGTERM; requests in flight are finished first.

    Returns:
        Whether that was in good order: False when a worker could not start.
    """
    from uvicorn import Server

    from lookup_api.app import LookupApi
    from lookup_api.workers import Workers

    def application() -> LookupApi:
        app = LookupApi(serving.store)
        _keep()
        return app

    server = Server(configure(application))
    if serving.workers == 1:
        server.run(sockets=[listener])
        return True
    _keep()
    return Workers(serving.workers, lambda: server.run(sockets=[listener]), listener).run()


def configure(application: Callable[[], Any]) -> Config:
    """How uvicorn runs here: its fastest loop and parser, bounded heads, no log line per request.

    Args:
        application: makes the ASGI application; called once in every worker process.
    """
    import uvloop  # noqa: F401 -- loaded before workers are forked
    from uvicorn import Config

    from lookup_api.protocol import BoundedHttp

    return Config(
        application,
        factory=True,
        interface="asgi3",
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=LOGGING,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )


def _keep() -> None:
    """What is loaded by now lives as long as the process: the collector need not look at it again with every request."""
    gc.collect()
    gc.freeze()


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        "foretable": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "batch_scoring": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        # Its warnings are about what clients send; they get an answer, and a flood of them must not fill a disk.
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}


def _first_unreadable(store: Path) -> Path | None:
    """The first folder or pointer on the way to the current release that this user may not enter or read."""
    for path in (*reversed(store.parents), store, store / "current"):
        try:
            if not path.exists():
                return None  # missing, which the reader says better
        except PermissionError:
            return path.parent
        if path.is_dir() and not os.access(path, os.X_OK):
            return path
    release = store / "current"
    return None if os.access(release / "release.json", os.R_OK) else release / "release.json"


def _unusable(serving: Serving, error: OSError) -> SettingsError:
    where = f"address {serving.host}:{serving.port}"
    match error.errno:
        case errno.EADDRINUSE:
            return SettingsError(
                where,
                expected="a free port",
                found="one that another process holds",
                fix="Stop that process, or set 'port' (FORETABLE_PORT) to another.",
            )
        case errno.EACCES:
            return SettingsError(
                where,
                expected="a port this user may open",
                found=f"port {serving.port}",
                fix="Set 'port' (FORETABLE_PORT) to one of 1024 or more.",
            )
        case _:
            return SettingsError(
                where,
                expected="an address of this machine",
                found=error.strerror or str(error),
                fix="Set 'host' (FORETABLE_HOST) to e.g. 127.0.0.1, or 0.0.0.0 for every interface.",
            )
