"""How the search of a table is declared: what may vary, how it may be trained anew, and how much may be tried."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from batch_scoring.errors import DeclarationError

Mode = Literal["scratch", "warm", "refresh"]
"""How a model comes to be: fitted from nothing; the live model with more trees; the live model's trees with new leaves."""

MODES: tuple[Mode, ...] = ("scratch", "warm", "refresh")
"""In order of preference when they tie: what depends on nothing before it comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Ranges that trials are drawn from, both ends included; equal ends fix a parameter.

    Attributes:
        depth, rounds, min_child_weight, subsample, colsample, learning_rate: as in ``Model``. Learning rate, rounds and
            child weight are drawn on a logarithmic scale.
    """

    depth: tuple[int, int] = (3, 6)
    learning_rate: tuple[float, float] = (0.03, 0.2)
    rounds: tuple[int, int] = (40, 160)
    min_child_weight: tuple[float, float] = (1.0, 200.0)
    subsample: tuple[float, float] = (0.5, 1.0)
    colsample: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("depth", 1, 16),
            ("learning_rate", 1e-4, 1),
            ("rounds", 1, 10_000),
            ("min_child_weight", 1e-6, math.inf),
            ("subsample", 1e-2, 1),
            ("colsample", 1e-2, 1),
        ):
            low, high = getattr(self, name)
            _require(
                math.isfinite(high) and least <= low <= high <= most,
                f"Space.{name}",
                f"(low, high) with {least:g} ≤ low ≤ high ≤ {most:g}",
                (low, high),
                "Give the smaller end first.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How much is tried beyond the declared windows with the declared model, which are always tried on every block.

    The same plan on the same data gives the same choice, with any number of threads and after any interruption, unless
    ``seconds`` is given: a clock decides then how many trials there are, and two machines may choose differently.

    Attributes:
        trials: parameter sets drawn from ``space``, each with a window and a mode.
        modes: ways of training that are compared. ``warm`` and ``refresh`` stand on the live model and are left out
            while nothing is live or its features have changed.
        added: trees that a warm start adds, as a share of the model's rounds.
        batch: trials proposed together. Larger keeps more cores busy, smaller learns sooner; part of the plan, so that
            the number of cores changes no result.
        keep: share of trials that go on from one block to the next (successive halving).
        seconds: no new batch is begun after so long.
    """

    trials: int = 0
    space: Space = field(default_factory=Space)
    modes: tuple[Mode, ...] = ("scratch",)
    added: float = 0.25
    batch: int = 4
    keep: float = 0.5
    seconds: float | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.trials <= 10_000, "SearchPlan.trials", "0 to 10,000", self.trials, "Give the number of draws.")
        _require(1 <= self.batch <= 1_000, "SearchPlan.batch", "1 to 1,000", self.batch, "Give trials per batch.")
        _require(0 < self.keep <= 1, "SearchPlan.keep", "above 0, at most 1", self.keep, "Give a share.")
        _require(0 < self.added <= 1, "SearchPlan.added", "above 0, at most 1", self.added, "Give a share.")
        _require(self.seconds is None or self.seconds > 0, "SearchPlan.seconds", "above 0", self.seconds, "Or leave it out.")
        known = bool(self.modes) and len(set(self.modes)) == len(self.modes) and set(self.modes) <= set(MODES)
        _require(known, "SearchPlan.modes", f"distinct ones of {', '.join(MODES)}", self.modes, "Give e.g. ('scratch', 'warm').")


def _require(holds: bool, field_name: str, expected: str, found: object, fix: str) -> None:
    if not holds:
        raise DeclarationError(field_name, expected=expected, found=repr(found), fix=fix)
