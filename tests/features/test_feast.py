"""Real Feast against an oracle in plain Python: point in time by event time *and* by created time."""

import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_scoring.codec import to_pretty_json
from batch_scoring.domain import Column
from batch_scoring.errors import DeclarationError
from pipelines.features import FeastFeatures
from pipelines.features.chunked_engine import Progress, progress_file
from pipelines.features.materialize import materialize
from pipelines.features.sources import hashed_sources
from pipelines.features.workspace import open_store
from pipelines.ingest import ingest
from pipelines.queries import population

START = datetime(2024, 3, 9, tzinfo=UTC)
TTL = timedelta(days=2)


@dataclass(frozen=True)
class Fact:
    one: int
    other: int
    event: datetime
    created: datetime
    size: int | None = None
    share: float | None = None
    word: str | None = None


def deliver(facts: FeastFeatures, history: list[Fact]) -> None:
    rows = ["one,other,event_timestamp,created_timestamp,size,share,word"]
    for fact in history:
        cells = (fact.one, fact.other, fact.event.isoformat(), fact.created.isoformat(), fact.size, fact.share, fact.word)
        rows.append(",".join("" if cell is None else str(cell) for cell in cells))
    (facts.settings.landing / "facts.csv").write_text("\n".join(rows) + "\n")
    ingest(facts.product, facts.settings)


def asked(rows: list[tuple[int, int, datetime]]) -> pa.Table:
    one, other, moments = zip(*rows, strict=True)
    return pa.table(
        {
            "one": pa.array(one, pa.int64()),
            "other": pa.array(other, pa.int64()),
            "event_timestamp": pa.array(moments, pa.timestamp("us", tz="UTC")),
        }
    )


def answers(facts: FeastFeatures, rows: list[tuple[int, int, datetime]]) -> list[tuple[object, ...]]:
    found = facts.training(asked(rows))
    return list(zip(*(found[name].to_pylist() for name in ("size", "share", "word")), strict=True))


def known(history: list[Fact], one: int, other: int, moment: datetime) -> tuple[object, ...]:
    """What may be known: newest event inside the TTL among the facts created by then; of equals, the last created."""
    seen = [
        fact
        for fact in history
        if (fact.one, fact.other) == (one, other) and moment - TTL <= fact.event <= moment and fact.created <= moment
    ]
    newest = max(seen, key=lambda fact: (fact.event, fact.created), default=None)
    return (newest.size, newest.share, newest.word) if newest else (None, None, None)


moments = st.integers(0, 10).map(lambda hours: START + timedelta(hours=12 * hours))
key = st.sampled_from([(1, 23), (12, 3), (1, 2), (-1, 23), (123, 0)])
facts_strategy = st.builds(
    lambda pair, event, late, size, share, word: Fact(*pair, event, event + timedelta(hours=12 * late), size, share, word),
    key,
    moments,
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(-(2**53), 2**53), st.just(2**60 + 1)),
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.sampled_from([None, "a", "b"]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        facts_strategy, min_size=1, max_size=25, unique_by=lambda fact: (fact.one, fact.other, fact.event, fact.created)
    ),
    rows=st.lists(st.builds(lambda pair, moment: (*pair, moment), key, moments), min_size=1, max_size=20),
)
def test_every_row_sees_exactly_what_was_known_at_its_moment(facts: FeastFeatures, history: list[Fact], rows):
    deliver(facts, history)
    assert answers(facts, rows) == [known(history, *row) for row in rows]


def test_a_row_that_arrived_late_is_not_seen_before_it_arrived(facts: FeastFeatures):
    late = START + timedelta(hours=30)
    deliver(facts, [Fact(1, 1, START, START, size=1), Fact(1, 1, START + timedelta(hours=1), late, size=2)])
    times = [START + timedelta(hours=2), late - timedelta(microseconds=1), late]
    assert [size for size, *_ in answers(facts, [(1, 1, time) for time in times])] == [1, 1, 2]


def test_a_correction_replaces_a_value_only_from_its_own_arrival_on(facts: FeastFeatures):
    corrected = START + timedelta(hours=6)
    deliver(facts, [Fact(1, 1, START, START, size=1), Fact(1, 1, START, corrected, size=2)])
    assert [size for size, *_ in answers(facts, [(1, 1, START), (1, 1, corrected)])] == [1, 2]


def test_keys_that_read_the_same_when_joined_stay_apart(facts: FeastFeatures):
    deliver(facts, [Fact(1, 23, START, START, word="a"), Fact(12, 3, START, START, word="b")])
    assert [word for *_, word in answers(facts, [(1, 23, START), (12, 3, START), (123, 0, START)])] == ["a", "b", None]


def test_rows_keep_their_order_their_repeats_and_their_other_columns(facts: FeastFeatures):
    deliver(facts, [Fact(1, number, START, START, size=number) for number in range(50)])
    rows = [(1, (number * 37) % 50, START) for number in range(120)]
    given_rows = asked(rows).append_column("entity_row_id", pa.array([f"{number}" for number in range(120)]))
    found = facts.training(given_rows)
    assert found.select(given_rows.column_names).equals(given_rows)
    assert found["size"].to_pylist() == [other for _, other, _ in rows]


def test_features_have_declared_types_even_when_nothing_is_known(facts: FeastFeatures):
    deliver(facts, [Fact(1, 1, START, START, size=2**60 + 1)])
    types = [("word", pa.string()), ("size", pa.int64()), ("share", pa.float64())]
    for row in ((1, 1, START), (9, 9, START)):
        found = facts.training(asked([row]))
        assert [(name, found.schema.field(name).type) for name, _ in types] == types
    assert answers(facts, [(1, 1, START), (9, 9, START)]) == [(2**60 + 1, None, None), (None, None, None)]


def test_columns_are_documented_and_in_the_order_of_the_service(facts: FeastFeatures):
    assert facts.columns() == (
        Column(name="word", type="VARCHAR", role="feature", description="a word"),
        Column(name="size", type="BIGINT", role="feature", description="a size"),
        Column(name="share", type="DOUBLE", role="feature", description="a share"),
    )


def test_scoring_gets_the_features_that_training_would_have_got(orders: FeastFeatures):
    as_of = orders.product.table.schedule.as_of(date(2024, 4, 15))
    entities = population(orders.product, orders.settings, as_of)
    served = orders.population(entities, as_of)
    assert served.column_names == ["customer", "event_timestamp", *(column.name for column in orders.columns())]
    assert served["customer"].to_pylist() == entities["customer"].to_pylist()
    assert set(served["event_timestamp"].to_pylist()) == {as_of}
    assert all(not served[column.name].null_count for column in orders.columns())
    assert orders.training(served.select(["customer", "event_timestamp"])).equals(served)


def test_applying_again_does_nothing_and_a_change_is_applied(orders: FeastFeatures):
    registry = orders.settings.data / "registry.db"
    before = registry.stat().st_mtime_ns
    orders.apply()
    assert registry.stat().st_mtime_ns == before
    features = orders.settings.repo / "orders" / "features.py"
    text = features.read_text()
    print_before = orders.fingerprint()
    try:
        features.write_text(text.replace("orders, last 7 days", "orders in a week"))
        orders.apply()
        assert orders.fingerprint() != print_before
        assert "orders in a week" in {column.description for column in orders.columns()}
    finally:
        features.write_text(text)
        orders.apply()
    assert orders.fingerprint() == print_before


def test_a_registry_that_somebody_else_changed_is_applied_again(orders: FeastFeatures):
    registry = orders.settings.data / "registry.db"
    registry.unlink()
    orders.apply()
    assert len(orders.columns()) == 7


def test_definitions_are_read_without_a_trace_in_this_process(orders: FeastFeatures):
    (orders.settings.data / "feast_applied.json").unlink()
    before = Path.cwd(), list(sys.path), sys.dont_write_bytecode
    orders.apply()
    assert (Path.cwd(), sys.path, sys.dont_write_bytecode) == before
    assert not [name for name in sys.modules if name.split(".")[0] in ("orders", "facts")]


def test_a_definition_that_feast_refuses_is_one_sentence(orders: FeastFeatures):
    extra = orders.settings.repo / "orders" / "extra.py"
    extra.write_text("raise LookupError('broken on purpose')\n")
    try:
        with pytest.raises(DeclarationError, match="broken on purpose") as error:
            orders.apply()
        assert "feast plan" in str(error.value)
    finally:
        extra.unlink()


def test_a_service_that_is_not_declared_is_named(orders: FeastFeatures):
    product = replace(orders.product, table=replace(orders.product.table, feature_service="order"))
    with pytest.raises(DeclarationError, match=r"a FeatureService of the repository: .*orders"):
        FeastFeatures(product=product, settings=orders.settings).columns()


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_a_service_with_an_on_demand_view_is_one_sentence(facts: FeastFeatures):
    deliver(facts, [Fact(1, 1, START, START, 1)])
    file = facts.product.folder / "features.py"
    declared = file.read_text()
    doubled = """
from feast.on_demand_feature_view import on_demand_feature_view

@on_demand_feature_view(sources=[known], schema=[Field(name="doubled", dtype=Float64)], mode="pandas")
def twice(inputs):
    return inputs[["size"]].rename(columns={"size": "doubled"}) * 2.0
"""
    file.write_text(
        declared.replace("\nfacts = FeatureService", doubled + "\nfacts = FeatureService").replace(
            "[known])\n", "[known, twice])\n"
        )
    )
    try:
        facts.apply()
        for ask in (facts.columns, facts.definitions):
            with pytest.raises(DeclarationError, match="found the on-demand view 'twice'"):
                ask()
    finally:
        file.write_text(declared)
        facts.apply()


def test_a_source_may_be_a_folder_named_from_the_repository(facts: FeastFeatures):
    deliver(facts, [Fact(1, 1, START, START, 7)])
    file = facts.product.folder / "features.py"
    declared = file.read_text()
    file.write_text(declared.replace('dataset_path("facts", "facts")', '"../data/facts/current"'))
    try:
        facts.apply()
        (view,) = facts.definitions()
        assert Path(facts.settings.data / view.source).is_dir()
        assert answers(facts, [(1, 1, START)])[0][0] == 7
        (before,) = hashed_sources([view], facts.settings.data)
        deliver(facts, [Fact(1, 1, START, START, 8)])
        (after,) = hashed_sources([view], facts.settings.data)
        assert before.sha256 != after.sha256
    finally:
        file.write_text(declared)
        facts.apply()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # Feast on SQLite
def test_a_stopped_materialization_is_brought_to_its_end_before_what_became_known_since(facts: FeastFeatures):
    deliver(facts, [Fact(1, 1, START, START, 1)])
    facts.apply()
    store = open_store(facts.settings)
    since, until, later = START - TTL, START + timedelta(hours=1), START + timedelta(hours=2)
    file = progress_file(store.config, store.project, "known")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(to_pretty_json(Progress(work="of before", since=since, until=until, pieces=1, done=0, rows=0)))
    done = materialize(facts.settings, "known", [later])
    assert (done.until, done.written) == (later, True)
    (view,) = (view for view in open_store(facts.settings).list_feature_views() if view.name == "known")
    assert [end for _, end in view.materialization_intervals] == [until, later]
    assert not file.exists()
