from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.errors import NoData
from batch_scoring.settings import Settings
from pipelines.delivery import current_delivery
from pipelines.features.port import FeatureSource
from pipelines.queries import labelled_examples
from pipelines.repository import Product

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT = 3
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """All examples of a delivery with their features, on disk.

    Attributes:
        id: hash of the feature definitions, the delivery and the label's SQL: equal ids, equal rows.
        path: Parquet with the columns of :func:`pipelines.queries.labelled_examples` and then the features, sorted by
            event time and key.
    """

    id: str
    path: Path
    rows: int


def training_set(product: Product, settings: Settings, source: FeatureSource) -> TrainingSet:
    """The training set of the current delivery, retrieved once and kept.

    One superset serves every cut-off: what a row shows depends on nothing but its own event time (the created-time
    cut-off of :class:`FeatureSource`), so the examples that a run may see are a filter on ``event_timestamp`` and
    ``label_known_at``, and a replay of a week retrieves once.

    Raises:
        NoData: nothing was ingested, or there is no example.
    """
    import pyarrow.parquet as pq

    delivery = current_delivery(product.table.name, settings)
    name = _identity(product, source, delivery.id)
    path = settings.data / product.table.name / "training" / f"{name}.parquet"
    if not path.exists():
        examples = source.training(labelled_examples(product, settings))
        if current_delivery(product.table.name, settings).id != delivery.id:
            raise NoData(
                f"training set of '{product.table.name}'",
                expected=f"delivery {delivery.id} to stay current",
                found="another ingest during retrieval",
                fix="Run it again.",
            )
        _write(examples, path)
    return TrainingSet(id=name, path=path, rows=pq.read_metadata(path).num_rows)


def _identity(product: Product, source: FeatureSource, delivery: str) -> str:
    parts = (str(_FORMAT), source.fingerprint(), product.table.feature_service, delivery)
    label = (str(product.table.entity), product.sql(product.table.label.sql))
    return hashlib.sha256("\n".join(parts + label).encode()).hexdigest()[:12]


def _write(examples: pa.Table, path: Path) -> None:
    """Whole or not at all; the oldest of too many are removed."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    pq.write_table(examples, unfinished, compression="zstd")
    unfinished.replace(path)
    for old in sorted(path.parent.glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns, reverse=True)[_KEPT:]:
        old.unlink(missing_ok=True)
