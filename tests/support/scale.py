"""How long the fault suite runs: short within ``make test``; ``FAULT_ROUNDS=100`` makes it a hundred times as thorough."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))


def some(count: int, *, every: int, first: int = 0) -> range:
    """The operations to try out of ``count``: in the short form one in ``every``, in the long form all."""
    return range(first % every, count, every) if ROUNDS == 1 else range(count)
