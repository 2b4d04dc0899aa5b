"""Exact contributions (SHAP values) of every feature to every margin.

Path-dependent TreeSHAP (Lundberg et al., *From local explanations to global understanding with explainable AI for
trees*, 2020, algorithm 2), as XGBoost computes it. For each row the contributions and the base value sum to the margin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_scoring.domain import Column
from batch_scoring.scoring import encode, feature_types, load_booster

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Explains record batches with one XGBoost model; picklable, like :class:`batch_scoring.scoring.Scorer`.

    Attributes:
        model: the booster as UBJSON bytes.
        features: what the model was trained on, in order.
        threads: cores per call.
    """

    model: bytes = field(repr=False)
    features: tuple[Column, ...]
    threads: int = 1

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Contributions of one batch.

        Returns:
            ``base_value`` (float64) and one float32 column per feature, in log-odds, one row per input row.
        """
        import pyarrow as pa

        values, base = self.contributions(encode(batch, self.features))
        columns = {"base_value": pa.array(base)}
        columns |= {feature.name: pa.array(values[:, position]) for position, feature in enumerate(self.features)}
        return pa.record_batch(columns)

    def contributions(self, matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Contributions, shape ``(n_rows, n_features)``, and base values, shape ``(n_rows,)``, in log-odds."""
        import numpy as np
        import xgboost as xgb

        if matrix.shape[0] == 0:
            return np.empty((0, len(self.features)), dtype=np.float32), np.empty(0, dtype=np.float64)
        data = xgb.DMatrix(
            matrix,
            feature_names=[feature.name for feature in self.features],
            feature_types=feature_types(self.features),
            enable_categorical=True,
            nthread=self.threads,
        )
        result = load_booster(self.model, self.threads).predict(data, pred_contribs=True)
        return np.ascontiguousarray(result[:, :-1]), result[:, -1].astype(np.float64)
