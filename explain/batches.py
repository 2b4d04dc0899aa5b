"""Explaining whole batches: keys in, contributions and reasons in words out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from batch_scoring.declare import Binary, Number, Task
from batch_scoring.domain import Column
from explain.contributions import Explainer
from explain.reasons import top_reasons

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainBatch:
    """Picklable ``RecordBatch -> RecordBatch``: the key columns, ``base_value``, a contribution per feature, ``reasons``.

    Attributes:
        keys: key columns to carry over. top: reasons per row. task: what kind of answer the model gives.
    """

    model: bytes = field(repr=False)
    keys: tuple[str, ...]
    features: tuple[Column, ...]
    top: int
    task: Task = field(default_factory=Binary)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Explain one batch of served features; row order is kept."""
        import pyarrow as pa

        explained, classes = Explainer(model=self.model, features=self.features, task=self.task).explain(batch)
        contributions = [explained.column(feature.name).to_pylist() for feature in self.features]
        values = [batch.column(feature.name).to_pylist() for feature in self.features]
        plain = "the prediction" if isinstance(self.task, Number) else "the score"
        raised = [plain] * len(batch) if classes is None else [f"the chance of {name}" for name in classes]
        reasons = [
            [asdict(reason) for reason in top_reasons(self.features, served, parts, self.top, subject)]
            for served, parts, subject in zip(zip(*values, strict=True), zip(*contributions, strict=True), raised, strict=True)
        ]
        columns = {key: batch.column(key) for key in self.keys}
        columns |= {name: explained.column(name) for name in explained.schema.names}
        columns["reasons"] = pa.array(reasons, type=reason_type())
        return pa.record_batch(columns)


def reason_type() -> pa.DataType:
    """Arrow type of the ``reasons`` column."""
    import pyarrow as pa

    return pa.list_(
        pa.struct([("feature", pa.string()), ("value", pa.string()), ("contribution", pa.float64()), ("text", pa.string())])
    )
