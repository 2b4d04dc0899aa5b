"""What a search chooses between: a window, a model's parameters, and the way of training it anew."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch_scoring.codec import to_json
from batch_scoring.declare import Model, PredictionTable, Sampled, Window
from batch_scoring.domain import Column, Training, Trial, WindowScore, WindowVerdict
from batch_scoring.search_plan import MODES, Mode

if TYPE_CHECKING:
    from batch_scoring.search_plan import SearchPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way to make a model from the labels known at any cut-off.

    Attributes:
        model: its parameters. A warm start adds ``model.rounds`` trees to the live model's; a refresh keeps the live
            model's trees and takes nothing from here.
    """

    window: Window
    model: Model
    mode: Mode = "scratch"


def declared(window: Window, model: Model, mode: Mode, plan: SearchPlan) -> Recipe:
    """A window with the declared model, in a mode."""
    return Recipe(window=window, model=continued(model, plan) if mode == "warm" else model, mode=mode)


def continued(model: Model, plan: SearchPlan) -> Model:
    """The model whose rounds are those that a warm start adds."""
    return replace(model, rounds=max(1, round(model.rounds * plan.added)))


def window_length(window: Window) -> tuple[float, float]:
    """Windows in order: the longer span, then the larger sample, is the greater."""
    if isinstance(window, Sampled):
        return window_length(window.window)[0], float(window.rows)
    return float("inf") if window == "all" else float(window), float("inf")


def simplicity(recipe: Recipe, base: Model) -> tuple[float, ...]:
    """The greatest of those that tie is taken: the longest window, then training from scratch, then the declared model, then
    fewer leaves.
    """
    leaves = recipe.model.rounds * 2.0**recipe.model.depth
    return (*window_length(recipe.window), -MODES.index(recipe.mode), float(recipe.model == base), -leaves)


def plan_id(table: PredictionTable) -> str:
    """A short hash of everything that is declared about a table's search: equal ids and equal data, equal choices."""
    said = to_json([table.model, table.windows, table.holdout, table.search])
    return hashlib.sha256(said).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The outcome of a search.

    Attributes:
        recipe: the chosen one. verdict: why, in words.
        windows: every declared window with the declared model on every block. verdicts: what follows for each window.
        trials: everything that was tried, in order.
    """

    recipe: Recipe
    windows: tuple[WindowScore, ...]
    verdict: str
    verdicts: tuple[WindowVerdict, ...]
    trials: tuple[Trial, ...]

    @property
    def window(self) -> Window:
        """The chosen window."""
        return self.recipe.window


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The model to serve, as its record; the model itself lies beside it. ``features`` carry learned categories."""

    training: Training
    features: tuple[Column, ...]
