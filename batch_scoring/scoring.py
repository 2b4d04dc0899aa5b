"""Scoring: features in, margins and scores out, one record batch at a time.

A :class:`Scorer` is a picklable value that carries the model as bytes, so any engine that can ship a function to a
worker can run it, and every engine gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_scoring import tasks
from batch_scoring.calibration import NO_CALIBRATION, Calibration, calibrated
from batch_scoring.declare import Binary, Classes, Task
from batch_scoring.domain import Column
from batch_scoring.errors import StoreCorrupt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def encode(table: pa.RecordBatch | pa.Table, features: tuple[Column, ...]) -> npt.NDArray[np.float32]:
    """The matrix a model sees: one float32 column per feature, in the order of ``features``.

    Numbers are cast to float32, null becomes NaN. A categorical feature becomes the position of its value in
    ``Column.categories``; null and a value the model never saw become NaN, that is, missing.

    Args:
        table: has a column for every feature; others are ignored.
        features: shape ``(n_features,)``.

    Returns:
        C-contiguous, shape ``(n_rows, n_features)``.

    Raises:
        StoreCorrupt: a feature column is not there.
    """
    import numpy as np

    missing = [feature.name for feature in features if feature.name not in table.schema.names]
    if missing:
        raise StoreCorrupt(
            "features to score",
            expected="every feature the model was trained on",
            found=f"no column {', '.join(missing)}",
            fix="Serve the feature again, or train a new version without it.",
        )
    matrix = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for position, feature in enumerate(features):
        matrix[:, position] = _encode_column(table.column(feature.name), feature)
    return matrix


def _encode_column(column: Any, feature: Column) -> npt.NDArray[np.float32]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if feature.type == "VARCHAR":
        column = pc.index_in(column.cast(pa.string()), value_set=pa.array(feature.categories, type=pa.string()))
    values = (
        column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if isinstance(column, pa.Array)
        else column.cast(pa.float64()).to_numpy()
    )
    return np.asarray(values, dtype=np.float32)


def feature_types(features: tuple[Column, ...]) -> list[str]:
    """XGBoost's ``feature_types``: ``c`` for a categorical feature, ``q`` for a number."""
    return ["c" if feature.type == "VARCHAR" else "q" for feature in features]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores record batches with one XGBoost model.

    Attributes:
        model: the booster as UBJSON bytes.
        features: what the model was trained on, in order.
        task: what kind of answer it gives. calibration: from a binary margin to the score.
        threads: cores per call.
    """

    model: bytes = field(repr=False)
    features: tuple[Column, ...]
    task: Task = field(default_factory=Binary)
    calibration: Calibration = NO_CALIBRATION
    threads: int = 1

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score one batch.

        Returns:
            The columns of :func:`batch_scoring.tasks.score`, one row per input row.
        """
        import pyarrow as pa

        margins = self.margins(encode(batch, self.features))
        scored = tasks.score(self.task, margins)
        if self.calibration.kind == "none":
            return scored
        return scored.set_column(scored.schema.names.index("score"), "score", pa.array(calibrated(self.calibration, margins)))

    def forecasts(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Forecasts of an encoded matrix, as :func:`batch_scoring.tasks.forecast` shapes them."""
        if self.calibration.kind == "none":
            return tasks.forecast(self.task, self.margins(matrix))
        return calibrated(self.calibration, self.margins(matrix))

    def margins(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Raw margins of an encoded matrix; shape ``(n_rows,)``, or ``(n_rows, n_classes)``."""
        import numpy as np

        if matrix.shape[0] == 0:
            return np.empty((0, len(self.task.names)) if isinstance(self.task, Classes) else 0, dtype=np.float64)
        booster = load_booster(self.model, self.threads)
        margin = booster.inplace_predict(matrix, predict_type="margin", missing=np.nan)
        return np.asarray(margin, dtype=np.float64)


def load_booster(model: bytes, threads: int = 1) -> Any:
    """An ``xgboost.Booster`` from UBJSON bytes, ready to use."""
    import xgboost as xgb

    booster = xgb.Booster({"nthread": threads})
    booster.load_model(bytearray(model))
    return booster
