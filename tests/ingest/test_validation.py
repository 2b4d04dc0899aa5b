"""A damaged file is refused with every failed check by column and row; a clean one passes, whatever it is packed in."""

import csv
import gzip
import io
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.data_checks import Finding
from batch_scoring.declare import Csv, LandedFile, Lines, PackageFile, RawFile
from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.validation.blocks import EndlessRecord, blocks
from pipelines.validation.parse import cast, parse, rows_text
from pipelines.validation.raw import as_findings, read_parts, repeated
from pipelines.validation.source import look, take, text_of

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


def check(folder: Path, delivered: bytes, raw: RawFile = RAW, schema: pa.DataFrameSchema = SCHEMA) -> list[Finding]:
    """Every finding about a file of these bytes; its parts are left in ``folder``."""
    settings = Settings(workspace=folder, landing=folder)
    (folder / raw.location.path).write_bytes(delivered)
    seen = look(raw, settings)
    (folder / "taken").mkdir(exist_ok=True)
    findings = list(take(raw, seen, folder / "taken"))
    text, about_text = text_of(raw, folder / "taken", folder)
    findings += about_text
    if all(finding.passed for finding in findings):
        parts, _, problems = read_parts(raw, text, schema, folder)
        if parts and not any(problem.check in ("format", "columns", "types", "timestamp_format") for problem in problems):
            problems += tuple(repeated(duckdb.connect(), schema, parts))
        findings += as_findings(raw, schema, problems)
    return findings


def report(folder: Path, delivered: bytes, raw: RawFile = RAW, schema: pa.DataFrameSchema = SCHEMA) -> list[tuple[str, str, str]]:
    """(column, what must hold, what was found) of every failed check."""
    return [(each.column, each.must, each.found) for each in check(folder, delivered, raw, schema) if each.rejects]


def rows_of(folder: Path, delivered: bytes, raw: RawFile = RAW, schema: pa.DataFrameSchema = SCHEMA) -> pl.DataFrame:
    """The rows of a file that passes."""
    assert all(finding.passed for finding in check(folder, delivered, raw, schema))
    return pl.read_parquet(folder / "000000.parquet")


def damaged(old: str, new: str) -> bytes:
    assert old in CLEAN
    return CLEAN.replace(old, new).encode()


def test_a_clean_file_passes_with_the_types_of_its_checks(tmp_path):
    frame = rows_of(tmp_path, CLEAN.encode())
    assert frame.rows() == [
        (1, "ann", datetime(2024, 1, 1, 10, tzinfo=UTC), 9.5, date(2024, 1, 1), None),
        (2, "bob", datetime(2024, 1, 1, 10, 30, tzinfo=UTC), None, date(2024, 1, 2), "a note"),
        (3, "ann", datetime(2024, 1, 2, 10, 0, 0, 500_000, tzinfo=UTC), 100.0, date(2024, 1, 3), "with, a comma"),
    ]
    assert frame.schema["when"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("old", "new", "column", "must", "rows"),
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
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00", "when", "is a datetime", "1 row: 1 (without an offset from UTC)"),
        ("2024-01-01T10:00:00Z", "2024-02-30T10:00:00Z", "when", "is a datetime", "1 row: 1"),
        ("2024-01-03", "03.01.2024", "day", "is a date", "1 row: 3 (reads as DD.MM.YYYY)"),
        ("id,who", "id,whom", "who", "is in the header", "missing"),
        (",note\n", ",note,more\n", "more", "is expected", "unknown column"),
        (",,20240102,a note", ",,20240102", "", "has 6 fields in every record", "1 row: 2"),
        (",,20240102,a note", ",,20240102,a note,again", "", "has 6 fields in every record", "1 row: 2"),
    ],
)
def test_each_kind_of_damage_is_reported_with_column_check_and_rows(
    tmp_path, old: str, new: str, column: str, must: str, rows: str
):
    assert (column, must, rows) in report(tmp_path, damaged(old, new))


def test_all_failures_are_reported_at_once(tmp_path):
    found = report(tmp_path, damaged("bob", "eve").replace(b"\n3,", b"\n-3,").replace(b"100,", b"1000,"))
    assert [(column, rows) for column, _, rows in found] == [("id", "1 row: 3"), ("who", "1 row: 2"), ("paid", "1 row: 3")]


def test_an_unknown_column_is_refused_and_an_extra_one_named(tmp_path):
    assert report(tmp_path, damaged("id,who", "id,whom")) == [
        ("who", "is in the header", "missing"),
        ("whom", "is expected", "unknown column"),
    ]


@pytest.mark.parametrize(
    ("delivered", "must"),
    [
        (b"", "has a header line"),
        (CLEAN.splitlines()[0].encode(), "has rows"),
        (CLEAN.encode("utf-16"), "is text in UTF-8"),
        (CLEAN.replace("a note", "caf\u00e9").encode("latin-1"), "is text in UTF-8"),
        (CLEAN.replace('comma"', "comma").encode(), "parses as CSV"),
    ],
    ids=["empty", "header only", "utf-16", "latin-1", "open quote"],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, delivered: bytes, must: str):
    assert report(tmp_path, delivered)[0][:2] == ("", must)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert rows_of(tmp_path, b"\xef\xbb\xbf" + CLEAN.encode()).height == 3


def packed(path: str) -> RawFile:
    return RawFile(name="book", location=LandedFile(path=path), format=RAW.format, checks="Book")


def zipped(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(member, CLEAN)
    return buffer.getvalue()


def test_archives_of_one_file_are_unpacked(tmp_path):
    assert rows_of(tmp_path, zipped("book.csv"), packed("book.csv.zip")).height == 3
    assert rows_of(tmp_path, gzip.compress(CLEAN.encode()), packed("book.csv.gz")).height == 3


@pytest.mark.parametrize(
    ("path", "delivered"),
    [
        ("book.zip", zipped("a.csv", "b.csv")),
        ("book.zip", zipped("a.csv")[:-30]),
        ("book.zip", CLEAN.encode()),
        ("book.gz", gzip.compress(CLEAN.encode())[:-9]),
        ("book.gz", CLEAN.encode()),
    ],
    ids=["two files", "cut zip", "no zip", "cut gz", "no gz"],
)
def test_a_broken_archive_is_refused(tmp_path, path: str, delivered: bytes):
    assert [row[1] for row in report(tmp_path, delivered, packed(path))] == ["is a whole archive of one file"]


LINES = RawFile(
    name="book",
    location=LandedFile(path="book.txt"),
    format=Lines(pattern=r"^\s*(?P<id>\d+)\s+(?P<day>\d{8})$", skip=1),
    checks="Book",
)
LINES_SCHEMA = pa.DataFrameSchema({"id": pa.Column(int), "day": pa.Column(pl.Date)})


def test_lines_are_taken_apart_and_those_that_do_not_match_are_reported(tmp_path):
    text = " id day\n 00001 19970101\n 00002 19970112\n"
    assert rows_of(tmp_path, text.encode(), LINES, LINES_SCHEMA).rows() == [(1, date(1997, 1, 1)), (2, date(1997, 1, 12))]
    assert report(tmp_path, (text + "3\n 4 19970230\n").encode(), LINES, LINES_SCHEMA) == [
        ("", "matches Lines.pattern", "1 row: 3")
    ]
    assert report(tmp_path, (text + " 4 19970230\n").encode(), LINES, LINES_SCHEMA) == [("day", "is a date", "1 row: 3")]


def test_a_pattern_that_is_no_regular_expression_is_a_mistake_of_the_declaration():
    with pytest.raises(DeclarationError, match=r"Lines\.pattern"):
        parse(b"x\n", Lines(pattern="(?P<a>(x)"))


def test_a_file_or_package_that_is_not_there_is_refused(shop):
    shop.book.unlink()
    found = look(shop.product.table.sources[0], shop.settings)
    assert (found.check, found.found, found.rejects) == ("exists", "none", True)
    missing = RawFile(name="x", location=PackageFile(package="no_such_package", path="x.csv"), format=Csv(), checks="X")
    assert "no_such_package" in look(missing, shop.settings).must


def test_a_package_file_is_read_without_importing_the_package(shop: object, tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "boobytrap").mkdir()
    (tmp_path / "boobytrap" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "boobytrap" / "x.csv").write_text("a\n1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    raw = RawFile(name="x", location=PackageFile(package="boobytrap", path="x.csv"), format=Csv(), checks="X")
    assert look(raw, Settings(workspace=tmp_path)).bytes == 4


@given(
    st.lists(st.lists(st.text('ab",\né ', max_size=6), min_size=2, max_size=2), max_size=12),
    st.integers(1, 60),
    st.booleans(),
)
def test_a_file_read_in_blocks_of_any_size_has_the_same_records(tmp_path_factory, records, size: int, ends: bool):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["x", "y"], *records])
    text = buffer.getvalue().encode() if ends else buffer.getvalue().encode().removesuffix(b"\n")
    path = tmp_path_factory.mktemp("blocks") / "x.csv"
    path.write_bytes(text)
    try:
        found = [list(csv.reader(io.StringIO(block.decode(), newline=""))) for block, _ in blocks(path, Csv(), size)]
    except EndlessRecord:
        longest = max(
            len(",".join(f'"{field}"' for field in record).replace('"', '""').encode()) for record in [["x", "y"], *records]
        )
        assert longest > size / 4
        return
    assert [record for block in found for record in block[1:]] == records
    assert all(block[0] == ["x", "y"] for block in found)


def test_rows_are_counted_all_and_shown_a_few():
    assert rows_text(1, [0]) == "1 row: 1"
    assert rows_text(1203, list(range(5))) == "1,203 rows: 1, 2, 3, 4, 5, …"


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1).map(str), st.text(max_size=5)), min_size=1))
def test_a_whole_number_is_read_exactly_or_not_at_all(values: list[str | None]):
    for text, number in zip(values, cast(pl.Series(values, dtype=pl.String), pl.Int64()), strict=True):
        if number is not None:
            assert int(text or "") == number
        else:
            assert text is None or not (text.isascii() and text.removeprefix("-").isdigit() and -(2**63) <= int(text) < 2**63)
