from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from batch_scoring.domain import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewDefinition:
    """What one feature view contributes to a row, as far as it can change a value. Words are left out on purpose.

    Attributes:
        keys: join keys of the entity rows, by the view's own key columns. ttl: seconds; None is for ever.
        features: types by name, in order.
        source: its Parquet file, relative to the data folder. event, created: its time columns; ``created`` may be empty.
        renamed: features by the source's column, where they differ.
    """

    name: str
    keys: Mapping[str, str]
    ttl: float | None
    features: tuple[tuple[str, str], ...]
    source: str
    event: str
    created: str
    renamed: Mapping[str, str]


class FeatureSource(Protocol):
    """Where the features of one product come from. An implementation may know one offline store and nothing else.

    The promise to keep: a row with event time *t* gets, per feature view, the newest values whose event time is in
    ``[t - ttl, t]`` *and* whose created time is at most *t*; null where there are none. So nothing that arrived late
    reaches a training row that lies before its arrival.
    """

    def apply(self) -> None:
        """Bring the feature catalogue up to date with the definitions; nothing happens when it is.

        Raises:
            DeclarationError: definitions that cannot be read.
        """

    def columns(self) -> tuple[Column, ...]:
        """The features in their order, with DuckDB types (``BIGINT``, ``DOUBLE``, ``VARCHAR``) and descriptions."""

    def training(self, examples: pa.Table) -> pa.Table:
        """The same rows in the same order with a column per feature appended.

        Args:
            examples: key columns and ``event_timestamp`` (timestamp[us, UTC]), repeats allowed; other columns are kept.

        Returns:
            ``examples`` and the features of :meth:`columns` as int64, float64 or string, null where nothing is known.
        """

    def population(self, keys: pa.Table, as_of: datetime) -> pa.Table:
        """The key columns in their order, ``event_timestamp`` (``as_of`` in every row) and the features, as in training."""

    def definitions(self) -> tuple[ViewDefinition, ...]:
        """What the features of :meth:`columns` are, in the order of their views; the same on any machine."""

    def fingerprint(self) -> str:
        """Changes when the definition of any feature may have changed. Cheap."""
