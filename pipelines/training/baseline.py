"""Naive forecasts, and which of them is the bar. Each sees labels known at the cut-off and nothing else.

=================== =========================================================================================
constant            the mean of the last days
trailing mean       the mean of the entity, drawn towards wider groups and at last towards everything
same weekday        the entity's mean on this day of the week, drawn towards its trailing mean
last value          what usually follows the entity's newest known outcome; for numbers, that number itself
=================== =========================================================================================

A mean of few rows says little. Each is drawn towards that of the next wider group as if the group had ``min_rows`` more
examples that look like it (James and Stein's shrinkage with a fixed weight).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from batch_scoring.declare import Baseline, Binary, Classes, Label, Number, PredictionTable, Task
from pipelines.training.folds import in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[np.float64]
    Places = npt.NDArray[np.int64]

Naive = Literal["constant", "trailing mean", "same weekday", "last value"]
NAIVE: tuple[Naive, ...] = ("trailing mean", "same weekday", "last value", "constant")
"""In the order in which ties are broken."""

BINARY = Binary()


def forecast(
    history: pl.DataFrame, rows: pl.DataFrame, baseline: Baseline, label: Label, cutoff: datetime, task: Task = BINARY
) -> Floats:
    """The trailing mean for every row, from examples alone.

    Args:
        history: examples whose labels were known at the cut-off, with ``event_timestamp``, ``label`` and the group columns.
        rows: to forecast, with the group columns.

    Returns:
        In row order, as :func:`batch_scoring.tasks.forecast` shapes it. Probabilities are strictly between 0 and 1.
    """
    past = _Past.of(history, rows, baseline, label, cutoff, task)
    return past.shaped(past.trailing(), None)


def naive_forecasts(
    history: pl.DataFrame, rows: pl.DataFrame, table: PredictionTable, cutoff: datetime
) -> Mapping[Naive, Floats]:
    """Every naive forecast for every row; arguments and answers as of :func:`forecast`, ``rows`` with ``event_timestamp``.

    The entity is the narrowest declared group, or the entity's keys where none is declared.
    """
    past = _Past.of(history, rows, _filled(table), table.label, cutoff, table.task)
    trailing = past.trailing()
    return {
        "trailing mean": past.shaped(trailing, past.trailing(inside=True)),
        "same weekday": past.shaped(
            past.weekday(trailing, table.schedule.timezone),
            past.weekday(past.trailing(inside=True), table.schedule.timezone, inside=True),
        ),
        "last value": past.shaped(*past.last(trailing)),
        "constant": past.shaped(past.constant(len(rows)), past.constant(len(past.outcomes))),
    }


def best_naive(losses: Mapping[Naive, float]) -> Naive:
    """The one with the least mean loss on validation; of equal ones the first of :data:`NAIVE`."""
    return min(NAIVE, key=lambda name: losses[name])


def _filled(table: PredictionTable) -> Baseline:
    from dataclasses import replace

    return table.baseline if table.baseline.groups else replace(table.baseline, groups=(table.entity.key_names,))


@dataclass(frozen=True, slots=True)
class _Past:
    """The examples of the last days, their outcomes as columns that can be averaged, and the rows to forecast."""

    history: pl.DataFrame
    rows: pl.DataFrame
    outcomes: Floats
    overall: Floats
    baseline: Baseline
    task: Task

    @classmethod
    def of(
        cls, history: pl.DataFrame, rows: pl.DataFrame, baseline: Baseline, label: Label, cutoff: datetime, task: Task
    ) -> _Past:
        import numpy as np
        import polars as pl

        recent = history.filter(pl.Series(in_window(history["event_timestamp"].to_numpy(), label, cutoff, baseline.days)))
        labels = recent["label"].to_numpy()
        match task:
            case Classes(names=names):
                outcomes = np.eye(len(names))[labels.astype(np.int64)]
                overall = (outcomes.sum(axis=0) + 0.5) / (len(recent) + 0.5 * len(names))
            case Binary():
                outcomes = labels.astype(np.float64)[:, None]
                overall = (outcomes.sum(axis=0) + 0.5) / (len(recent) + 1)
            case Number():
                outcomes = labels.astype(np.float64)[:, None]
                overall = outcomes.mean(axis=0) if len(recent) else np.zeros(1)
        return cls(recent, rows, outcomes, overall, baseline, task)

    def constant(self, count: int) -> Floats:
        """The overall mean in every row; shape ``(count, outcomes)``."""
        import numpy as np

        return np.repeat(self.overall[None, :], count, axis=0)

    def trailing(self, *, inside: bool = False) -> Floats:
        """Means of the groups, from wide to narrow; of the rows to forecast, or (``inside``) of the history itself."""
        found = self.constant(len(self.outcomes) if inside else len(self.rows))
        for group in reversed(self.baseline.groups):
            found = self._drawn(found, *_places(self.history, self.rows, list(group)), inside=inside)
        return found

    def weekday(self, towards: Floats, timezone: str, *, inside: bool = False) -> Floats:
        """Means of the narrowest group on the same local day of the week."""
        import polars as pl

        day = pl.col("event_timestamp").dt.convert_time_zone(timezone).dt.weekday().alias("_weekday")
        narrow = [*(self.baseline.groups[0] if self.baseline.groups else ()), "_weekday"]
        past, rows = _places(self.history.with_columns(day), self.rows.with_columns(day), narrow)
        return self._drawn(towards, past, rows, inside=inside)

    def last(self, trailing: Floats) -> tuple[Floats, Floats]:
        """After the newest known outcome: the number itself, or the shares of what followed the same outcome before."""
        import numpy as np

        past, rows = _places(self.history, self.rows, list(self.baseline.groups[0] if self.baseline.groups else ()))
        order = np.lexsort((self.history["event_timestamp"].to_numpy(), past))
        follows = np.flatnonzero(past[order][1:] == past[order][:-1]) + 1
        now, before = order[follows], order[follows - 1]
        newest = np.full(int(max(past.max(initial=-1), rows.max(initial=-1))) + 2, -1)
        newest[past[order]] = order  # the last write wins: numpy assigns in order
        found = trailing.copy()
        known = newest[rows] >= 0
        inside = self.constant(len(self.outcomes))
        if isinstance(self.task, Number):
            found[known] = self.outcomes[newest[rows[known]]]
            inside[now] = self.outcomes[before]
            return found, inside
        kinds = self.outcomes.argmax(axis=1) if self.outcomes.shape[1] > 1 else self.outcomes[:, 0].astype(np.int64)
        weight = float(self.baseline.min_rows)
        for kind in np.unique(kinds):
            after = now[kinds[before] == kind]
            share = (self.outcomes[after].sum(axis=0) + weight * self.overall) / (len(after) + weight)
            found[known & (kinds[newest[rows]] == kind)] = share
        return found, inside

    def shaped(self, forecasts: Floats, inside: Floats | None) -> Floats:
        """As the task's forecasts are shaped. A quantile is the forecast moved by that quantile of its past misses."""
        import numpy as np

        match self.task:
            case Classes():
                return forecasts
            case Number(quantile=quantile) if quantile is not None and len(self.outcomes):
                own = self.trailing(inside=True) if inside is None else inside
                return np.asarray(forecasts[:, 0] + np.quantile(self.outcomes[:, 0] - own[:, 0], quantile))
            case _:
                return forecasts[:, 0]

    def _drawn(self, towards: Floats, past: Places, rows: Places, *, inside: bool) -> Floats:
        """Group means, drawn towards what is given by the weight of ``min_rows`` examples."""
        import numpy as np

        groups = int(max(past.max(initial=-1), rows.max(initial=-1))) + 1
        counts = np.bincount(past, minlength=groups + 1).astype(np.float64)
        sums = np.stack([np.bincount(past, weights=column, minlength=groups + 1) for column in self.outcomes.T], axis=1)
        wanted = past if inside else rows  # -1, a group never seen, is the last one: no rows
        weight = float(self.baseline.min_rows)
        return np.asarray((sums[wanted] + weight * towards) / (counts[wanted] + weight)[:, None])


def _places(history: pl.DataFrame, rows: pl.DataFrame, group: list[str]) -> tuple[Places, Places]:
    """The number of each example's group, and of each row's; -1 for a group that no example has. Null is a value."""
    import numpy as np
    import polars as pl

    if not group:
        return np.zeros(len(history), dtype=np.int64), np.zeros(len(rows), dtype=np.int64) - (0 if len(history) else 1)
    numbers = history.select(group).unique(maintain_order=True).with_row_index("_place")
    past, now = (
        frame.select(group)
        .join(numbers, on=group, how="left", maintain_order="left", nulls_equal=True)["_place"]
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
        for frame in (history, rows)
    )
    return past, now
