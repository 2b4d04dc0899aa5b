"""A damaged file is refused with every failed check by column and row; a clean one passes, whatever it is packed in."""

import gzip
import io
import zipfile
from datetime import UTC, date, datetime

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.declare import Csv, LandedFile, Lines, PackageFile, RawFile
from batch_scoring.errors import DataRejected, DeclarationError
from batch_scoring.settings import Settings
from pipelines.validation import read_raw
from pipelines.validation.parse import cast, parse, rows_text
from pipelines.validation.source import read_bytes

SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column(int, pa.Check.ge(1), unique=True),
        "who": pa.Column(str, pa.Check.isin(["ann", "bob"])),
        "when": pa.Column(pl.Datetime("us", "UTC")),
        "paid": pa.Column(float, pa.Check.in_range(0, 100), nullable=True),
        "day": pa.Column(pl.Date),
        "note": pa.Column(str, pa.Check.str_matches("^[a-z, ]*$"), nullable=True),
    },
    strict=True,
)
CLEAN = """id,who,when,paid,day,note
1,ann,2024-01-01T10:00:00Z,9.5,2024-01-01,
2,bob,2024-01-01T12:30:00+02:00,,20240102,a note
3,ann,2024-01-02 10:00:00.5Z,100,2024-01-03,"with, a comma"
"""
RAW = RawFile(name="book", location=LandedFile(path="book.csv"), format=Csv(nulls=("", "NA")), checks="Book")


def report(delivered: bytes, raw: RawFile = RAW, schema: pa.DataFrameSchema = SCHEMA) -> list[tuple[str, str, str]]:
    """(column, check, rows) of every failed check."""
    with pytest.raises(DataRejected) as error:
        read_raw(raw, delivered, schema)
    assert "\n" not in str(error.value)
    assert all(row[0] == raw.location.path for row in error.value.report)
    return [row[1:] for row in error.value.report]


def damaged(old: str, new: str) -> bytes:
    assert old in CLEAN
    return CLEAN.replace(old, new).encode()


def test_a_clean_file_passes_with_the_types_of_its_checks():
    frame = read_raw(RAW, CLEAN.encode(), SCHEMA).frame
    assert frame.rows() == [
        (1, "ann", datetime(2024, 1, 1, 10, tzinfo=UTC), 9.5, date(2024, 1, 1), None),
        (2, "bob", datetime(2024, 1, 1, 10, 30, tzinfo=UTC), None, date(2024, 1, 2), "a note"),
        (3, "ann", datetime(2024, 1, 2, 10, 0, 0, 500_000, tzinfo=UTC), 100.0, date(2024, 1, 3), "with, a comma"),
    ]
    assert frame.schema["when"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("old", "new", "column", "check", "rows"),
    [
        ("\n3,ann", "\n2,ann", "id", "is unique", "2 rows: 2, 3"),
        ("1,ann,2024", "0,ann,2024", "id", "is at least 1", "1 row: 1"),
        ("bob", "eve", "who", "is one of ['ann', 'bob']", "1 row: 2"),
        ("bob", "NA", "who", "has no nulls", "1 row: 2"),
        (",100,", ",100.5,", "paid", "is in the range 0, 100", "1 row: 3"),
        ("a note", "A NOTE", "note", "matches '^[a-z, ]*$'", "1 row: 2"),
        ("9.5", "nine", "paid", "is a finite number", "1 row: 1"),
        ("9.5", "nan", "paid", "is a finite number", "1 row: 1"),
        ("9.5", "inf", "paid", "is a finite number", "1 row: 1"),
        ("2,bob", "2.0,bob", "id", "is a whole number", "1 row: 2"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00", "when", "is a datetime", "1 row: 1"),
        ("2024-01-01T10:00:00Z", "2024-02-30T10:00:00Z", "when", "is a datetime", "1 row: 1"),
        ("2024-01-03", "03.01.2024", "day", "is a date", "1 row: 3"),
        ("id,who", "id,whom", "who", "is in the header", "missing"),
        (",note\n", ",note,more\n", "", "has 7 fields in every record", "3 rows: 1, 2, 3"),
        (",,20240102,a note", ",,20240102", "", "has 6 fields in every record", "1 row: 2"),
        (",,20240102,a note", ",,20240102,a note,again", "", "has 6 fields in every record", "1 row: 2"),
    ],
)
def test_each_kind_of_damage_is_reported_with_column_check_and_rows(old: str, new: str, column: str, check: str, rows: str):
    assert (column, check, rows) in report(damaged(old, new))


def test_all_failures_are_reported_at_once():
    found = report(damaged("bob", "eve").replace(b"\n3,", b"\n-3,").replace(b"100,", b"1000,"))
    assert [(column, rows) for column, _, rows in found] == [("id", "1 row: 3"), ("who", "1 row: 2"), ("paid", "1 row: 3")]


def test_an_unknown_column_is_refused_and_an_extra_one_named():
    assert report(damaged("id,who", "id,whom")) == [
        ("who", "is in the header", "missing"),
        ("whom", "is expected", "unknown column"),
    ]


@pytest.mark.parametrize(
    ("delivered", "check"),
    [
        (b"", "has a header line"),
        (CLEAN.splitlines()[0].encode(), "has rows"),
        (CLEAN.encode("utf-16"), "UTF-8"),
        (CLEAN.replace("a note", "caf\u00e9").encode("latin-1"), "UTF-8"),
        (CLEAN.replace('comma"', "comma").encode(), "parses as CSV"),
    ],
    ids=["empty", "header only", "utf-16", "latin-1", "open quote"],
)
def test_a_file_that_is_no_table_is_refused(delivered: bytes, check: str):
    assert report(delivered)[0][:2] == ("", check)


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert read_raw(RAW, b"\xef\xbb\xbf" + CLEAN.encode(), SCHEMA).frame.height == 3


def packed(path: str) -> RawFile:
    return RawFile(name="book", location=LandedFile(path=path), format=RAW.format, checks="Book")


def zipped(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(member, CLEAN)
    return buffer.getvalue()


def test_archives_of_one_file_are_unpacked():
    assert read_raw(packed("book.csv.zip"), zipped("book.csv"), SCHEMA).frame.height == 3
    assert read_raw(packed("book.csv.gz"), gzip.compress(CLEAN.encode()), SCHEMA).frame.height == 3


@pytest.mark.parametrize(
    ("path", "delivered", "check"),
    [
        ("book.zip", zipped("a.csv", "b.csv"), "one file inside"),
        ("book.zip", zipped("a.csv")[:-30], "whole archive"),
        ("book.zip", CLEAN.encode(), "whole archive"),
        ("book.gz", gzip.compress(CLEAN.encode())[:-9], "whole archive"),
        ("book.gz", CLEAN.encode(), "whole archive"),
    ],
    ids=["two files", "cut zip", "no zip", "cut gz", "no gz"],
)
def test_a_broken_archive_is_refused(path: str, delivered: bytes, check: str):
    assert report(delivered, packed(path))[0][1] == check


LINES = RawFile(
    name="book",
    location=LandedFile(path="book.txt"),
    format=Lines(pattern=r"^\s*(?P<id>\d+)\s+(?P<day>\d{8})$", skip=1),
    checks="Book",
)
LINES_SCHEMA = pa.DataFrameSchema({"id": pa.Column(int), "day": pa.Column(pl.Date)})


def test_lines_are_taken_apart_and_those_that_do_not_match_are_reported():
    text = " id day\n 00001 19970101\n 00002 19970112\n"
    assert read_raw(LINES, text.encode(), LINES_SCHEMA).frame.rows() == [(1, date(1997, 1, 1)), (2, date(1997, 1, 12))]
    assert report((text + "3\n 4 19970230\n").encode(), LINES, LINES_SCHEMA) == [("", "matches Lines.pattern", "1 row: 3")]
    assert report((text + " 4 19970230\n").encode(), LINES, LINES_SCHEMA) == [("day", "is a date", "1 row: 3")]


def test_a_pattern_that_is_no_regular_expression_is_a_mistake_of_the_declaration():
    with pytest.raises(DeclarationError, match=r"Lines\.pattern"):
        parse(b"x\n", Lines(pattern="(?P<a>(x)"))


def test_a_file_or_package_that_is_not_there_is_refused(shop):
    shop.book.unlink()
    with pytest.raises(DataRejected, match=r"orders\.csv") as error:
        read_bytes(shop.product.table.sources[0], shop.settings)
    assert error.value.report == (("orders.csv", "", "exists", "none"),)
    missing = RawFile(name="x", location=PackageFile(package="no_such_package", path="x.csv"), format=Csv(), checks="X")
    with pytest.raises(DataRejected, match="no_such_package"):
        read_bytes(missing, shop.settings)


def test_a_package_file_is_read_without_importing_the_package(shop: object, tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "boobytrap").mkdir()
    (tmp_path / "boobytrap" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "boobytrap" / "x.csv").write_text("a\n1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    raw = RawFile(name="x", location=PackageFile(package="boobytrap", path="x.csv"), format=Csv(), checks="X")
    assert read_bytes(raw, Settings(workspace=tmp_path)) == b"a\n1\n"


def test_rows_are_counted_all_and_shown_a_few():
    assert rows_text([0]) == "1 row: 1"
    assert rows_text(list(range(1203))) == "1,203 rows: 1, 2, 3, 4, 5, …"


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1).map(str), st.text(max_size=5)), min_size=1))
def test_a_whole_number_is_read_exactly_or_not_at_all(values: list[str | None]):
    for text, number in zip(values, cast(pl.Series(values, dtype=pl.String), pl.Int64()), strict=True):
        if number is not None:
            assert int(text or "") == number
        else:
            assert text is None or not (text.isascii() and text.removeprefix("-").isdigit() and -(2**63) <= int(text) < 2**63)
