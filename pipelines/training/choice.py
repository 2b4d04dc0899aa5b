"""The choice between recipes by a one-standard-error rule, and what is said of it. Pure.

Every difference is paired: the same rows forecast by both. Its error is the larger of two estimates, because each misses
something: from block to block (few of them, but that is where a model is fitted anew) and from day to day (days are the
clusters: all rows of a day share its weather).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_scoring.declare import Model, Window, show_window
from batch_scoring.domain import WindowVerdict
from pipelines.training.recipe import Recipe, simplicity, window_length

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class BlockScore:
    """A recipe on one block: its loss there, and by day the losses and the numbers of rows, in the order of days."""

    loss: float
    days: Floats
    rows: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """How much more a recipe loses than another on the same rows: the mean over blocks, and its standard error."""

    mean: float
    error: float

    def is_noise(self, errors: float) -> bool:
        """No more than so many standard errors: it ties."""
        return self.mean <= errors * self.error + _ROUNDING


def tolerance(compared: int) -> float:
    """How many standard errors tie, when so many recipes were compared with the best.

    One, if it is a single comparison: that happens by chance in 16 % of cases. The more are compared, the further ahead the
    luckiest of them is by chance alone; the 16 % are divided among all (Bonferroni).
    """
    normal = NormalDist()
    return max(1.0, normal.inv_cdf(1 - (1 - normal.cdf(1.0)) / max(compared, 1)))


def excess(scores: Sequence[BlockScore], best: Sequence[BlockScore]) -> Excess:
    """The paired excess of one recipe over another.

    Args:
        scores, best: of the same blocks, in the same order; at least one.
    """
    by_block = np.array([one.loss - other.loss for one, other in zip(scores, best, strict=True)])
    between = float(by_block.std(ddof=1) / np.sqrt(len(by_block))) if len(by_block) > 1 else 0.0
    within = sum(_variance(one.days - other.days, one.rows) for one, other in zip(scores, best, strict=True))
    return Excess(mean=float(by_block.mean()), error=max(between, float(np.sqrt(within)) / len(by_block)))


def _variance(differences: Floats, rows: npt.NDArray[Any]) -> float:
    """Variance of a row-weighted mean of day means, days being independent clusters (Cochran, *Sampling Techniques*)."""
    if len(differences) < 2:
        return 0.0
    weights = rows / rows.sum()
    residuals = weights * (differences - (weights * differences).sum())
    return float(len(differences) / (len(differences) - 1) * np.square(residuals).sum())


def choose(scored: Mapping[Recipe, Sequence[BlockScore]], declared: Model, errors: float = 1.0) -> Recipe:
    """The simplest recipe that ties with the best: nothing is shortened, tuned or continued but for a gain beyond noise.

    The best has the least mean loss. Another ties with it when its excess is at most so many standard errors (one in
    Breiman et al., *CART*, 1984). What is simpler: :func:`pipelines.training.recipe.simplicity`.

    Args:
        scored: at least one recipe, each on the same blocks. errors: of :func:`tolerance`.
    """
    best = scored[best_of(scored)]
    tied = [recipe for recipe, scores in scored.items() if excess(scores, best).is_noise(errors)]
    return max(tied, key=lambda recipe: simplicity(recipe, declared))


def best_of(scored: Mapping[Recipe, Sequence[BlockScore]]) -> Recipe:
    """The recipe with the least mean loss; the first of equal ones."""
    return min(scored, key=lambda recipe: mean_loss(scored[recipe]))


def mean_loss(scores: Sequence[BlockScore]) -> float:
    """Mean over blocks."""
    return float(np.mean([score.loss for score in scores]))


def judge_windows(scored: Mapping[Window, Sequence[BlockScore]], errors: float = 1.0) -> tuple[WindowVerdict, ...]:
    """Each window under the same model: mean, spread over blocks, and its excess over the best with its error."""
    best = min(scored, key=lambda window: mean_loss(scored[window]))
    verdicts = []
    for window, scores in scored.items():
        over = excess(scores, scored[best])
        losses = np.array([score.loss for score in scores])
        spread = float(losses.std(ddof=1)) if len(losses) > 1 else 0.0
        mean = float(losses.mean())
        verdicts.append(
            WindowVerdict(window=window, mean=mean, spread=spread, excess=over.mean, error=over.error, ties=over.is_noise(errors))
        )
    return tuple(verdicts)


def explain_choice(scored: Mapping[Recipe, Sequence[BlockScore]], chosen: Recipe, declared: Model) -> str:
    """Why this window, this model and this mode, in a sentence or two."""
    best, longest = best_of(scored), max((recipe.window for recipe in scored), key=window_length)
    sentences = [_on_window(scored, chosen, best, longest)]
    plain = Recipe(window=chosen.window, model=declared)
    if chosen.model != declared or chosen.mode != "scratch":
        what = describe_model(chosen)
        gain = excess(scored[plain], scored[chosen]) if plain in scored else None
        by = f" by {_plus_minus(gain)}" if gain is not None else ""
        sentences.append(f"{what[0].upper()}{what[1:]} beats the declared model{by}.")
    return " ".join(sentences)


def _on_window(scored: Mapping[Recipe, Sequence[BlockScore]], chosen: Recipe, best: Recipe, longest: Window) -> str:
    name = _named(chosen.window)
    if chosen.window != longest:
        rivals = [recipe for recipe in scored if recipe.window == longest]
        nearest = min(rivals, key=lambda recipe: mean_loss(scored[recipe]))
        return f"{name}: {_plus_minus(excess(scored[nearest], scored[chosen]))} less loss than {_spoken(longest)}, beyond noise."
    if best.window == chosen.window:
        return f"{name}: no shorter window has less loss."
    return f"{name}: {_spoken(best.window)} is ahead by {_plus_minus(excess(scored[chosen], scored[best]))}, no more than noise."


def describe_model(recipe: Recipe) -> str:
    """Mode and parameters in words."""
    model = recipe.model
    drawn = (
        f"depth {model.depth}, rate {model.learning_rate:.3g}, {model.rounds} trees, child weight {model.min_child_weight:.3g}, "
        f"rows {model.subsample:.2g}, columns {model.colsample:.2g}"
    )
    return {"scratch": drawn, "warm": f"a warm start ({drawn})", "refresh": "a refresh of the leaves"}[recipe.mode]


def _plus_minus(gain: Excess) -> str:
    return f"{gain.mean:.4f} ± {gain.error:.4f}"


def _spoken(window: Window) -> str:
    return "all data" if window == "all" else show_window(window)


def _named(window: Window) -> str:
    spoken = _spoken(window)
    return spoken[0].upper() + spoken[1:]
