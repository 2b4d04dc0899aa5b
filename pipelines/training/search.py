"""The training window as a hyperparameter: every candidate on the same out-of-time blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_scoring.declare import Label, Model, Window
from batch_scoring.domain import WindowScore
from batch_scoring.errors import NoData
from batch_scoring.scoring import Scorer, probability
from pipelines.training.fit import TrainingData, fit
from pipelines.training.folds import Block, in_block, in_window, known
from pipelines.training.metrics import auc, log_loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.training.folds import Mask

TIE = 1e-9
"""Mean losses closer than this are the same number; windows that hold the same rows tie exactly."""


def search_windows(
    data: TrainingData,
    label: Label,
    blocks: tuple[Block, ...],
    windows: tuple[Window, ...],
    model: Model,
    params: Mapping[str, Any],
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[WindowScore, ...]:
    """Fit every window at every block's cut-off and score it on the block.

    Args:
        blocks: search blocks only, never the hold-out.

    Returns:
        One row per window and block, in the order they are declared and given. A window whose rows at some cut-off hold
        only one class cannot be compared with the others and is left out.

    Raises:
        NoData: no window can be fitted.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fitted: dict[tuple[int, bytes], npt.NDArray[np.float64]] = {}
    usable = [block for block in blocks if _both_classes(data, known(data.events, data.known_at, label, block.cutoff))]
    found: dict[Window, tuple[WindowScore, ...]] = {}

    def objective(trial: optuna.Trial) -> float:
        window = windows[trial.suggest_categorical("window", list(range(len(windows))))]
        rows_of = {block: _rows(data, label, block, window) for block in usable}
        if not all(_both_classes(data, rows) for rows in rows_of.values()):
            raise optuna.TrialPruned
        progress(f"window {window}")
        scores = tuple(_score(data, block, window, rows, model, params, fitted) for block, rows in rows_of.items())
        found[window] = scores
        return float(np.mean([score.log_loss for score in scores]))

    if usable:
        sampler = optuna.samplers.GridSampler({"window": list(range(len(windows)))}, seed=model.seed)
        optuna.create_study(direction="minimize", sampler=sampler).optimize(objective, n_trials=len(windows))
    if not found:
        raise NoData(
            "window search",
            expected="both outcomes among the labels known at each cut-off",
            found="only one, or none",
            fix="Choose a later as-of, or ingest more history.",
        )
    return tuple(score for window in windows for score in found.get(window, ()))


def mean_losses(scores: tuple[WindowScore, ...]) -> dict[Window, float]:
    """Mean log-loss over the blocks of each window, in the order they were searched."""
    losses: dict[Window, list[float]] = defaultdict(list)
    for score in scores:
        losses[score.window].append(score.log_loss)
    return {window: float(np.mean(values)) for window, values in losses.items()}


def choose_window(scores: tuple[WindowScore, ...]) -> Window:
    """The window of least mean log-loss; of equal ones the longer."""
    losses = mean_losses(scores)
    least = min(losses.values())
    return max((window for window, loss in losses.items() if loss - least <= TIE), key=_length)


def _length(window: Window) -> float:
    return float("inf") if window == "all" else float(window)


def _rows(data: TrainingData, label: Label, block: Block, window: Window) -> Mask:
    return known(data.events, data.known_at, label, block.cutoff) & in_window(data.events, label, block.cutoff, window)


def _both_classes(data: TrainingData, rows: Mask) -> bool:
    labels = data.labels[rows]
    return bool(len(labels)) and labels.min() != labels.max()


def _score(
    data: TrainingData,
    block: Block,
    window: Window,
    rows: Mask,
    model: Model,
    params: Mapping[str, Any],
    fitted: dict[tuple[int, bytes], npt.NDArray[np.float64]],
) -> WindowScore:
    test = in_block(data.events, block)
    # Windows longer than the history hold the same rows and would be the same model: it is fitted once.
    recipe = (block.fold, np.packbits(rows).tobytes())
    if recipe not in fitted:
        fitted[recipe] = predict(fit(data, rows, params, model.rounds), data, test)
    scores = fitted[recipe]
    return WindowScore(
        window=window,
        fold=block.fold,
        cutoff=block.cutoff,
        until=block.last,
        train_rows=int(rows.sum()),
        test_rows=int(test.sum()),
        log_loss=log_loss(data.labels[test], scores),
        auc=auc(data.labels[test], scores),
    )


def predict(model: bytes, data: TrainingData, rows: Mask) -> npt.NDArray[np.float64]:
    """Probabilities of the chosen examples."""
    return probability(Scorer(model=model, features=data.features).margins(data.matrix[rows]))
