"""Recipes proposed by Optuna and pruned by successive halving, in batches, so that neither cores nor kills change the answer.

A batch is proposed from what all earlier batches found, by a sampler whose seed is the plan's and the batch's number. It is
then asked block by block, the newest first, and after each block only the better share goes on, ranked together with
everything seen on those blocks before (Jamieson and Talwalkar, 2016, made synchronous: who finishes first decides nothing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_scoring.declare import Model, Window
from pipelines.training.choice import BlockScore, mean_loss
from pipelines.training.recipe import Recipe, continued

if TYPE_CHECKING:
    import optuna

    from batch_scoring.search_plan import Mode, SearchPlan, Space

_PARAMETERS = ("depth", "learning_rate", "rounds", "min_child_weight", "subsample", "colsample")
_INTEGERS = ("depth", "rounds")
_LOGARITHMIC = ("learning_rate", "rounds", "min_child_weight")
_STARTUP = 8
"""Trials drawn at random before the sampler has something to learn from."""


@dataclass(slots=True, kw_only=True, eq=False)
class Tried:
    """A recipe and its scores so far, newest block first. ``drawn``: what Optuna called it; None for a declared one."""

    recipe: Recipe
    scores: list[BlockScore] = field(default_factory=list)
    pruned: bool = False
    drawn: dict[str, Any] | None = None


def survivors(losses: Sequence[float], others: Sequence[float], keep: float) -> list[int]:
    """Which of a batch go on: those among the better ``keep`` of everything seen at this rung, in their order.

    Args:
        losses: of the batch, so far. others: of all earlier recipes on the same blocks. Ties go to the earlier one.
    """
    places = math.ceil(keep * (len(losses) + len(others)))
    ranked = sorted([(loss, 0, n) for n, loss in enumerate(others)] + [(loss, 1, n) for n, loss in enumerate(losses)])
    return sorted(n for _, is_new, n in ranked[:places] if is_new)


def so_far(tried: Tried, blocks: int) -> float:
    """Mean loss on the first so many blocks."""
    return mean_loss(tried.scores[:blocks])


def propose(
    history: Sequence[Tried],
    windows: tuple[Window, ...],
    modes: tuple[Mode, ...],
    declared: Model,
    plan: SearchPlan,
    count: int,
    batch: int,
) -> list[Tried]:
    """The next ``count`` recipes, given everything tried.

    Args:
        windows, modes: what can be fitted. A refresh has nothing to draw and is never proposed.
        batch: number of the batch; part of the sampler's seed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=declared.seed * 10_007 + batch, n_startup_trials=_STARTUP)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    spaces = _distributions(windows, modes, plan.space)
    study.add_trials([_finished(tried, spaces) for tried in history if tried.drawn is not None and tried.scores])
    proposals = []
    for _ in range(count):
        drawn = study.ask(spaces).params
        proposals.append(Tried(recipe=_recipe(drawn, windows, declared, plan), drawn=drawn))
    return proposals


def _distributions(windows: tuple[Window, ...], modes: tuple[Mode, ...], space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    spaces: dict[str, Any] = {
        "window": IntDistribution(0, len(windows) - 1),  # in order of length, so that neighbours teach about each other
        "mode": CategoricalDistribution([mode for mode in ("scratch", "warm") if mode in modes]),
    }
    for name in _PARAMETERS:
        low, high = getattr(space, name)
        kind = IntDistribution if name in _INTEGERS else FloatDistribution
        spaces[name] = kind(low, high, log=name in _LOGARITHMIC)
    return spaces


def _recipe(drawn: dict[str, Any], windows: tuple[Window, ...], declared: Model, plan: SearchPlan) -> Recipe:
    model = Model(**{name: value for name, value in drawn.items() if name not in ("window", "mode")}, seed=declared.seed)
    mode: Mode = "warm" if drawn["mode"] == "warm" else "scratch"
    return Recipe(window=windows[drawn["window"]], model=continued(model, plan) if mode == "warm" else model, mode=mode)


def drawn_as(recipe: Recipe, windows: tuple[Window, ...], space: Space) -> dict[str, Any] | None:
    """A declared recipe as a trial that the sampler can learn from; None when it lies outside the space."""
    drawn = {name: getattr(recipe.model, name) for name in _PARAMETERS}
    within = all(getattr(space, name)[0] <= value <= getattr(space, name)[1] for name, value in drawn.items())
    return drawn | {"window": windows.index(recipe.window), "mode": "scratch"} if within and recipe.mode == "scratch" else None


def _finished(tried: Tried, spaces: dict[str, Any]) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    done = not tried.pruned
    return create_trial(
        state=TrialState.COMPLETE if done else TrialState.PRUNED,
        params=tried.drawn,
        distributions=spaces,
        value=mean_loss(tried.scores) if done else None,
        intermediate_values={step: so_far(tried, step + 1) for step in range(len(tried.scores))},
    )
