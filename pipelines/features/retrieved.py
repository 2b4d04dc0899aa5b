"""All labelled examples of a delivery with their features, retrieved once: what every training set of it is cut from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.errors import NoData
from batch_scoring.settings import Settings
from pipelines.delivery import current_delivery, require_current
from pipelines.features.port import FeatureSource
from pipelines.features.sources import Source, hashed_sources
from pipelines.files import write_whole
from pipelines.queries import labelled_examples
from pipelines.repository import Product

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT = 3
_FORMAT = 2


def retrieved_examples(product: Product, settings: Settings, source: FeatureSource) -> Path:
    """Every example that the current delivery knows, with its features as of its own moment; retrieved once and kept.

    What a row shows depends on nothing but its own event time (the created-time cut-off of :class:`FeatureSource`), so
    one retrieval serves every cut-off, and a replay of a week retrieves once. Labels of any time are in it: nothing is
    trained on this file, only on what :mod:`pipelines.features.training_set` cuts from it.

    Returns:
        Parquet with the columns of :func:`pipelines.queries.labelled_examples` and then the features, sorted by event
        time and key.

    Raises:
        NoData: nothing was ingested, there is no example, or a file that is read was replaced meanwhile.
    """
    delivery = current_delivery(product.table.name, settings)
    views = source.definitions()
    sources = hashed_sources(views, settings.data)
    path = settings.data / product.table.name / "examples" / f"{_identity(product, source, delivery.id, sources)}.parquet"
    if not path.exists():
        examples = source.training(labelled_examples(product, settings))
        require_current(product.table.name, delivery.id, settings)
        require_unchanged(sources, hashed_sources(views, settings.data))
        _write(examples, path)
    return path


def require_unchanged(before: tuple[Source, ...], now: tuple[Source, ...]) -> None:
    """Refuse features that were read while one of their sources was replaced.

    Raises:
        NoData: one was.
    """
    changed = next((one.name for one, other in zip(before, now, strict=True) if one != other), None)
    if changed:
        raise NoData(
            f"feature source {changed}",
            expected="one that stays as it is while it is read",
            found="another one, delivered meanwhile",
            fix="Run it again.",
        )


def _identity(product: Product, source: FeatureSource, delivery: str, sources: tuple[Source, ...]) -> str:
    """Also of sources outside the table's own delivery: another product's, or a file that somebody put there."""
    parts = (str(_FORMAT), source.fingerprint(), product.table.feature_service, delivery, str(sources))
    label = (str(product.table.entity), product.sql(product.table.label.sql))
    return hashlib.sha256("\n".join(parts + label).encode()).hexdigest()[:12]


def _write(examples: pa.Table, path: Path) -> None:
    """Whole or not at all; the oldest of too many are removed."""
    import pyarrow.parquet as pq

    write_whole(path, lambda unfinished: pq.write_table(examples, unfinished, compression="zstd"))
    for old in sorted(path.parent.glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns, reverse=True)[_KEPT:]:
        old.unlink(missing_ok=True)
