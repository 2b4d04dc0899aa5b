"""The as-of store against a naive definition in Python, and against Feast's own DuckDB store where Feast is right."""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_scoring.errors import DeclarationError
from pipelines.features.asof_inputs import scan_of
from pipelines.features.asof_store import AsofDuckDBOfflineStoreConfig

# Feast 0.67 calls saved datasets and on-demand views experimental; ibis 12 calls a method of DuckDB 2 by its old name.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:(Saving dataset|Retrieving datasets|On demand feature view) is an experimental feature:RuntimeWarning"
    ),
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

START = datetime(2024, 3, 9, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
TTL = timedelta(hours=3)
FEATURES = ["known:size", "known:word"]


@dataclass(frozen=True)
class Fact:
    one: int | None
    other: str | None
    event: datetime | None
    created: datetime
    size: int | None = None
    word: str | None = None


@dataclass(frozen=True)
class Shop:
    """A feature repository of one source with and without a TTL, in the store under test and in Feast's own."""

    folder: Path
    ours: FeatureStore
    feasts: FeatureStore

    def deliver(self, facts: list[Fact], unit: str = "us", zone: str | None = "UTC") -> None:
        time = pa.timestamp(unit, tz=zone)
        pq.write_table(
            pa.table(
                {
                    "one": pa.array([fact.one for fact in facts], pa.int64()),
                    "second": pa.array([fact.other for fact in facts], pa.string()),
                    "at": pa.array([fact.event for fact in facts], MOMENT).cast(time),
                    "created": pa.array([fact.created for fact in facts], MOMENT).cast(time),
                    "magnitude": pa.array([fact.size for fact in facts], pa.int64()),
                    "word": pa.array([fact.word for fact in facts], pa.string()),
                }
            ),
            self.folder / "facts.parquet",
        )


def asked(rows: list[tuple[int | None, str | None, datetime | None]]) -> pa.Table:
    return pa.table(
        {
            "one": pa.array([one for one, _, _ in rows], pa.int64()),
            "other": pa.array([other for _, other, _ in rows], pa.string()),
            "event_timestamp": pa.array([moment for _, _, moment in rows], MOMENT),
            "note": pa.array(range(len(rows)), pa.int64()),
        }
    )


def definition(facts: list[Fact], one, other, moment, *, ttl: timedelta | None = TTL, cutoff: bool = True):
    """Newest event in [moment - ttl, moment] among what was created by then; of equals the last created and written."""
    seen = [
        (fact.event, fact.created, number, fact)
        for number, fact in enumerate(facts)
        if None not in (one, other, moment, fact.event)
        and (fact.one, fact.other) == (one, other)
        and fact.event <= moment
        and (ttl is None or moment - fact.event <= ttl)
        and (not cutoff or fact.created <= moment)
    ]
    newest = max(seen, default=None, key=lambda each: each[:3])
    return (newest[3].size, newest[3].word) if newest else (None, None)


def store(folder: Path, name: str, offline: object) -> FeatureStore:
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / f"{name}.db"),
        online_store={"type": "sqlite", "path": str(folder / f"{name}_online.db")},
        offline_store=offline,
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    made = FeatureStore(config=config)
    source = FileSource(
        name="facts",
        path=str(folder / "facts.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="at",
        created_timestamp_column="created",
        field_mapping={"second": "other", "magnitude": "size"},
    )
    keys = [Entity(name="one", value_type=ValueType.INT64), Entity(name="other", value_type=ValueType.STRING)]
    fields = [
        Field(name=name, dtype=dtype) for name, dtype in (("one", Int64), ("other", String), ("size", Int64), ("word", String))
    ]
    known = FeatureView(name="known", entities=keys, ttl=TTL, source=source, schema=fields)
    ever = FeatureView(name="ever", entities=keys, ttl=timedelta(0), source=source, schema=fields)

    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"doubled": inputs["size"] * 2.0})

    twice = on_demand_feature_view(sources=[known], schema=[Field(name="doubled", dtype=Float64)], mode="pandas")(doubled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixtures do not see the marks of the module
        made.apply([*keys, known, ever, twice])
    return made


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    made = Shop(folder=folder, ours=None, feasts=None)
    made.deliver([Fact(1, "a", START, START, 1, "x")])
    ours = store(folder, "ours", AsofDuckDBOfflineStoreConfig().model_dump())
    return Shop(folder=folder, ours=ours, feasts=store(folder, "feasts", DuckDBOfflineStoreConfig().model_dump()))


def answers(table: pa.Table, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def ours(shop: Shop, rows: object, features: list[str] = FEATURES, **options: object) -> pa.Table:
    return shop.ours.get_historical_features(entity_df=rows, features=features, **options).to_arrow()


moments = st.integers(0, 8).map(lambda hours: START + timedelta(hours=hours))
ones = st.sampled_from([1, 12, -(2**63), 2**63 - 1])
others = st.sampled_from(["23", "3", "", "ключ/ß", "k" * 3000])
histories = st.lists(
    st.builds(
        lambda one, other, event, late, size, word: Fact(one, other, event, (event or START) + timedelta(hours=late), size, word),
        st.one_of(st.none(), ones),
        st.one_of(st.none(), others),
        st.one_of(moments, moments, moments, st.none()),
        st.integers(-1, 4),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.sampled_from([None, "", "a", "ü"]),
    ),
    max_size=20,
)
questions = st.lists(st.tuples(st.one_of(st.none(), ones), others, st.one_of(moments, moments, st.none())), max_size=15)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=histories, rows=questions)
def test_every_cell_is_what_the_definition_says(shop: Shop, facts: list[Fact], rows: list):
    shop.deliver(facts)
    given_rows = asked(rows)
    found = ours(shop, given_rows, ["known:size", "known:word", "ever:size", "ever:word"], full_feature_names=True)
    assert found.select(given_rows.column_names).equals(given_rows)
    assert found.schema.field("known__size").type == pa.int64()
    assert answers(found, "known__size", "known__word") == [definition(facts, *row) for row in rows]
    assert answers(found, "ever__size", "ever__word") == [definition(facts, *row, ttl=None) for row in rows]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=histories, rows=questions, moment=moments, opted_out=st.booleans())
def test_a_population_of_one_moment_sees_what_the_definition_says(shop: Shop, facts: list[Fact], rows: list, moment, opted_out):
    """One moment takes a way of its own: the newest row of each key, joined by key."""
    shop.deliver(facts)
    rows = [(one, other, when and moment) for one, other, when in rows]
    config = shop.ours.config.offline_store
    config.created_timestamp_cutoff = not opted_out
    try:
        found = ours(shop, asked(rows), ["known:size", "known:word", "ever:size", "ever:word"], full_feature_names=True)
    finally:
        config.created_timestamp_cutoff = True
    cutoff = not opted_out
    assert answers(found, "known__size", "known__word") == [definition(facts, *row, cutoff=cutoff) for row in rows]
    assert answers(found, "ever__size", "ever__word") == [definition(facts, *row, ttl=None, cutoff=cutoff) for row in rows]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=histories, rows=questions)
def test_the_opt_out_sees_what_came_late(shop: Shop, facts: list[Fact], rows: list):
    shop.deliver(facts)
    config = shop.ours.config.offline_store
    config.created_timestamp_cutoff = False
    try:
        found = answers(ours(shop, asked(rows)), "size", "word")
        assert answers(ours(shop, asked(rows), filter_by_created_timestamp=True), "size", "word") == [
            definition(facts, *row) for row in rows
        ]
    finally:
        config.created_timestamp_cutoff = True
    assert found == [definition(facts, *row, cutoff=False) for row in rows]


@pytest.mark.parametrize("seed", range(3))
def test_feasts_own_store_gives_the_same_cells_where_it_decides(shop: Shop, seed: int):
    import random

    chance = random.Random(seed)
    hour = timedelta(hours=1)
    facts = {}
    for _ in range(300):  # Feast leaves rows that tie in event and created time to chance: each pair is there once
        event = START + hour * chance.randrange(12)
        fact = Fact(chance.randrange(1, 6), chance.choice("ab"), event, event + hour * chance.randrange(4), chance.randrange(99))
        facts[fact.one, fact.other, fact.event, fact.created] = fact
    shop.deliver(list(facts.values()))
    rows = [(chance.randrange(1, 7), chance.choice("ab"), START + hour * chance.randrange(14)) for _ in range(200)]
    theirs = shop.feasts.get_historical_features(
        entity_df=asked(rows).to_pandas(), features=["known:size"], filter_by_created_timestamp=True
    ).to_arrow()
    assert answers(theirs.sort_by("note"), "size") == answers(ours(shop, asked(rows)), "size")


def test_a_late_newer_row_does_not_hide_an_older_one_that_was_known(shop: Shop):
    hour = timedelta(hours=1)
    shop.deliver(
        [Fact(1, "a", START, START, 1), Fact(1, "a", START + hour, START + 3 * hour, 2), Fact(1, "a", START, START + 2 * hour, 3)]
    )
    rows = [(1, "a", START + hours * hour) for hours in range(4)]
    assert answers(ours(shop, asked(rows)), "size") == [(1,), (1,), (3,), (2,)]


def test_the_time_to_live_is_inclusive_to_the_microsecond(shop: Shop):
    shop.deliver([Fact(1, "a", START, START, 1)])
    rows = [(1, "a", START + TTL), (1, "a", START + TTL + timedelta(microseconds=1))]
    assert answers(ours(shop, asked(rows)), "size") == [(1,), (None,)]


def test_joined_keys_that_read_the_same_stay_apart(shop: Shop):
    shop.deliver([Fact(1, "23", START, START, 1), Fact(12, "3", START, START, 2)])
    rows = [(12, "3", START), (1, "23", START), (123, "", START)]
    assert answers(ours(shop, asked(rows)), "size") == [(2,), (1,), (None,)]


@pytest.mark.parametrize(("unit", "zone"), [("ns", "UTC"), ("ns", None), ("ms", None), ("us", "Asia/Tokyo")])
def test_times_of_any_unit_and_zone_are_the_same_moments(shop: Shop, unit: str, zone: str | None):
    shop.deliver([Fact(1, "a", START, START, 1)], unit, zone)
    rows = asked([(1, "a", START), (1, "a", START - timedelta(milliseconds=1))])
    for moment in (MOMENT, pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ns", tz="America/New_York"), pa.string()):
        times = rows["event_timestamp"].cast(pa.timestamp("us")).cast(moment) if moment == pa.string() else None
        given_rows = rows.set_column(2, "event_timestamp", times or rows["event_timestamp"].cast(moment))
        assert answers(ours(shop, given_rows), "size") == [(1,), (None,)]


def test_extreme_dates_neither_overflow_nor_match(shop: Shop):
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    shop.deliver([Fact(1, "a", first, first, 1), Fact(1, "b", last, last, 2)])
    rows = [(1, "a", first), (1, "a", last), (1, "b", last), (1, "b", first)]
    found = ours(shop, asked(rows), ["known:size", "ever:size"], full_feature_names=True)
    assert answers(found, "known__size", "ever__size") == [(1, 1), (None, 1), (2, 2), (None, None)]


def test_entity_rows_may_be_arrow_polars_pandas_sql_or_a_file(shop: Shop, tmp_path: Path):
    shop.deliver([Fact(1, "a", START, START, 2**60 + 1)])
    rows = asked([(2, "a", START), (1, "a", START)])
    file = tmp_path / "it's rows.parquet"
    pq.write_table(rows, file)
    sql = "SELECT 3 - n AS one, 'a' AS other, TIMESTAMPTZ '2024-03-09 00:00Z' AS event_timestamp FROM range(1, 3) t(n)"
    for form in (rows, pl.from_arrow(rows), rows.to_pandas(), str(file), file, sql):
        assert answers(ours(shop, form), "one", "size") == [(2, None), (1, 2**60 + 1)], type(form)


def test_rows_are_counted_even_if_a_column_has_the_name_of_the_count(shop: Shop, tmp_path: Path):
    shop.deliver([Fact(1, "a", START, START, 7), Fact(2, "a", START, START, 8)])
    rows = asked([(2, "a", START), (1, "a", START + timedelta(hours=1)), (2, "a", START)])
    rows = rows.append_column("file_row_number", pa.array([5, 5, 4]))
    pq.write_table(rows, tmp_path / "one.parquet")
    for form in (rows, tmp_path / "one.parquet"):
        found = ours(shop, form)
        assert answers(found, "note", "size", "file_row_number") == [(0, 8, 5), (1, 7, 5), (2, 8, 4)]


def test_a_few_rows_beside_many_are_not_joined_by_a_loop(shop: Shop):
    shop.deliver([Fact(1, "a", START, START, 1)])
    query = shop.ours.get_historical_features(entity_df=asked([(1, "a", START), (1, "b", START + TTL)]), features=FEATURES)
    with query._query.open() as (con, sql):
        plan = con.execute(f"EXPLAIN {sql}").fetchall()[0][1].lower()
    assert "asof" in plan
    assert "nested loop" not in plan


def test_a_view_can_be_asked_under_another_name_and_other_keys(shop: Shop):
    shop.deliver([Fact(1, "a", START, START, 1), Fact(2, "a", START, START, 2)])
    view = shop.ours.get_feature_view("known")
    buyer = view.with_name("buyer").with_join_key_map({"one": "buyer_id"})
    seller = view.with_name("seller").with_join_key_map({"one": "seller_id"})
    from feast import FeatureService

    service = FeatureService(name="trade", features=[buyer[["size"]], seller[["size"]]])
    shop.ours.apply([service])
    rows = pa.table({"seller_id": [1], "buyer_id": [2], "other": ["a"], "event_timestamp": pa.array([START], MOMENT)})
    found = ours(shop, rows, shop.ours.get_feature_service("trade"), full_feature_names=True)
    assert answers(found, "buyer__size", "seller__size") == [(2, 1)]


def test_on_demand_views_are_computed_by_feast(shop: Shop):
    shop.deliver([Fact(1, "a", START, START, 21)])
    job = shop.ours.get_historical_features(entity_df=asked([(1, "a", START)]), features=["known:size", "doubled:doubled"])
    assert answers(job.to_arrow(), "size", "doubled") == [(21, 42.0)]
    with pytest.raises(DeclarationError, match="on-demand view 'doubled'"):
        next(job.batches())


def test_without_entity_rows_every_key_that_is_known_is_told(shop: Shop):
    day = timedelta(days=1)
    shop.deliver([Fact(1, "a", START - day, START, 1), Fact(2, "b", START, START, 2), Fact(3, "c", START + day, START, 3)])
    job = shop.ours.get_historical_features(
        features=["ever:size"], start_date=START - timedelta(hours=1), end_date=START + timedelta(hours=1)
    )
    assert answers(job.to_arrow(), "one", "other", "size") == [(2, "b", 2)]


def test_a_result_can_be_read_in_batches_and_written_whole(shop: Shop, tmp_path: Path):
    shop.deliver([Fact(number, "a", START, START, number) for number in range(5000)])
    rows = asked([(number * 37 % 5000, "a", START) for number in range(9000)])
    job = shop.ours.get_historical_features(entity_df=rows, features=["known:size"])
    whole = job.to_arrow()
    assert whole["size"].to_pylist() == whole["one"].to_pylist() == rows["one"].to_pylist()
    assert pa.Table.from_batches(job.batches(1000)).equals(whole)
    assert job.to_parquet(tmp_path / "out.parquet") == 9000
    assert pq.read_table(tmp_path / "out.parquet").equals(whole)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def test_a_saved_dataset_is_one_file_and_never_overwritten_unasked(shop: Shop, tmp_path: Path):
    shop.deliver([Fact(1, "a", START, START, 1)])
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    job = shop.ours.get_historical_features(entity_df=asked([(1, "a", START)]), features=["known:size"])
    saved = shop.ours.create_saved_dataset(from_=job, name="saved", storage=storage)
    assert saved.to_df()["size"].tolist() == [1]
    with pytest.raises(Exception, match="already exists"):
        job.persist(storage)


def test_materialize_brings_the_newest_row_online(shop: Shop):
    hour = timedelta(hours=1)
    shop.deliver(
        [Fact(1, "a", START, START, 1), Fact(1, "a", START, START + hour, 2), Fact(2, "a", START + 9 * hour, START, 3)], "ns"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own, on the way to SQLite
        shop.ours.materialize(START - hour, START + hour, feature_views=["known"])
    found = shop.ours.get_online_features(
        features=["known:size"], entity_rows=[{"one": 1, "other": "a"}, {"one": 2, "other": "a"}]
    )
    assert found.to_dict()["size"] == [2, None]


def test_a_query_reads_one_delivery_though_another_becomes_current_meanwhile(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"name": [name]}), tmp_path / name / "facts.parquet")
    link = tmp_path / "current"
    link.symlink_to("one")
    scan = scan_of(FileSource(path=str(link / "facts.parquet"), timestamp_field="at"), None)
    link.unlink()
    link.symlink_to("two")
    assert duckdb.sql(f"FROM {scan}").fetchall() == [("one",)]


def test_writing_into_a_source_is_refused(shop: Shop):
    with pytest.raises(DeclarationError, match="foretable ingest"):
        shop.ours._get_provider().offline_store.offline_write_batch(
            shop.ours.config, shop.ours.get_feature_view("known"), asked([]), None
        )


def test_a_missing_join_key_and_a_doubled_name_are_one_sentence(shop: Shop):
    shop.deliver([Fact(1, "a", START, START, 1)])
    with pytest.raises(DeclarationError, match="expected a column 'other'"):
        ours(shop, asked([]).drop_columns(["other"]))
    with pytest.raises(DeclarationError, match="full_feature_names"):
        ours(shop, asked([]).append_column("size", pa.array([], pa.int64())))
