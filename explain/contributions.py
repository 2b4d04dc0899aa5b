"""Exact contributions (SHAP values) of every feature to every margin.

Path-dependent TreeSHAP (Lundberg et al., *From local explanations to global understanding with explainable AI for
trees*, 2020, algorithm 2), as XGBoost computes it, by a faster method (:mod:`explain.kernel`). For each row the
contributions and the base value sum to the margin. The method depends on the model alone, never on batches or threads.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batch_scoring.declare import Binary, Task
from batch_scoring.domain import Column
from batch_scoring.errors import GateFailed
from batch_scoring.scoring import Scorer, encode, feature_types, load_booster
from batch_scoring.tasks import explained
from explain.forest import Forest, Unsupported, forest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_CHECK_EVERY = 512  # rows; XGBoost needs about as long for one as the kernel for fifty
_TOLERANCE = 1e-4  # XGBoost itself sums in float32
_WORTH_A_THREAD = 4096  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Explains record batches with one XGBoost model; picklable, like :class:`batch_scoring.scoring.Scorer`.

    Attributes:
        model: the booster as UBJSON bytes.
        features: what the model was trained on, in order.
        task: what kind of answer it gives; says which of a row's outputs is explained.
        threads: cores per call.
    """

    model: bytes = field(repr=False)
    features: tuple[Column, ...]
    task: Task = field(default_factory=Binary)
    threads: int = 1

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Contributions of one batch.

        Returns:
            ``base_value`` (float64) and one float32 column per feature, one row per input row; they sum to the margin that
            :func:`batch_scoring.tasks.score` stores.
        """
        return self.explain(batch)[0]

    def explain(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[str, ...] | None]:
        """As calling it, and for classes the one that is explained, row by row."""
        import pyarrow as pa

        matrix = encode(batch, self.features)
        scorer = Scorer(model=self.model, features=self.features, task=self.task, threads=self.threads)
        values, base, classes = explained(self.task, *self.contributions(matrix), lambda: scorer.margins(matrix))
        columns = {"base_value": pa.array(base)}
        columns |= {feature.name: pa.array(values[:, position]) for position, feature in enumerate(self.features)}
        return pa.record_batch(columns), classes

    def contributions(self, matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Contributions, shape ``(n_rows, n_features)``, and base values, shape ``(n_rows,)``, in the margin's unit.

        A model with several classes adds the axis of the classes: ``(n_rows, n_classes, n_features)`` and
        ``(n_rows, n_classes)``. A few rows are compared with XGBoost's own method.

        Raises:
            GateFailed: the two disagree.
        """
        import numpy as np

        if matrix.shape[0] == 0:
            return np.empty((0, len(self.features)), dtype=np.float32), np.empty(0, dtype=np.float64)
        try:
            trees = forest(self.model)
        except Unsupported as reason:
            _say_once(str(reason))
            values, base = self._by_xgboost(matrix)
            return _flat(values), _flat(base)
        values = _in_threads(trees, matrix, self.threads)
        base = np.tile(_base_values(self.model), (matrix.shape[0], 1))
        self._check(matrix, values, base)
        return _flat(values), _flat(base)

    def _check(self, matrix: npt.NDArray[np.float32], values: npt.NDArray[np.float32], base: npt.NDArray[np.float64]) -> None:
        import numpy as np

        rows = matrix.shape[0]
        sample = np.random.default_rng(rows).choice(rows, size=min(rows, 1 + rows // _CHECK_EVERY), replace=False)
        known, known_base = self._by_xgboost(matrix[sample])
        scale = np.maximum(1e-3, np.abs(known).max(axis=2, initial=0)) + np.abs(known_base)
        error = np.maximum(np.abs(values[sample] - known).max(axis=2, initial=0), np.abs(base[sample] - known_base))
        worst = float((error / scale).max())
        if not worst <= _TOLERANCE:
            raise GateFailed(
                "contributions",
                expected=f"those of XGBoost within {_TOLERANCE:g}",
                found=f"a relative difference of {worst:.2g}",
                fix="Keep the model and report it; nothing was published.",
            )

    def _by_xgboost(self, matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """XGBoost's own contributions ``(n_rows, n_groups, n_features)`` and base values ``(n_rows, n_groups)``."""
        import numpy as np
        import xgboost as xgb

        data = xgb.DMatrix(
            matrix,
            feature_names=[feature.name for feature in self.features],
            feature_types=feature_types(self.features),
            enable_categorical=True,
            nthread=self.threads,
        )
        result = load_booster(self.model, self.threads).predict(data, pred_contribs=True)
        result = result.reshape(matrix.shape[0], -1, matrix.shape[1] + 1)
        return np.ascontiguousarray(result[:, :, :-1]), result[:, :, -1].astype(np.float64)


def _in_threads(trees: Forest, matrix: npt.NDArray[np.float32], threads: int) -> npt.NDArray[np.float32]:
    """The kernel on as many slices of the rows as there are threads; the slices change no bit."""
    import numpy as np

    if threads == 1 or matrix.shape[0] < _WORTH_A_THREAD:
        return trees.contributions(matrix)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return np.concatenate(list(pool.map(trees.contributions, np.array_split(matrix, threads))))


def _flat(values: Any) -> Any:
    """Without the axis of the outputs if there is only one."""
    return values[:, 0] if values.shape[1] == 1 else values


@lru_cache(maxsize=4)
def _base_values(model: bytes) -> npt.NDArray[np.float64]:
    """Mean margin per output: the margin of a row without any value, less its contributions."""
    import numpy as np

    trees = forest(model)
    nothing = np.full((1, trees.features), np.nan, dtype=np.float32)
    margin = load_booster(model).inplace_predict(nothing, predict_type="margin", missing=np.nan)
    result: npt.NDArray[np.float64] = margin.reshape(-1).astype(np.float64) - trees.contributions(nothing)[0].sum(
        axis=1, dtype=np.float64
    )
    return result


@lru_cache(maxsize=16)
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning("%s: explained by XGBoost's own, slower method", reason)
