from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from batch_scoring.domain import Column


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

    def fingerprint(self) -> str:
        """Changes when the definition of any feature may have changed. Cheap."""
