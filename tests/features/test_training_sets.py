"""A training set is named by what goes in: the same inputs are the same bytes, and any change has another name."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.features import Counting

from batch_scoring import Label, TableName
from batch_scoring.errors import NoData, NotFound, StoreCorrupt
from batch_scoring.settings import Settings, load_settings
from pipelines.features import FeastFeatures, TrainingSet, ViewDefinition, plan_history, training_set
from pipelines.features.training_set import (
    KEPT,
    Recipe,
    Source,
    content_hash,
    find_record,
    is_whole,
    known_examples,
    list_records,
)
from pipelines.ingest import ingest
from pipelines.init import initialise
from pipelines.repository import Product, load_repository

AS_OF = datetime(2024, 4, 10, 6, tzinfo=UTC)
VIEW = Counting().definitions()[0]
RECIPE = Recipe(
    table=TableName("orders"),
    train_on="history",
    views=(VIEW,),
    sources=(Source(name="orders/current/activity.parquet", sha256="aa"),),
    keys=("customer",),
    entities="bb",
    labels="cc",
    as_of=AS_OF,
    label="dd",
    horizon=604800.0,
    delay=0.0,
)


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Product, Settings]:
    return opened(tmp_path)


def opened(folder: Path) -> tuple[Product, Settings]:
    initialise(folder)
    settings = load_settings(folder)
    product = load_repository(settings.repo).product("orders")
    ingest(product, settings)
    return product, settings


def made(shop: tuple[Product, Settings], as_of: datetime = AS_OF, source: Counting | None = None) -> TrainingSet:
    return training_set(plan_history(*shop, source or Counting(), as_of), shop[1])


@pytest.mark.parametrize(
    "change",
    [
        {"table": TableName("others")},
        {"train_on": "served"},
        {"views": (replace(VIEW, ttl=60.0),)},
        {"views": (replace(VIEW, created=""),)},
        {"views": (replace(VIEW, features=(("constant", "Float64"),)),)},
        {"views": (VIEW, VIEW)},
        {"sources": (Source(name="orders/current/activity.parquet", sha256="ab"),)},
        {"keys": ("customer", "shop")},
        {"entities": "bc"},
        {"labels": "cd"},
        {"as_of": AS_OF + timedelta(microseconds=1)},
        {"label": "de"},
        {"horizon": 604801.0},
        {"delay": 1.0},
        {"format": 2},
    ],
)
def test_every_ingredient_is_in_the_name(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).name != RECIPE.name  # type: ignore[arg-type]
    assert replace(RECIPE).name == RECIPE.name


def test_no_ingredient_was_forgotten() -> None:
    assert set(Recipe.__slots__) == {
        "table", "train_on", "views", "sources", "keys", "entities", "labels", "as_of", "label", "horizon", "delay", "format",
    }  # fmt: skip
    assert set(ViewDefinition.__slots__) == {"name", "keys", "ttl", "features", "source", "event", "created", "renamed"}


def test_asking_twice_gives_the_same_set_and_reads_it(shop: tuple[Product, Settings]) -> None:
    first = made(shop)
    written = first.path.stat().st_mtime_ns
    assert made(shop) == first
    assert first.path.stat().st_mtime_ns == written
    assert is_whole(first.record, first.path)


def test_a_change_of_anything_real_has_another_name(shop: tuple[Product, Settings]) -> None:
    product, settings = shop
    names = [made(shop).record.name]
    names.append(made(shop, as_of=AS_OF + timedelta(days=1)).record.name)
    names.append(made(shop, source=Counting(ttl=3600.0)).record.name)
    label = product.folder / "sql" / "label.sql"
    as_declared = label.read_text()
    label.write_text("-- the same rows\n" + as_declared)
    names.append(made(shop).record.name)
    label.write_text(as_declared.replace("WHERE ", "WHERE activity.customer <> 'C0001' AND "))
    names.append(made(shop).record.name)
    later = replace(product.table, label=replace(product.table.label, delay=timedelta(hours=1)))
    names.append(made((replace(product, table=later), settings)).record.name)
    with (settings.landing / "orders.csv").open("a") as book:
        book.write("9001,C0002,2024-03-01T10:00:00Z,10.00,web\n")
    ingest(product, settings)
    label.write_text(as_declared)
    names.append(made(shop).record.name)
    assert len(set(names)) == len(names)


def test_two_machines_give_one_name_and_the_same_bytes(tmp_path: Path) -> None:
    sets = []
    for name in ("one", "two"):
        product, settings = opened(tmp_path / name)
        source = FeastFeatures(product=product, settings=settings)
        source.apply()
        sets.append(training_set(plan_history(product, settings, source, AS_OF), settings))
    assert sets[0].record == sets[1].record
    assert sets[0].path.read_bytes() == sets[1].path.read_bytes()
    (view,) = sets[0].record.recipe.views
    assert (view.name, view.keys, view.ttl) == ("customer_activity", {"customer": "customer"}, 43200.0)
    assert view.source == "orders/current/activity.parquet"


def test_a_record_says_what_went_in_and_what_came_out(shop: tuple[Product, Settings]) -> None:
    found = made(shop)
    rows = pq.read_table(found.path)
    record = found.record
    assert record.rows == rows.num_rows
    assert record.recipe.as_of == AS_OF
    assert record.last + shop[0].table.label.matures_after <= AS_OF
    assert [column.name for column in record.columns] == ["customer", "event_timestamp", "label", "label_known_at", "constant"]
    assert sum(record.label_shares.values()) == pytest.approx(1)
    assert record.label_mean == pytest.approx(record.label_shares["1"])
    assert list_records(shop[1], "orders") == (record,)
    assert find_record(shop[1], record.name[:8]) == found


def test_a_name_that_fits_none_or_several_is_refused(shop: tuple[Product, Settings]) -> None:
    with pytest.raises(NotFound, match="found none that begins so"):
        find_record(shop[1], "f00")
    for day in range(17):  # sixteen hexadecimal digits: two of these begin alike
        made(shop, as_of=AS_OF + timedelta(days=day % 12, seconds=day))
    names = [record.name for record in list_records(shop[1], "orders")]
    shared = next(name[0] for name in names if sum(other[0] == name[0] for other in names) > 1)
    with pytest.raises(NotFound, match=f"training set '{shared}': expected the name of one"):
        find_record(shop[1], shared)


def test_rows_that_were_damaged_are_made_again(shop: tuple[Product, Settings]) -> None:
    first = made(shop)
    before = first.path.read_bytes()
    first.path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert made(shop) == first
    assert first.path.read_bytes() == before


def test_the_same_recipe_must_give_the_same_bytes(shop: tuple[Product, Settings]) -> None:
    first = made(shop)
    first.path.unlink()
    planned = plan_history(*shop, Counting(), AS_OF)
    other = replace(planned, make=lambda: planned.make().slice(1))
    with pytest.raises(StoreCorrupt, match="expected the bytes it had before"):
        training_set(other, shop[1])
    assert not first.path.exists()
    assert made(shop) == first


def test_the_rows_of_the_newest_sets_are_kept_and_the_records_of_all(shop: tuple[Product, Settings]) -> None:
    sets = [made(shop, as_of=AS_OF + timedelta(days=day)) for day in range(KEPT + 2)]
    assert [each.path.exists() for each in sets] == [False, False] + [True] * KEPT
    assert list_records(shop[1], "orders") == tuple(each.record for each in sets)
    assert made(shop) == sets[0]


def test_a_moment_before_the_first_label_is_refused(shop: tuple[Product, Settings]) -> None:
    with pytest.raises(NoData, match="Choose a later as-of"):
        plan_history(*shop, Counting(), datetime(2024, 1, 3, 6, tzinfo=UTC))


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 20)).map(lambda moment: moment.replace(tzinfo=UTC))
UTC_US = pa.timestamp("us", tz="UTC")


@given(
    rows=st.lists(st.tuples(MOMENTS, MOMENTS), max_size=30),
    horizon=st.timedeltas(timedelta(seconds=1), timedelta(days=5)),
    delay=st.timedeltas(timedelta(0), timedelta(days=5)),
    as_of=MOMENTS,
)
def test_no_row_is_in_whose_label_was_not_known(
    rows: list[tuple[datetime, datetime]], horizon: timedelta, delay: timedelta, as_of: datetime
) -> None:
    table = pa.table(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "event_timestamp": pa.array([event for event, _ in rows], UTC_US),
            "label_known_at": pa.array([known for _, known in rows], UTC_US),
        }
    )
    label = Label(sql="label.sql", horizon=horizon, delay=delay)
    wanted = [n for n, (event, known) in enumerate(rows) if event + horizon + delay <= as_of and known <= as_of]
    assert known_examples(table, label, as_of)["id"].to_pylist() == wanted


CELLS = st.lists(st.tuples(st.integers(-5, 5), st.text(max_size=3), st.floats(allow_nan=False)), max_size=8)


def as_table(rows: list[tuple[int, str, float]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    kinds = (pa.int64(), pa.string(), pa.float64())
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip("abc", columns, kinds, strict=True)})


@given(one=CELLS, other=CELLS, cut=st.integers(0, 8))
def test_a_content_hash_follows_values_and_their_order_and_nothing_else(
    one: list[tuple[int, str, float]], other: list[tuple[int, str, float]], cut: int
) -> None:
    whole = as_table(one)
    chunked = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert content_hash(chunked) == content_hash(whole)
    same = repr(one) == repr(other)  # tells 0.0 from -0.0, as bytes do
    assert (content_hash(as_table(other)) == content_hash(whole)) == same
    assert content_hash(whole.rename_columns(["a", "b", "d"])) != content_hash(whole)


def test_strings_that_run_together_are_told_apart() -> None:
    one, other = (pa.table({"a": words}) for words in (["ab", "c"], ["a", "bc"]))
    assert content_hash(one) != content_hash(other)


def test_a_day_of_the_schedule_is_a_cut_off(shop: tuple[Product, Settings]) -> None:
    assert shop[0].table.schedule.as_of(date(2024, 4, 10)) == AS_OF
