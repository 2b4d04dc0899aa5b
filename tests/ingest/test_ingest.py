"""A delivery is whole and current, or refused and nothing changes."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_scoring.codec import from_json
from batch_scoring.errors import DataRejected, DeclarationError, NoData, StoreUnavailable
from pipelines.delivery import Delivery, current_delivery
from pipelines.ingest import ingest


def deliveries(shop) -> list[str]:
    return sorted(path.name for path in (shop.settings.data / "orders" / "deliveries").iterdir())


def current(shop) -> str:
    return (shop.settings.data / "orders" / "current").resolve().name


def append(shop, *lines: str) -> None:
    with shop.book.open("a") as book:
        book.writelines(line + "\n" for line in lines)


def test_a_delivery_records_what_it_is_made_of(shop):
    delivery = ingest(shop.product, shop.settings)
    folder = shop.settings.delivery("orders")
    assert folder.is_symlink()
    assert from_json((folder / "delivery.json").read_bytes(), Delivery) == delivery == current_delivery("orders", shop.settings)
    assert [(raw.name, raw.location, raw.bytes) for raw in delivery.raw] == [("orders", "orders.csv", shop.book.stat().st_size)]
    for dataset in delivery.datasets:
        table = pq.read_table(shop.settings.dataset("orders", dataset.name))
        assert table.num_rows == dataset.rows > 0
        assert (folder / f"{dataset.name}.parquet").stat().st_size == dataset.bytes
        for name in ("event_timestamp", "created_timestamp"):
            assert table.schema.field(name).type == pa.timestamp("us", tz="UTC")
        moments = table["event_timestamp"].to_pylist()
        assert moments == sorted(moments)
        assert (moments[0], moments[-1]) == (dataset.first, dataset.last)


def test_the_same_files_are_the_same_delivery_and_the_second_time_nothing_happens(shop):
    first = ingest(shop.product, shop.settings)
    before = (shop.settings.delivery("orders") / "activity.parquet").stat().st_mtime_ns
    heard: list[str] = []
    assert ingest(shop.product, shop.settings, progress=heard.append) == first
    assert heard == [f"nothing new: delivery {first.id} holds these files already"]
    assert (shop.settings.delivery("orders") / "activity.parquet").stat().st_mtime_ns == before


def test_two_ingests_of_the_same_files_write_the_same_bytes(shop, tmp_path: Path):
    elsewhere = shop.settings.model_copy(update={"data": tmp_path / "elsewhere"})
    first, second = ingest(shop.product, shop.settings), ingest(shop.product, elsewhere)
    assert first == second
    for dataset in first.datasets:
        one, other = shop.settings.dataset("orders", dataset.name), elsewhere.dataset("orders", dataset.name)
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sql/activity.sql", "AS orders_7d", "AS orders_7d "),
        ("checks.py", "le=10_000", "le=20_000"),
        ("table.py", 'at="06:00"', 'at="07:00"'),
        ("table.py", "Csv()", 'Csv(nulls=("", "NA"))'),
    ],
)
def test_another_query_or_check_or_schedule_makes_another_delivery(shop, file: str, old: str, new: str):
    first = ingest(shop.product, shop.settings)
    shop.rewrite(file, old, new)
    assert ingest(shop.product, shop.settings).id != first.id


def test_a_rejected_file_leaves_the_last_good_delivery_in_use(shop):
    good = ingest(shop.product, shop.settings)
    append(shop, "9999,C9,2024-05-01T10:00:00Z,10.00,web", "10000,C0001,2024-05-01T10:00:00Z,-1,fax")
    with pytest.raises(DataRejected, match="last good delivery") as error:
        ingest(shop.product, shop.settings)
    assert [row[1:] for row in error.value.report] == [
        ("customer", "matches '^C\\d{4}$'", "1 row: 2,548"),
        ("amount", "is above 0", "1 row: 2,549"),
        ("channel", "is one of ['web', 'store']", "1 row: 2,549"),
    ]
    assert current_delivery("orders", shop.settings) == good
    assert deliveries(shop) == [good.id]


def test_a_new_delivery_takes_over_and_the_oldest_are_dropped(shop):
    made = []
    for day in range(1, 6):
        append(shop, f"{9000 + day},C0001,2024-05-0{day}T10:00:00Z,10.00,web")
        made.append(ingest(shop.product, shop.settings).id)
        assert current(shop) == made[-1]
    assert deliveries(shop) == sorted(made[-3:])


def test_an_earlier_file_delivered_again_brings_its_delivery_back(shop):
    book = shop.book.read_bytes()
    first = ingest(shop.product, shop.settings)
    append(shop, "9001,C0001,2024-05-01T10:00:00Z,10.00,web")
    second = ingest(shop.product, shop.settings)
    shop.book.write_bytes(book)
    assert ingest(shop.product, shop.settings) == first
    assert current(shop) == first.id
    assert deliveries(shop) == sorted([first.id, second.id])


def test_an_open_reader_of_the_old_delivery_is_not_disturbed(shop):
    ingest(shop.product, shop.settings)
    with pq.ParquetFile(shop.settings.dataset("orders", "orders")) as old:
        append(shop, "9001,C0001,2024-05-01T10:00:00Z,10.00,web")
        ingest(shop.product, shop.settings)
        assert old.read().num_rows == 2547
    assert pq.read_metadata(shop.settings.dataset("orders", "orders")).num_rows == 2548


@pytest.mark.parametrize("damage", ["missing", "cut", "no record"])
def test_an_incomplete_delivery_is_no_delivery_and_is_made_again(shop, damage: str):
    delivery = ingest(shop.product, shop.settings)
    part = shop.settings.dataset("orders", "activity")
    match damage:
        case "missing":
            part.unlink()
        case "cut":
            os.truncate(part, 100)
        case _:
            (part.parent / "delivery.json").write_text("{}")
    with pytest.raises(NoData, match="foretable ingest orders"):
        current_delivery("orders", shop.settings)
    assert ingest(shop.product, shop.settings) == delivery == current_delivery("orders", shop.settings)


def test_what_a_killed_ingest_left_behind_is_cleared(shop):
    delivery = ingest(shop.product, shop.settings)
    left = shop.settings.data / "orders" / "deliveries" / f"{delivery.id}.tmp"
    left.mkdir()
    (left / "activity.parquet").write_text("half")
    shop.settings.dataset("orders", "activity").unlink()
    ingest(shop.product, shop.settings)
    assert deliveries(shop) == [delivery.id]


def test_ingests_at_the_same_time_wait_for_each_other(shop):
    made: list[Delivery] = []
    product, threads = shop.product, []
    for _ in range(3):
        threads.append(threading.Thread(target=lambda: made.append(ingest(product, shop.settings))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert len({delivery.id for delivery in made}) == 1


def test_no_ingest_yet_says_what_to_run(shop):
    with pytest.raises(NoData, match="Run 'foretable ingest orders'"):
        current_delivery("orders", shop.settings)


def test_a_data_folder_that_cannot_be_written_is_one_sentence(shop):
    shop.settings.data.write_text("a file is in the way")
    with pytest.raises(StoreUnavailable, match="setting 'data'"):
        ingest(shop.product, shop.settings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("customer,\n    ordered_at::DATE AS", "customr,\n    ordered_at::DATE AS", "customr"),
        ("ordered_at AS event_timestamp,", "", "a column event_timestamp of type TIMESTAMPTZ"),
        ("ordered_at AS event", "ordered_at::TIMESTAMP AS event", "found TIMESTAMP."),
        ("FROM raw.orders", "FROM orders", "raw files are raw.<name>"),
    ],
)
def test_sql_that_breaks_the_contract_names_its_file(shop, old: str, new: str, words: str):
    shop.rewrite("sql/orders.sql", old, new)
    with pytest.raises(DeclarationError, match=r"orders/sql/orders\.sql") as error:
        ingest(shop.product, shop.settings)
    assert words in str(error.value)
    assert deliveries(shop) == []


@pytest.mark.parametrize(
    ("old", "new", "row"),
    [
        ("    order_id,", "    nullif(order_id, 7) AS order_id,", ("orders", "order_id", "has no nulls", "1 row")),
        (
            "FROM raw.orders",
            "FROM (FROM raw.orders UNION ALL FROM raw.orders WHERE order_id < 3)",
            ("orders", "order_id, event_timestamp, created_timestamp", "is unique together", "4 rows"),
        ),
    ],
)
def test_a_derived_row_without_key_or_twice_is_rejected(shop, old: str, new: str, row: tuple[str, ...]):
    shop.rewrite("sql/orders.sql", old, new)
    with pytest.raises(DataRejected) as error:
        ingest(shop.product, shop.settings)
    assert error.value.report == (row,)
