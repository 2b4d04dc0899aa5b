"""What depends on the kind of answer, in one place: yes or no, one of several classes, a number.

Everything else in foretable handles margins, scores and contributions without asking what they mean. Three words:

    margin     what the trees add up to; base value and contributions of a row sum to it
    forecast   what losses and baselines speak: P(yes) ``(n,)``, P(class) ``(n, classes)``, or the number ``(n,)``
    score      the one number per entity that is stored, ranked and compared between versions

=========== =================== ============================================ ======================= ==================
task        forecast            score                                        margin                  loss of record
=========== =================== ============================================ ======================= ==================
Binary      logistic(margin)    the probability of yes, perhaps calibrated   log-odds                log-loss
Classes     softmax(margins)    the probability of the likeliest class       ln p − mean of all ln p log-loss
Number      margin              the number                                   the number              RMSE or pinball
=========== =================== ============================================ ======================= ==================

A softmax does not change when every class's margin grows by the same amount, so a class's raw margin, and a raw
contribution to it, say nothing alone. Both are therefore taken less their mean over the classes (Aitchison, *The Statistical
Analysis of Compositional Data*, 1986: the centred log-ratio): what is left is what sets this class apart from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, assert_never

from batch_scoring.declare import Binary, Classes, Number, Task
from batch_scoring.domain import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]

REASONS = 'STRUCT(feature VARCHAR, "value" VARCHAR, contribution DOUBLE, "text" VARCHAR)[]'


def kind(task: Task) -> Literal["binary", "multiclass", "regression"]:
    """Its name in the field's own terms."""
    match task:
        case Binary():
            return "binary"
        case Classes():
            return "multiclass"
        case Number():
            return "regression"
        case _:
            assert_never(task)


def metric(task: Task) -> str:
    """Name of the loss of record: the number that windows, baselines and the live version are compared by; less is better."""
    match task:
        case Binary() | Classes():
            return "log-loss"
        case Number(quantile=None):
            return "RMSE"
        case Number(quantile=quantile):
            return f"pinball loss at {quantile:g}"
        case _:
            assert_never(task)


def objective(task: Task) -> dict[str, float | int | str]:
    """XGBoost's parameters for the task. The intercept is estimated by XGBoost itself (``base_score`` is left alone)."""
    match task:
        case Binary():
            return {"objective": "binary:logistic"}
        case Classes(names=names):
            return {"objective": "multi:softprob", "num_class": len(names)}
        case Number(quantile=quantile):
            if quantile is None:
                return {"objective": "reg:squarederror"}
            return {"objective": "reg:quantileerror", "quantile_alpha": quantile}
        case _:
            assert_never(task)


def learnable(task: Task, labels: npt.NDArray[Any]) -> bool:
    """Whether there is something to learn in these labels: more than one outcome, or any number at all."""
    match task:
        case Binary() | Classes():
            return bool(len(labels)) and bool(labels.min() != labels.max())
        case Number():
            return bool(len(labels))
        case _:
            assert_never(task)


def outcomes(task: Task) -> str:
    """What :func:`learnable` asks for, in words."""
    match task:
        case Binary():
            return "both outcomes"
        case Classes():
            return "at least two of the classes"
        case Number():
            return "at least one row"
        case _:
            assert_never(task)


def forecast(task: Task, margins: npt.NDArray[np.floating[Any]]) -> Floats:
    """The forecast that a model's raw margins mean, in float64 and without overflow.

    Args:
        margins: shape ``(n,)``, or ``(n, classes)`` for classes.

    Returns:
        The same shape: probabilities (over the last axis they sum to 1), or the numbers themselves.
    """
    import numpy as np

    wide: Floats = margins.astype(np.float64)
    match task:
        case Binary():
            return 0.5 * (1.0 + np.tanh(0.5 * wide))
        case Classes():
            grown = np.exp(wide - wide.max(axis=1, keepdims=True, initial=-np.inf))
            return np.asarray(grown / grown.sum(axis=1, keepdims=True))
        case Number():
            return wide
        case _:
            assert_never(task)


def score(task: Task, margins: npt.NDArray[np.floating[Any]]) -> pa.RecordBatch:
    """What is stored of every row's margins, but for a threshold's decision: the columns that the model alone decides.

    Args:
        margins: as :func:`forecast`.

    Returns:
        ``margin`` and ``score`` (float64); for classes also ``decision`` (string, the likeliest class, the first declared
        of equal ones) and ``probabilities`` (a struct with a float64 per class).
    """
    import numpy as np
    import pyarrow as pa

    forecasts = forecast(task, margins)
    match task:
        case Binary() | Number():
            return pa.record_batch({"margin": pa.array(margins.astype(np.float64)), "score": pa.array(forecasts)})
        case Classes(names=names):
            chosen = forecasts.argmax(axis=1) if len(forecasts) else np.empty(0, dtype=np.int64)
            per_class = pa.StructArray.from_arrays([pa.array(forecasts[:, place]) for place in range(len(names))], list(names))
            return pa.record_batch(
                {
                    "margin": pa.array(_of(_centred(margins.astype(np.float64)), chosen)),
                    "score": pa.array(_of(forecasts, chosen)),
                    "decision": pa.array(list(names)).take(pa.array(chosen)),
                    "probabilities": per_class,
                }
            )
        case _:
            assert_never(task)


def explained(
    task: Task, contributions: npt.NDArray[np.float32], base: Floats, margins: Callable[[], Floats]
) -> tuple[npt.NDArray[np.float32], Floats, tuple[str, ...] | None]:
    """The contributions that are stored: those that sum, with the base value, to the stored margin.

    Args:
        contributions, base: of every output of the model: ``(n, features)`` and ``(n,)``, for classes
            ``(n, classes, features)`` and ``(n, classes)``. margins: gives those of the same rows, raw, if they are needed.

    Returns:
        ``(n, features)`` float32 and ``(n,)`` float64; for classes those of the likeliest class, centred, and as a third
        value its name for every row; else None.
    """
    import numpy as np

    match task:
        case Binary() | Number():
            return contributions, base, None
        case Classes(names=names):
            if not len(contributions):
                return np.empty((0, contributions.shape[-1]), dtype=np.float32), np.empty(0, dtype=np.float64), ()
            chosen = forecast(task, margins()).argmax(axis=1)
            wide = _centred(contributions.astype(np.float64))
            named = tuple(names[place] for place in chosen)
            return _of(wide, chosen).astype(np.float32), _of(_centred(base), chosen), named
        case _:
            assert_never(task)


def invalid(task: Task, scores: Floats) -> int:
    """How many scores are impossible: not finite, or no probability where one is due."""
    import numpy as np

    match task:
        case Binary() | Classes():
            return int((~(np.isfinite(scores) & (scores >= 0) & (scores <= 1))).sum())
        case Number():
            return int((~np.isfinite(scores)).sum())
        case _:
            assert_never(task)


def contribution_scale(task: Task, margins: Floats) -> float:
    """What an error of contributions is measured in: log-odds as they are, numbers by the largest of them."""
    import numpy as np

    match task:
        case Binary() | Classes():
            return 1.0
        case Number():
            return float(np.abs(margins).max(initial=0.0)) or 1.0
        case _:
            assert_never(task)


def unit(task: Task) -> str:
    """What margins, base values and contributions are measured in."""
    match task:
        case Binary():
            return "log-odds"
        case Classes():
            return "log-odds against the other classes"
        case Number(unit=named):
            return named or "the label's unit"
        case _:
            assert_never(task)


def prediction_columns(task: Task) -> tuple[Column, ...]:
    """The columns of predictions between the join keys and ``as_of``, in stored order."""
    rank = Column(name="rank", type="BIGINT", role="score", description="1 is the highest score of the version")
    reasons = Column(
        name="reasons", type=REASONS, role="score", description="features that moved the score most, largest first, in words"
    )
    match task:
        case Binary():
            return (
                _score("predicted probability of the label"),
                Column(name="decision", type="VARCHAR", role="decision", description="what the score says at the threshold"),
                Column(name="threshold", type="DOUBLE", role="decision", description="scores at or above it decide for yes"),
                rank,
                _margin("the model's log-odds, before any calibration; base value and contributions add up to it"),
                reasons,
            )
        case Classes(names=names):
            fields = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" DOUBLE' for name in names)
            return (
                _score("predicted probability of the class decided for"),
                Column(name="decision", type="VARCHAR", role="decision", description="the likeliest class"),
                Column(
                    name="probabilities",
                    type=f"STRUCT({fields})",
                    role="score",
                    description="predicted probability of every class; they add up to 1",
                ),
                rank,
                _margin("log of the score less the mean log of all probabilities; base value and contributions add up to it"),
                reasons,
            )
        case Number():
            return (
                _score(f"predicted {_what(task)}"),
                rank,
                _margin("the same number as the score; base value and contributions add up to it"),
                reasons,
            )
        case _:
            assert_never(task)


def forecast_column(task: Task) -> str:
    """The stored column that holds what was forecast (:func:`forecast`), whole."""
    return "probabilities" if isinstance(task, Classes) else "score"


def label_sql(task: Task, column: str) -> tuple[str, str, str]:
    """How a label's SQL answer becomes the number that is trained on.

    Args:
        column: quoted name of the column.

    Returns:
        An SQL expression of the number (0 or 1, the place of the class, or the number itself); an SQL condition that is
        true of a label that does not fit; and what would have fitted, in words.
    """
    match task:
        case Binary():
            return f"{column}::TINYINT", f"{column} IS NULL OR {column} NOT IN (0, 1)", "labels of 0 or 1"
        case Classes(names=names):
            listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
            place = f"(list_position([{listed}], {column}::VARCHAR) - 1)::TINYINT"
            return place, f"{column} IS NULL OR {column}::VARCHAR NOT IN ({listed})", f"labels among {', '.join(names)}"
        case Number():
            return f"{column}::DOUBLE", f"{column} IS NULL OR NOT isfinite({column}::DOUBLE)", "labels that are finite numbers"
        case _:
            assert_never(task)


def _score(description: str) -> Column:
    return Column(name="score", type="DOUBLE", role="score", description=description)


def _margin(description: str) -> Column:
    return Column(name="margin", type="DOUBLE", role="score", description=description)


def _what(task: Number) -> str:
    counted = f"number of {task.unit}" if task.unit else "number"
    return counted if task.quantile is None else f"{counted} that the label stays below with probability {task.quantile:g}"


def _centred(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Less the mean over the classes, which are the second axis."""
    result: npt.NDArray[Any] = values - values.mean(axis=1, keepdims=True)
    return result


def _of(values: npt.NDArray[Any], chosen: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each row's value for its own class."""
    import numpy as np

    result: npt.NDArray[Any] = values[np.arange(len(values)), chosen]
    return result
