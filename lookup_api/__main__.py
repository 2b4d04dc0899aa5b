"""``python -m lookup_api``: serve a store over HTTP. ``foretable serve`` becomes this process."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookup_api.serve import Serving


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped.

    Returns:
        0 after an orderly end; 2 when it could not start, with one sentence on standard error; 1 when it failed.
    """
    from batch_scoring.errors import ForetableError
    from lookup_api.serve import bind, check_store, run

    try:
        serving = _serving(arguments)
        release = check_store(serving.store)
        listener = bind(serving)
    except ForetableError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    workers = f"{serving.workers} worker{'s' if serving.workers > 1 else ''}"
    sys.stderr.write(f"Serving release {release} of {serving.store} at {serving.url}/docs ({workers}). Stop with Ctrl+C.\n")
    # uvicorn raises the signal that stopped it once more when it has stopped in good order; that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return 0 if run(serving, listener) else 1
    except KeyboardInterrupt:
        return 0


def _serving(arguments: list[str] | None) -> Serving:
    from batch_scoring.settings import load_settings
    from lookup_api.serve import Serving

    parser = argparse.ArgumentParser(
        prog="python -m lookup_api",
        description="Serve a store over HTTP. What is not given here comes from foretable.toml and FORETABLE_… variables.",
    )
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--workers", type=int, help="worker processes")
    parser.add_argument("--store", type=Path, help="folder of the store")
    given = parser.parse_args(arguments)
    settings = load_settings()
    return Serving(
        store=(given.store or settings.store).absolute(),
        host=given.host or settings.host,
        port=given.port or settings.port,
        workers=given.workers or settings.workers,
    )


if __name__ == "__main__":
    sys.exit(main())
