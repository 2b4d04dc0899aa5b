"""Whether the model that is released is the one that was judged, but for the newest labels.

The hold-out judged a model that had not seen it; what is served was fitted again on everything. Both are asked about the
same rows: if they rank them otherwise, or one lies above the other, then nobody has judged what is about to be released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_scoring.measured import Agreement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from batch_scoring.declare import Task
    from batch_scoring.domain import Column

    Floats = npt.NDArray[np.float64]

_ROWS = 100_000
_BATCH = 16_384


def agreement(judged: Floats, released: Floats) -> Agreement:
    """Rank correlation and shift of two models' scores of the same rows, shape ``(n,)`` each.

    The correlation is Spearman's, ties sharing their mean rank; models that both say the same of every row agree
    perfectly, and one that distinguishes rows where the other does not agrees not at all. The shift is the difference of
    mean scores in standard deviations of the judged ones.
    """
    import numpy as np
    from scipy.stats import rankdata

    if len(judged) == 0:
        return Agreement(rows=0, correlation=1.0, shift=0.0)
    flat = [np.ptp(scores) == 0 for scores in (judged, released)]
    same = 1.0 if all(flat) else 0.0
    correlation = same if any(flat) else float(np.corrcoef(rankdata(judged), rankdata(released))[0, 1])
    moved = abs(float(released.mean() - judged.mean()))
    spread = float(judged.std())
    shift = 0.0 if moved == 0 else moved / spread if spread > 0 else float("inf")
    return Agreement(rows=len(judged), correlation=correlation, shift=shift)


def compare_models(judged: bytes, released: bytes, features: Path, columns: tuple[Column, ...], task: Task) -> Agreement:
    """Score a population by both models and compare.

    Args:
        features: Parquet of what is served. Of a large one every n-th row is asked, about a hundred thousand in all.
        columns: the features of both models.
    """
    import numpy as np

    from batch_scoring.scoring import Scorer, encode

    scorers = tuple(Scorer(model=model, features=columns, task=task) for model in (judged, released))
    found: tuple[list[Any], list[Any]] = ([], [])
    for batch in _sampled(features):
        matrix = encode(batch, columns)
        for scorer, scores in zip(scorers, found, strict=True):
            forecasts = scorer.forecasts(matrix)
            scores.append(forecasts.reshape(-1))  # of classes, every class of every row
    return agreement(*(np.concatenate(scores) if scores else np.empty(0) for scores in found))


def _sampled(path: Path) -> Iterable[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    step = max(1, file.metadata.num_rows // _ROWS)
    for batch in file.iter_batches(_BATCH):
        yield batch if step == 1 else batch.take(pa.array(range(0, len(batch), step)))
