"""How long the fault suite runs: short within ``make test``; ``FAULT_ROUNDS=100`` makes it a hundred times as thorough."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
