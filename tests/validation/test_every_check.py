"""Every check of incoming data has a damaged file that trips it and a clean one that does not. The data is real."""

import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from batch_scoring.data_checks import CHECKS, Finding
from batch_scoring.declare import Csv, LandedFile, RawFile
from batch_scoring.errors import DataRejected
from pipelines.ingest import ingest
from pipelines.validation import CheckedFile
from pipelines.validation.dates import share_after, share_ancient
from pipelines.validation.profile import measure
from pipelines.validation.source import _unpack, take

Damage = Callable[[bytes], bytes]
Row = dict[str, str]


def rows(change: Callable[[int, Row], None]) -> Damage:
    """Damage done record by record, fields by name."""

    def damage(text: bytes) -> bytes:
        head, *records = text.decode().splitlines()
        names, out = head.split(","), [head]
        for at, record in enumerate(records):
            row = dict(zip(names, record.split(","), strict=True))
            change(at, row)
            out.append(",".join(row.values()))
        return ("\n".join(out) + "\n").encode()

    return damage


def every(step: int, **values: str) -> Damage:
    """Every so-manieth record gets other values."""
    return rows(lambda at, row: row.update(values) if at % step == 0 else None)


def plus(name: str, more: int) -> Damage:
    return rows(lambda _, row: row.update({name: str(int(row[name]) + more)}) if row[name] != "NA" else None)


def swapped(_: int, row: Row) -> None:
    year, month, rest = row["time_hour"].split("-", 2)
    if int(rest[:2]) <= 12:
        row["time_hour"] = f"{year}-{rest[:2]}-{month}{rest[2:]}"


def as_target(_: int, row: Row) -> None:
    if row["arr_delay"] != "NA":
        row["distance"] = str(1000 + int(row["arr_delay"]))


def merged(_: int, row: Row) -> None:
    if row["carrier"] == "B6":
        row.update(carrier="DL", flight=str(int(row["flight"]) + 5000))


def unrelated(at: int, row: Row) -> None:
    if row["dep_delay"] != "NA":
        row["dep_delay"] = str(at * 37 % 101)


def cut(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 5])


# Damage by check; several where there are several ways.
FLIGHTS: dict[str, list[Damage]] = {
    "encoding": [lambda text: text.replace(b",JFK,", b",J\xe9K,", 1), lambda text: text.decode().encode("utf-16")],
    "format": [
        lambda text: text.replace(b",", b";"),
        lambda text: text + b"2013,3,31\n",
        lambda text: text.replace(b"JFK", b'"JFK', 1),
        lambda _: b"",
    ],
    "columns": [
        lambda text: text.replace(b"tailnum", b"tail", 1),
        lambda text: text.replace(b"dep_delay", b"arr_delay", 1),
        lambda text: rows(lambda _, row: row.pop("hour"))(text).replace(b",hour,", b",", 1),
    ],
    "has_rows": [lambda text: text.splitlines(keepends=True)[0]],
    "types": [every(1000, distance="far"), every(1000, distance="94.5")],
    "timestamp_format": [every(100, time_hour="15.01.2013 06:00"), every(100, time_hour="2013-01-15T06:00:00")],
    "declared": [every(1000, origin="XXX"), every(1000, dest="NA"), every(1000, dep_time="2561")],
    "duplicate_keys": [lambda text: text + text.splitlines(keepends=True)[-1]],
    "size": [cut, rows(lambda _, row: row.update(tailnum=row["tailnum"] * 40))],
    "row_count": [cut],
    "null_share": [every(1, dep_delay="NA")],
    "null_jump": [every(3, tailnum="NA")],
    "range": [every(5000, distance="9999")],
    "median": [plus("air_time", 200)],
    "quantiles": [every(6, distance="9000")],
    "unseen_categories": [rows(lambda at, row: row.update(carrier="ZZ", flight=str(at + 1)) if at % 20 == 0 else None)],
    "vanished_categories": [rows(merged)],
    "category_shares": [rows(merged)],
    "future_dates": [every(50, time_hour="2031-01-15T06:00:00Z")],
    "ancient_dates": [every(50, time_hour="1890-01-15T06:00:00Z"), every(50, time_hour="1970-01-01T00:00:00Z")],
    "swapped_dates": [rows(swapped)],
    "chi_square": [rows(merged)],
    "anova": [plus("air_time", 200)],
    "target_leak": [rows(as_target)],
    "target_drift": [rows(unrelated)],
}
PURCHASES: dict[str, list[Damage]] = {
    "encoding": [lambda text: text.replace(b" 1997", b"\xa01997", 1)],
    "format": [lambda text: text.replace(b".", b",", 1), lambda text: text[:-5]],
    "has_rows": [lambda text: text.splitlines(keepends=True)[0]],
    "timestamp_format": [lambda text: text.replace(b" 19970101 ", b" 19970230 ", 1)],
    "declared": [lambda text: text.replace(b" 19970101  1 ", b" 19970101  0 ", 1)],
    "row_count": [cut],
    "size": [cut],
    "range": [lambda text: text + b" 23570 19980630  1  90000.00\r\n"],
    "median": [lambda text: text.replace(b".", b"0.")],
    "quantiles": [lambda text: text.replace(b".", b"0.")],
    "future_dates": [lambda text: text.replace(b" 1998", b" 2098")],
    "ancient_dates": [lambda text: text.replace(b" 1998", b" 1898")],
}
BY_FILE = ("exists", "readable", "stable", "checksum", "archive", "dataset_keys")


def cases(table: dict[str, list[Damage]]) -> list[object]:
    return [pytest.param(check, damage, id=f"{check}-{at}") for check, ways in table.items() for at, damage in enumerate(ways)]


def tripped(findings: tuple[Finding, ...], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check and not finding.passed]


def test_every_check_is_damaged_here():
    assert set(FLIGHTS) | set(BY_FILE) == set(CHECKS)
    assert set(PURCHASES) <= set(CHECKS)


@pytest.mark.parametrize(("check", "damage"), cases(FLIGHTS))
def test_a_damaged_file_of_flights_trips_its_check(flights, tmp_path, check: str, damage: Damage):
    damaged = damage(flights.clean)
    assert damaged != flights.clean
    found = tripped(flights.at(tmp_path).deliver(damaged), check)
    assert found, check
    assert all(finding.found and finding.must and "{" not in finding.sentence for finding in found)


@pytest.mark.parametrize(("check", "damage"), cases(PURCHASES))
def test_a_damaged_file_of_purchases_trips_its_check(purchases, tmp_path, check: str, damage: Damage):
    damaged = damage(purchases.clean)
    assert damaged != purchases.clean
    assert tripped(purchases.at(tmp_path).deliver(damaged), check)


def test_a_clean_file_of_flights_trips_nothing_though_every_check_is_made(flights, tmp_path):
    findings = flights.at(tmp_path).deliver(flights.clean)
    assert [finding.sentence for finding in findings if not finding.passed] == []
    assert {finding.check for finding in findings} >= set(FLIGHTS)


def test_a_clean_file_of_purchases_trips_nothing_though_every_check_is_made(purchases, tmp_path):
    findings = purchases.at(tmp_path).deliver(purchases.clean)
    assert [finding.sentence for finding in findings if not finding.passed] == []
    assert {finding.check for finding in findings} >= set(PURCHASES)


def test_no_finding_and_no_profile_names_a_value_of_a_key(flights, tmp_path):
    """Findings are kept in manifests and catalogs, which an erasure does not rewrite for them."""
    damages = (*FLIGHTS["unseen_categories"], *FLIGHTS["vanished_categories"], every(7, flight="98765"))
    for at, damage in enumerate(damages):
        here = flights.at(tmp_path / str(at))
        here.deliver(damage(flights.clean))
        checked = here.check(here.look())
        said = " ".join(finding.sentence for finding in checked.findings)
        assert not re.search(r"'(ZZ|B6|DL|UA)'|98765", said)
        assert not re.search(r"'(ZZ|B6|DL|UA)'|98765", repr(checked.profiles))
    unseen = tripped(flights.at(tmp_path / "0").deliver(damages[0](flights.clean)), "unseen_categories")
    assert [finding.column for finding in unseen] == ["carrier"]
    assert unseen[0].found.startswith("1 key value in ")


def test_a_file_that_is_missing_or_cannot_be_read_is_named(flights, tmp_path):
    here = flights.at(tmp_path)
    assert [finding.check for finding in here.check(here.look()).findings] == ["exists"]
    here.file.mkdir(parents=True)
    assert [finding.check for finding in here.check(here.look()).findings] == ["readable"]


def test_a_file_that_changes_while_it_is_read_is_refused(flights, tmp_path):
    here = flights.at(tmp_path)
    assert not tripped(here.deliver(flights.clean), "stable")
    seen = here.look()
    here.file.write_bytes(flights.clean.replace(b"JFK", b"LGA", 1))
    assert tripped(here.check(seen).findings, "stable")


def test_a_checksum_beside_the_file_is_held_against_it(flights, tmp_path):
    here = flights.at(tmp_path)
    promise = Path(f"{here.file}.sha256")
    here.file.parent.mkdir(parents=True)
    promise.write_text(f"{hashlib.sha256(flights.clean).hexdigest()}  flights.csv\n")
    clean = here.deliver(flights.clean)
    assert "checksum" in {finding.check for finding in clean}
    assert not tripped(clean, "checksum")
    assert tripped(here.deliver(flights.clean[:-1]), "checksum")
    promise.write_text("soon")
    assert "no 64 hexadecimal digits" in tripped(here.deliver(flights.clean), "checksum")[0].found


def test_an_archive_that_is_cut_short_or_damaged_inside_is_refused(flights, tmp_path):
    here = flights.at(tmp_path, "flights.csv.zip")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", flights.clean)
    whole = packed.getvalue()
    clean = here.deliver(whole)
    assert "archive" in {finding.check for finding in clean}
    assert not tripped(clean, "archive")
    assert tripped(here.deliver(whole[:-100]), "archive")
    middle = len(whole) // 2
    assert tripped(here.deliver(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]), "archive")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_whatever_byte_of_an_archive_is_damaged_it_is_a_finding(flights, tmp_path, method: int):
    text = flights.clean[:3000]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("flights.csv", text)
    whole, (folder, target) = packed.getvalue(), (tmp_path / "flights.csv.zip", tmp_path / "text")
    for at in range(len(whole)):
        folder.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert _unpack(folder, target) or target.read_bytes() == text  # a byte that stands for nothing, such as its date


def test_an_archive_that_unpacks_to_far_more_than_a_table_is_refused(flights, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.validation.source._ALWAYS", 1 << 20)
    here = flights.at(tmp_path, "flights.csv.gz")
    found = tripped(here.deliver(gzip.compress(b"0" * (8 << 20))), "archive")
    assert found[0].found.startswith("more than ")


def test_a_full_disk_of_ours_is_not_blamed_on_the_producer(flights, tmp_path):
    here = flights.at(tmp_path)
    here.file.parent.mkdir(parents=True, exist_ok=True)
    here.file.write_bytes(flights.clean)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "flights.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        list(take(here.raw, here.look(), tmp_path / "taken"))


def test_a_day_beyond_the_calendar_is_ancient_or_future(tmp_path):
    with duckdb.connect() as con:
        days = "DATE '2024-05-01', DATE '2024-05-02', DATE '0001-01-01 (BC)', DATE '12024-01-01'"
        con.execute(f"COPY (SELECT unnest([{days}]) AS day) TO '{tmp_path}/days.parquet' (FORMAT parquet)")
        raw = RawFile(name="days", location=LandedFile(path="days.csv"), format=Csv(), checks="Days")
        checked = CheckedFile(raw=raw, parts=(tmp_path / "days.parquet",), rows=4, bytes=1, sha256="")
        dates = measure(con, checked, "").dates["day"]
    assert dates.rows == 4
    assert (share_ancient(dates), share_after(dates, datetime(2024, 5, 2, tzinfo=UTC))) == (0.25, 0.25)


@pytest.mark.parametrize("moment", ["0001-01-01 (BC) 00:00:00+00", "12024-01-01 00:00:00+00", "infinity"])
def test_an_event_time_beyond_the_calendar_is_refused(shop, moment: str):
    sql = shop.settings.repo / "orders" / "sql" / "orders.sql"
    sql.write_text(f"SELECT * REPLACE (TIMESTAMPTZ '{moment}' AS event_timestamp) FROM ({sql.read_text()})")
    with pytest.raises(DataRejected, match="event_timestamp that lies in the years 1 to 9999"):
        ingest(shop.product, shop.settings)


def test_a_dataset_that_repeats_a_key_is_refused(shop):
    delivery = ingest(shop.product, shop.settings)
    assert not tripped(shop.report(delivery.id).findings, "dataset_keys")
    shop.rewrite("sql/orders.sql", "FROM raw.orders", "FROM (FROM raw.orders UNION ALL FROM raw.orders WHERE order_id < 3)")
    with pytest.raises(DataRejected):
        ingest(shop.product, shop.settings)
    assert tripped(shop.report().findings, "dataset_keys")


def test_the_position_of_a_byte_that_is_no_utf8_is_told(flights, tmp_path):
    damaged = flights.clean.replace(b",JFK,", b",J\xe9K,", 1)
    found = tripped(flights.at(tmp_path).deliver(damaged), "encoding")[0].found
    assert found == f"byte 0xe9 at offset {damaged.index(0xE9):,}, in line 2"


def test_all_findings_are_reported_and_not_only_the_first(flights, tmp_path):
    damaged = every(1000, origin="XXX")(every(3, tailnum="NA")(rows(swapped)(flights.clean)))
    failed = {finding.check for finding in flights.at(tmp_path).deliver(damaged) if not finding.passed}
    assert failed >= {"declared", "null_jump", "swapped_dates"}
