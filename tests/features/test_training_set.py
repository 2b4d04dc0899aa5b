"""The training set of a delivery is retrieved once, and asked for again it is read."""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_scoring.domain import Column
from batch_scoring.settings import Settings, load_settings
from pipelines.features import training_set
from pipelines.ingest import ingest
from pipelines.init import initialise
from pipelines.queries import labelled_examples
from pipelines.repository import Product, load_repository


@dataclass
class Counting:
    """A feature source of one constant feature that counts its retrievals."""

    definition: str = "one"
    retrievals: list[int] = field(default_factory=list)

    def apply(self) -> None: ...

    def columns(self) -> tuple[Column, ...]:
        return (Column(name="constant", type="BIGINT", role="feature"),)

    def training(self, examples: pa.Table) -> pa.Table:
        self.retrievals.append(examples.num_rows)
        return examples.append_column("constant", pa.repeat(pa.scalar(1), examples.num_rows))

    def population(self, keys: pa.Table, as_of: datetime) -> pa.Table:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return self.definition


@pytest.fixture
def shop(tmp_path) -> tuple[Product, Settings]:
    initialise(tmp_path)
    settings = load_settings(tmp_path)
    product = load_repository(settings.repo).product("orders")
    ingest(product, settings)
    return product, settings


def test_a_training_set_is_all_examples_with_their_features(shop):
    made = training_set(*shop, Counting())
    examples = labelled_examples(*shop)
    found = pq.read_table(made.path)
    assert made.rows == examples.num_rows
    assert found.select(examples.column_names).equals(examples)
    assert found.column_names == [*examples.column_names, "constant"]


def test_asking_again_reads_what_was_retrieved(shop):
    source = Counting()
    assert training_set(*shop, source) == training_set(*shop, source)
    assert len(source.retrievals) == 1


def test_another_definition_delivery_or_label_makes_another_training_set(shop):
    product, settings = shop
    made = [training_set(product, settings, Counting()), training_set(product, settings, Counting(definition="two"))]
    label = product.folder / "sql" / "label.sql"
    label.write_text("-- the same\n" + label.read_text())
    made.append(training_set(product, settings, Counting()))
    with (settings.landing / "orders.csv").open("a") as book:
        book.write("9001,C0001,2024-05-01T10:00:00Z,10.00,web\n")
    ingest(product, settings)
    made.append(training_set(product, settings, Counting()))
    assert len({one.id for one in made}) == 4
    assert len(list(made[0].path.parent.iterdir())) == 3


def test_a_failed_retrieval_leaves_nothing_that_looks_like_a_training_set(shop):
    class Failing(Counting):
        def training(self, examples: pa.Table) -> pa.Table:
            raise MemoryError

    with pytest.raises(MemoryError):
        training_set(*shop, Failing())
    source = Counting()
    training_set(*shop, source)
    assert len(source.retrievals) == 1
