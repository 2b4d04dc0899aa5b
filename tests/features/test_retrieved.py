"""The examples of a delivery are retrieved once with their features, and asked for again they are read."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.features import Counting

from batch_scoring.errors import NoData
from batch_scoring.settings import Settings, load_settings
from pipelines.features import ViewDefinition, retrieved_examples
from pipelines.ingest import ingest
from pipelines.init import initialise
from pipelines.queries import labelled_examples
from pipelines.repository import Product, load_repository


@pytest.fixture
def shop(tmp_path) -> tuple[Product, Settings]:
    initialise(tmp_path)
    settings = load_settings(tmp_path)
    product = load_repository(settings.repo).product("orders")
    ingest(product, settings)
    return product, settings


def test_retrieved_are_all_examples_with_their_features(shop):
    made = retrieved_examples(*shop, Counting())
    examples = labelled_examples(*shop)
    found = pq.read_table(made)
    assert found.select(examples.column_names).equals(examples)
    assert found.column_names == [*examples.column_names, "constant"]


def test_asking_again_reads_what_was_retrieved(shop):
    source = Counting()
    assert retrieved_examples(*shop, source) == retrieved_examples(*shop, source)
    assert len(source.retrievals) == 1


def test_another_definition_delivery_or_label_is_retrieved_anew(shop):
    product, settings = shop
    made = [retrieved_examples(product, settings, Counting()), retrieved_examples(product, settings, Counting(definition="two"))]
    label = product.folder / "sql" / "label.sql"
    label.write_text("-- the same\n" + label.read_text())
    made.append(retrieved_examples(product, settings, Counting()))
    with (settings.landing / "orders.csv").open("a") as book:
        book.write("9001,C0001,2024-05-01T10:00:00Z,10.00,web\n")
    ingest(product, settings)
    made.append(retrieved_examples(product, settings, Counting()))
    assert len(set(made)) == 4
    assert len(list(made[0].parent.iterdir())) == 3


def test_a_failed_retrieval_leaves_nothing_that_looks_like_one(shop):
    class Failing(Counting):
        def training(self, examples: pa.Table) -> pa.Table:
            raise MemoryError

    with pytest.raises(MemoryError):
        retrieved_examples(*shop, Failing())
    source = Counting()
    retrieved_examples(*shop, source)
    assert len(source.retrievals) == 1


def test_a_source_outside_the_delivery_is_part_of_what_was_retrieved(shop):
    product, settings = shop
    outside = settings.data / "static.parquet"

    class Outside(Counting):
        def definitions(self) -> tuple[ViewDefinition, ...]:
            (view,) = super().definitions()
            return (view, replace(view, source="static.parquet"))

    source, made = Outside(), []
    for value in (1, 2, 1):
        pq.write_table(pa.table({"value": [value]}), outside)
        made.append(retrieved_examples(product, settings, source))
    assert made[0] == made[2] != made[1]
    assert len(source.retrievals) == 2
    outside.unlink()
    with pytest.raises(NoData, match=r"static\.parquet"):
        retrieved_examples(product, settings, source)


def test_features_that_were_read_while_a_source_was_replaced_are_refused(shop):
    product, settings = shop

    class Ingesting(Counting):
        def training(self, examples: pa.Table) -> pa.Table:
            with (settings.landing / "orders.csv").open("a") as book:
                book.write("9001,C0001,2024-05-01T10:00:00Z,10.00,web\n")
            ingest(product, settings)
            return super().training(examples)

    with pytest.raises(NoData, match="ingested meanwhile"):
        retrieved_examples(product, settings, Ingesting())
    assert not (settings.data / "orders" / "examples").exists()
