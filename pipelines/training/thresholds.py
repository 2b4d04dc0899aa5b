"""Learning a threshold from validation, and reporting what it does on the hold-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from batch_scoring.goals import (
    Goal,
    LearnedThreshold,
    MinimumCost,
    MinimumPrecision,
    MinimumRecall,
    Operating,
    TopPerDay,
    in_words,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


def learn_threshold(goal: Goal, labels: npt.NDArray[Any], scores: Floats, days: npt.NDArray[Any]) -> LearnedThreshold:
    """The threshold that serves a goal best on these rows.

    Recall: the highest that still finds enough. Precision: the lowest that is still right often enough; where none is, the
    one that is right most often. Cost: the cheapest, the highest of equal ones. Only scores that occur are considered, and
    one beyond them all, at which nobody is decided yes.

    Args:
        labels: 0 or 1, ``(n,)``, n > 0. scores: as they will be served. days: the version that each row belongs to.
    """
    import numpy as np

    steps, flagged, hits = _steps(labels, scores)
    positive, rows = hits[-1], flagged[-1]
    met, per_version = True, None
    match goal:
        case MinimumRecall(at_least=share):
            enough = hits >= share * positive - 1e-9
            place, met = int(np.argmax(enough)), bool(positive > 0)
        case MinimumPrecision(at_least=share):
            precision = np.divide(hits, flagged, out=np.zeros(len(hits)), where=flagged > 0)
            fine = np.flatnonzero(precision >= share - 1e-9)
            met = len(fine) > 0
            place = int(fine[-1]) if met else int(len(precision) - 1 - np.argmax(precision[::-1]))
        case MinimumCost(missed=missed, false_alarm=alarm):
            place = int(np.argmin(missed * (positive - hits) + alarm * (flagged - hits)))
        case TopPerDay(count=count):
            each = [_nth_highest(scores[days == day], count) for day in np.unique(days)]
            per_version, met = count, bool(rows / len(each) >= count)
            place = int(np.argmin(np.abs(steps - float(np.median(each)))))
        case _:
            assert_never(goal)
    value = float(steps[place])
    chosen = top_per_day(scores, days, per_version) if per_version is not None else scores >= value
    return LearnedThreshold(
        goal=in_words(goal),
        value=value,
        met=met,
        validation=operating(goal, labels, chosen),
        per_version=per_version,
    )


def decided(threshold: LearnedThreshold | float, scores: Floats, days: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows are decided yes, ``(n,)``."""
    import numpy as np

    if isinstance(threshold, LearnedThreshold) and threshold.per_version is not None:
        return top_per_day(scores, days, threshold.per_version)
    return np.asarray(scores >= (threshold.value if isinstance(threshold, LearnedThreshold) else threshold))


def top_per_day(scores: Floats, days: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """The highest scores of each day, and those equal to the last of them."""
    import numpy as np

    chosen = np.zeros(len(scores), dtype=bool)
    for day in np.unique(days):
        rows = days == day
        chosen[rows] = scores[rows] >= _nth_highest(scores[rows], count)
    return chosen


def version_threshold(threshold: LearnedThreshold | float, scores: Floats) -> float:
    """The number that decides in one version: the learned one, or the score of the last that is among the highest."""
    import numpy as np

    if not isinstance(threshold, LearnedThreshold):
        return threshold
    usable = scores[np.isfinite(scores)]
    if threshold.per_version is None or not len(usable):
        return threshold.value
    return _nth_highest(usable, threshold.per_version)


def operating(goal: Goal | None, labels: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> Operating:
    """What deciding yes for the chosen rows does."""
    rows, positive, yes = len(labels), int((labels > 0).sum()), int(chosen.sum())
    hits = int((labels[chosen] > 0).sum())
    costly = isinstance(goal, MinimumCost) and rows
    return Operating(
        rows=rows,
        positive=positive,
        yes=yes,
        recall=hits / positive if positive else None,
        precision=hits / yes if yes else None,
        cost=(goal.missed * (positive - hits) + goal.false_alarm * (yes - hits)) / rows
        if costly and isinstance(goal, MinimumCost)
        else None,
    )


def _nth_highest(scores: Floats, count: int) -> float:
    import numpy as np

    return float(np.sort(scores)[-min(count, len(scores))])


def _steps(labels: npt.NDArray[Any], scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Thresholds from the highest down, how many rows each decides yes, and how many of those are right."""
    import numpy as np

    values, places = np.unique(-scores, return_inverse=True)
    rows = np.bincount(places, minlength=len(values)).cumsum()
    hits = np.bincount(places, weights=np.asarray(labels > 0, dtype=np.float64), minlength=len(values)).cumsum()
    beyond = np.nextafter(-values[0], np.inf)
    return (
        np.concatenate([[beyond], -values]),
        np.concatenate([[0.0], rows]).astype(np.float64),
        np.concatenate([[0.0], hits]),
    )
