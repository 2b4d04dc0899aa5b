"""A feature source without Feast, for tests of what is done with features."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from batch_scoring.domain import Column
from pipelines.features import ViewDefinition


@dataclass
class Counting:
    """A feature source of one constant feature that counts its retrievals."""

    definition: str = "one"
    retrievals: list[int] = field(default_factory=list)
    ttl: float | None = None

    def apply(self) -> None: ...

    def columns(self) -> tuple[Column, ...]:
        return (Column(name="constant", type="BIGINT", role="feature"),)

    def definitions(self) -> tuple[ViewDefinition, ...]:
        return (
            ViewDefinition(
                name=self.definition,
                keys={"customer": "customer"},
                ttl=self.ttl,
                features=(("constant", "Int64"),),
                source="orders/current/activity.parquet",
                event="event_timestamp",
                created="created_timestamp",
                renamed={},
            ),
        )

    def training(self, examples: pa.Table) -> pa.Table:
        self.retrievals.append(examples.num_rows)
        return examples.append_column("constant", pa.repeat(pa.scalar(1), examples.num_rows))

    def population(self, keys: pa.Table, as_of: datetime) -> pa.Table:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return self.definition
