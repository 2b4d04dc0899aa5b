"""The training window as a hyperparameter: every candidate on the same out-of-time blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from batch_scoring import tasks
from batch_scoring.declare import Binary, Label, Model, Sampled, Window
from batch_scoring.domain import WindowScore
from batch_scoring.errors import NoData
from batch_scoring.scoring import Scorer
from pipelines.training.fit import TrainingData, fit, parameters
from pipelines.training.folds import Block, in_block
from pipelines.training.metrics import auc, loss
from pipelines.training.samples import training_rows

if TYPE_CHECKING:
    import numpy.typing as npt
    import optuna

    from pipelines.training.folds import Mask

Cell = tuple[Window, Block]

_ROUNDING = 1e-12


def search_windows(
    data: TrainingData,
    label: Label,
    blocks: tuple[Block, ...],
    windows: tuple[Window, ...],
    model: Model,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[WindowScore, ...]:
    """Fit every window at every block's cut-off and score it on the block.

    Args:
        blocks: search blocks only, never the hold-out.
        threads: fits at a time; each is single-threaded, so their number changes no result.

    Returns:
        One row per window and block, in the order they are declared and given. A window whose rows at some cut-off hold
        only one class cannot be compared with the others and is left out.

    Raises:
        NoData: no window can be fitted.
    """
    import optuna

    usable = tuple(block for block in blocks if both_classes(data, training_rows(data, label, block.cutoff, "all", block)))
    cells = {
        (window, block): rows
        for window in windows
        for block in usable
        if both_classes(data, rows := training_rows(data, label, block.cutoff, window, block))
    }
    candidates = [window for window in windows if usable and all((window, block) in cells for block in usable)]
    if not candidates:
        raise NoData(
            "window search",
            expected=f"{tasks.outcomes(data.task)} among the labels known at each cut-off",
            found="only one, or none",
            fix="Choose a later as-of, or ingest more history.",
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=model.seed))
    trials = {candidates[trial.params["window"]]: trial for trial in _ask(study, len(candidates))}
    predictions = _fit_cells(data, {cell: rows for cell, rows in cells.items() if cell[0] in trials}, model, threads, progress)
    scores = tuple(
        _score(data, block, window, cells[window, block], predictions[window, block]) for window in candidates for block in usable
    )
    for window, loss in mean_losses(scores).items():
        study.tell(trials[window], loss)
    return scores


def _ask(study: optuna.Study, candidates: int) -> list[optuna.Trial]:
    """Every window at once: they do not depend on each other and can be fitted side by side."""
    import optuna

    choices = optuna.distributions.CategoricalDistribution(list(range(candidates)))
    for candidate in range(candidates):
        study.enqueue_trial({"window": candidate})
    return [study.ask({"window": choices}) for _ in range(candidates)]


def _fit_cells(
    data: TrainingData, cells: Mapping[Cell, Mask], model: Model, threads: int, progress: Callable[[str], None]
) -> dict[Cell, npt.NDArray[np.float64]]:
    """Predictions of each cell's block. Windows longer than the history hold the same rows: those are fitted once."""
    recipes = {cell: (cell[1].fold, np.packbits(rows).tobytes()) for cell, rows in cells.items()}
    jobs = {recipe: cell for cell, recipe in recipes.items()}
    done: dict[tuple[int, bytes], npt.NDArray[np.float64]] = {}

    def work(recipe: tuple[int, bytes]) -> None:
        cell = jobs[recipe]
        fitted = fit(data, cells[cell], parameters(model, data.task), model.rounds)
        done[recipe] = predict(fitted, data, in_block(data.events, cell[1]))
        progress(f"window search, {len(done)} of {len(jobs)} fits")

    with ThreadPoolExecutor(max_workers=threads) as pool:  # the largest first, so that none is left over at the end
        largest_first = sorted(jobs, key=lambda recipe: -int(cells[jobs[recipe]].sum()))
        for _ in pool.map(work, largest_first):
            pass
    return {cell: done[recipe] for cell, recipe in recipes.items()}


def mean_losses(scores: tuple[WindowScore, ...]) -> dict[Window, float]:
    """Mean loss over the blocks of each window, in the order they were searched."""
    losses: dict[Window, list[float]] = defaultdict(list)
    for score in scores:
        losses[score.window].append(score.loss)
    return {window: float(np.mean(values)) for window, values in losses.items()}


def choose_window(scores: tuple[WindowScore, ...]) -> Window:
    """The longest window that ties with the best: a window is shortened only for a gain beyond noise.

    The best has the least mean loss. Another ties with it if its mean excess is at most one standard error of the
    excesses over the blocks (the one-standard-error rule of Breiman et al., *CART*, 1984, on paired differences). With
    one block only equal losses tie.
    """
    losses = {window: np.array([score.loss for score in scores if score.window == window]) for window in mean_losses(scores)}
    best = losses[min(losses, key=lambda window: float(losses[window].mean()))]
    return max((window for window, loss in losses.items() if _ties(loss - best)), key=_length)


def _ties(excess: npt.NDArray[np.float64]) -> bool:
    error = excess.std(ddof=1) / np.sqrt(len(excess)) if len(excess) > 1 else 0.0
    return bool(excess.mean() <= error + _ROUNDING)


def _length(window: Window) -> tuple[float, bool]:
    """Longer is more; of equally long windows a whole one is more than a sample."""
    if isinstance(window, Sampled):
        return _length(window.window)[0], False
    return float("inf") if window == "all" else float(window), True


def both_classes(data: TrainingData, rows: Mask) -> bool:
    """Whether the chosen examples hold more than one outcome; without that there is nothing to fit."""
    return tasks.learnable(data.task, data.labels[rows])


def _score(data: TrainingData, block: Block, window: Window, rows: Mask, scores: npt.NDArray[np.float64]) -> WindowScore:
    test = in_block(data.events, block)
    return WindowScore(
        window=window,
        fold=block.fold,
        cutoff=block.cutoff,
        until=block.last,
        train_rows=int(rows.sum()),
        test_rows=int(test.sum()),
        loss=loss(data.task, data.labels[test], scores),
        auc=auc(data.labels[test], scores) if isinstance(data.task, Binary) else None,
    )


def predict(model: bytes, data: TrainingData, rows: Mask) -> npt.NDArray[np.float64]:
    """Forecasts of the chosen examples, as :func:`batch_scoring.tasks.forecast` shapes them."""
    return Scorer(model=model, features=data.features, task=data.task).forecasts(data.matrix[rows])
