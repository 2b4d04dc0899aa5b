"""Which entities, with which label: answered by the product's own SQL, held to a contract."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.declare import Entity, Key, Schedule
from batch_scoring.errors import DataRejected, DeclarationError, NoData
from batch_scoring.keys import encode_key
from pipelines.ingest import ingest
from pipelines.queries import _canonical, labelled_examples, population
from pipelines.sql import connection

MORNING = datetime(2024, 4, 15, 6, tzinfo=UTC)


@pytest.fixture
def delivered(shop):
    ingest(shop.product, shop.settings)
    return shop


def labels(shop) -> pa.Table:
    return labelled_examples(shop.product, shop.settings)


def entities(shop) -> pa.Table:
    return population(shop.product, shop.settings, MORNING)


Ask = Callable[[object], pa.Table]


def test_examples_are_sorted_typed_and_known_when_promised(delivered):
    examples = labelled_examples(delivered.product, delivered.settings)
    assert examples.schema == pa.schema(
        [
            ("customer", pa.string()),
            ("event_timestamp", pa.timestamp("us", "UTC")),
            ("label", pa.int8()),
            ("label_known_at", pa.timestamp("us", "UTC")),
        ]
    )
    rows = examples.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["event_timestamp"], row["customer"]))
    promised = delivered.product.table.label.matures_after
    assert all(timedelta(0) < row["label_known_at"] - row["event_timestamp"] <= promised for row in rows)


def test_labels_agree_with_the_book(delivered):
    lines = [line.split(",") for line in delivered.book.read_text().splitlines()[1:]]
    bought = {(customer, date.fromisoformat(moment[:10])) for _, customer, moment, *_ in lines}
    for row in labelled_examples(delivered.product, delivered.settings).to_pylist()[::97]:
        day = row["event_timestamp"].date()
        assert row["label"] == any((row["customer"], day + timedelta(days=ahead)) in bought for ahead in range(7))


def test_the_population_is_everybody_there_at_that_moment(delivered):
    lines = [line.split(",") for line in delivered.book.read_text().splitlines()[1:]]
    there = {customer for _, customer, moment, *_ in lines if moment < "2024-04-15"}
    found = population(delivered.product, delivered.settings, MORNING)
    assert found.schema == pa.schema([("customer", pa.string())])
    assert found["customer"].to_pylist() == sorted(there)


def test_a_day_without_data_says_which_days_there_are(delivered):
    with pytest.raises(NoData, match="2024-01-02 to 2024-04-29"):
        population(delivered.product, delivered.settings, datetime(2030, 1, 1, 6, tzinfo=UTC))


def test_nothing_ingested_says_what_to_run(shop):
    with pytest.raises(NoData, match="foretable ingest orders"):
        population(shop.product, shop.settings, MORNING)


@pytest.mark.parametrize(
    ("ask", "file", "old", "new", "words"),
    [
        (labels, "label.sql", "AS label,", "* 2 AS label,", "labels of 0 or 1"),
        (labels, "label.sql", "INTERVAL 167 HOUR AS", "NULL AS", "no nulls"),
        (entities, "population.sql", "FROM activity", "FROM (FROM activity UNION ALL FROM activity)", "each entity once"),
        (entities, "population.sql", "SELECT customer", "SELECT NULL AS customer", "no nulls"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_rejected(delivered, ask: Ask, file: str, old: str, new: str, words: str):
    delivered.rewrite(f"sql/{file}", old, new)
    with pytest.raises(DataRejected, match=words):
        ask(delivered)


@pytest.mark.parametrize(
    ("ask", "file", "old", "new"),
    [(labels, "label.sql", "AS label,", "AS lable,"), (entities, "population.sql", "FROM activity", "FROM actvity")],
)
def test_a_query_that_does_not_run_names_its_file(delivered, ask: Ask, file: str, old: str, new: str):
    delivered.rewrite(f"sql/{file}", old, new)
    with pytest.raises(DeclarationError, match=file):
        ask(delivered)


KEYS = (Key(name="word", type="string"), Key(name="number", type="integer"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1)), min_size=2, max_size=10, unique=True))
def test_sql_and_python_agree_on_the_canonical_key_and_its_order(values: list[tuple[str, int]]):
    words, numbers = zip(*[(word.replace("\0", ""), number) for word, number in values], strict=True)
    things = pa.table({"word": pa.array(words), "number": pa.array(numbers, pa.int64())})
    with duckdb.connect() as con:
        con.register("things", things)
        found = [key for (key,) in con.execute(f"SELECT {_canonical(KEYS)} AS key FROM things ORDER BY key").fetchall()]
    entity = Entity(name="thing", keys=KEYS)
    assert found == sorted(encode_key(entity, pair) for pair in zip(words, numbers, strict=True))


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(every="day", at="04:00", timezone="America/New_York"),
        Schedule(every="day", at="02:30", timezone="America/New_York"),
        Schedule(every="day", at="01:30", timezone="America/New_York"),
        Schedule(every="week", at="23:59", timezone="Pacific/Apia", weekday="friday"),
    ],
    ids=["as flights", "hour that is skipped", "hour that comes twice", "day that was skipped"],
)
def test_the_calendar_of_sql_is_the_schedule_through_daylight_saving(shop, schedule: Schedule, tmp_path):
    product = replace(shop.product, table=replace(shop.product.table, schedule=schedule))
    with connection(product, shop.settings, tmp_path) as con:
        for first, last in (
            (date(2013, 3, 1), date(2013, 3, 31)),
            (date(2013, 10, 25), date(2013, 11, 25)),
            (date(2011, 12, 20), date(2012, 1, 9)),
        ):
            found = con.execute("SELECT * FROM calendar WHERE day BETWEEN ? AND ? ORDER BY day", [first, last]).fetchall()
            assert found == [(day, schedule.as_of(day)) for day in schedule.days(first, last)]
