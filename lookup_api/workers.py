"""Several worker processes behind one listening socket.

They are forked once everything is loaded, so any number of them is ready as soon as one would be, and they share what
was loaded. The first process serves nothing: it waits for them, replaces one that dies, and ends when they have ended.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_SOON = 1.0
"""A worker that ends by itself within so many seconds could not start, and the next one could not either."""


class Workers:
    """The processes, and whether they are to go on. Make one before any thread or event loop is started.

    Args:
        count: how many. serve: what each does; returns in good order when its process gets SIGTERM.
        listener: their socket. It is closed here when they are told to stop, so that whoever comes then is refused by
            the kernel rather than left waiting.
    """

    def __init__(self, count: int, serve: Callable[[], None], listener: socket.socket) -> None:
        self._count = count
        self._serve = serve
        self._listener = listener
        self._started: dict[int, float] = {}
        self._stopping = False
        # Its writing end is held by this process alone: when it closes, however that came about, the workers stop.
        self._lifeline = os.pipe()

    def run(self) -> bool:
        """Start them, wait, replace; return when SIGTERM or SIGINT has come and all have ended.

        Returns:
            Whether that was in good order: False when a worker could not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        for _ in range(self._count):
            self._fork()
        well = True
        while self._started:
            process, status = os.wait()
            lived = time.monotonic() - self._started.pop(process)
            if self._stopping:
                continue
            if lived < _SOON and os.WIFEXITED(status):
                sys.stderr.write(f"Worker {process} could not start ({_how(status)}); stopping.\n")
                well = False
                self._stop()
            else:
                sys.stderr.write(f"Worker {process} ended ({_how(status)}); starting another.\n")
                self._fork()
        return well

    def _stop(self) -> None:
        self._stopping = True
        self._listener.close()
        for process in self._started:
            with suppress(ProcessLookupError):  # it ended in this moment
                os.kill(process, signal.SIGTERM)

    def _fork(self) -> None:
        # A signal that came between the fork and the note of it would miss the new worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        try:
            process = os.fork()
            if process == 0:
                self._become_worker()
            self._started[process] = time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))

    def _become_worker(self) -> NoReturn:
        """Serve, then end the process here: nothing of the first process may run on in a copy."""
        code = 1
        try:
            reading, writing = self._lifeline
            os.close(writing)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the first process passes it on
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
            threading.Thread(target=_stop_with, args=(reading,), daemon=True).start()
            self._serve()
            code = 0
        except BaseException:  # noqa: BLE001 -- whatever it was, it must not unwind into the first process's frames
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _stop_with(lifeline: int) -> None:
    """End this process in good order when the first one is gone."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
