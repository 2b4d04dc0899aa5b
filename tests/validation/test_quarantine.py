"""A refused delivery is put aside whole, with its report; a bad day for a check is no bad day for what is in use."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from batch_scoring.codec import from_json
from batch_scoring.data_checks import DataReport
from batch_scoring.errors import DataRejected
from batch_scoring.settings import Settings
from pipelines.cli import app
from pipelines.delivery import current_delivery
from pipelines.ingest import ingest
from pipelines.repository import load_repository
from pipelines.validation.delivered import check_delivery
from pipelines.validation.report import quarantine, report_of, reports, reports_behind
from pipelines.validation.source import look

REPOSITORY = Path(__file__).parents[2] / "feature_repo"


def damage(shop) -> bytes:
    bad = shop.book.read_bytes().replace(b",web", b",telepathy", 3)
    shop.book.write_bytes(bad)
    return bad


def test_a_refused_delivery_is_kept_whole_with_its_report_and_the_error_says_where(shop):
    good = ingest(shop.product, shop.settings)
    bad = damage(shop)
    with pytest.raises(DataRejected, match="last good delivery stays in use") as error:
        ingest(shop.product, shop.settings)
    report = shop.report()
    kept = shop.settings.data / "orders" / "quarantine" / report.delivery
    assert str(kept) in str(error.value)
    assert (kept / "files" / "orders.csv").read_bytes() == bad
    assert from_json((kept / "report.json").read_bytes(), DataReport) == report
    assert not report.accepted
    assert report.delivery != good.id
    assert current_delivery("orders", shop.settings) == good
    assert sorted(path.name for path in (shop.settings.data / "orders").iterdir()) == sorted(
        [".lock", "current", "deliveries", "quarantine", "reports"]
    )


def test_what_was_promised_beside_a_file_is_part_of_refusing_it(shop):
    shop.book.with_name("orders.csv.sha256").write_text("0" * 64)
    with pytest.raises(DataRejected, match=r"orders\.csv\.sha256"):
        ingest(shop.product, shop.settings)


def test_the_same_file_refused_again_is_one_report_and_a_mended_one_is_accepted(shop):
    good = shop.book.read_bytes()
    damage(shop)
    for _ in range(3):
        with pytest.raises(DataRejected):
            ingest(shop.product, shop.settings)
    assert len(list(reports("orders", shop.settings))) == 1
    shop.book.write_bytes(good)
    delivery = ingest(shop.product, shop.settings)
    assert [each.report.accepted for each in reports("orders", shop.settings)] == [True, False]
    assert report_of("orders", delivery.id, shop.settings).report.accepted


def test_a_source_named_report_is_kept_beside_the_report(shop, tmp_path: Path):
    (tmp_path / "incoming" / "taken").mkdir(parents=True)
    (tmp_path / "incoming" / "taken" / "report.json").write_text("theirs")
    report = DataReport(delivery="0123456789ab", checked_at=datetime(2024, 1, 1, tzinfo=UTC), accepted=False, findings=())
    kept = quarantine("orders", report, tmp_path / "incoming" / "taken", shop.settings)
    assert (kept / "files" / "report.json").read_text() == "theirs"
    assert from_json((kept / "report.json").read_bytes(), DataReport) == report


def test_only_the_newest_refused_deliveries_are_kept(shop):
    for at in range(7):
        with shop.book.open("a") as book:
            book.write(f"{at},C0001,2024-05-01T10:00:00Z,1.00,telepathy\n")
        with pytest.raises(DataRejected):
            ingest(shop.product, shop.settings)
    assert len(list((shop.settings.data / "orders" / "quarantine").iterdir())) == 5


def test_a_missing_file_is_refused_and_reported_like_any_other(shop):
    good = ingest(shop.product, shop.settings)
    shop.book.unlink()
    with pytest.raises(DataRejected, match=r"orders\.csv"):
        ingest(shop.product, shop.settings)
    assert current_delivery("orders", shop.settings) == good


def test_a_delivery_is_judged_as_of_when_its_newest_file_was_written_or_as_asked(shop):
    os.utime(shop.book, (1_720_000_000, 1_720_000_000))
    ingest(shop.product, shop.settings)
    assert shop.report().checked_at == datetime.fromtimestamp(1_720_000_000, UTC)
    assert all(finding.passed for finding in shop.report().findings)
    with shop.book.open("a") as book:
        book.write("9999,C0001,2024-05-01T10:00:00Z,1.00,web\n")
    ingest(shop.product, shop.settings, at=datetime(2024, 2, 1, tzinfo=UTC))
    assert [finding.check for finding in shop.report().findings if not finding.passed] == ["future_dates"]


def test_a_damaged_report_is_passed_over(shop):
    ingest(shop.product, shop.settings)
    (shop.settings.data / "orders" / "reports" / "000009-0123456789ab.json").write_text("{")
    assert len(list(reports("orders", shop.settings))) == 1


def test_a_version_carries_the_report_of_its_delivery_and_the_refusals_since(shop):
    good = ingest(shop.product, shop.settings)
    damage(shop)
    with pytest.raises(DataRejected):
        ingest(shop.product, shop.settings)
    refused, accepted = reports_behind("orders", good.id, shop.settings)
    assert (refused.accepted, accepted.accepted) == (False, True)
    assert [finding.check for finding in refused.findings] == ["declared"]
    places = [(finding.source, finding.check) for finding in accepted.findings]
    assert len(places) == len(set(places)) > 10


def test_the_analysts_find_the_checks_behind_every_version(orders):
    asked = orders.command(
        "sql", "SELECT version, count(*) AS n, bool_and(passed) AS p FROM meta.data_checks GROUP BY 1", "--json"
    )
    answer = json.loads(asked.stdout)
    assert [row["version"] for row in sorted(answer, key=lambda row: row["version"])] == [1, 2, 3]
    assert all(row["n"] > 10 and row["p"] for row in answer)


def test_the_command_shows_the_newest_deliveries_and_what_failed(shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORETABLE_WORKSPACE", str(shop.settings.workspace))
    run = CliRunner().invoke
    assert "foretable ingest orders" in run(app, ["deliveries", "orders"]).output
    ingest(shop.product, shop.settings)
    damage(shop)
    with pytest.raises(DataRejected):
        ingest(shop.product, shop.settings)
    first, *rest = run(app, ["deliveries", "orders"]).output.splitlines()
    assert "refused, in quarantine" in first
    assert "is one of ['web', 'store']" in "".join(rest)
    assert sum("accepted" in line for line in rest) == 1
    assert "duplicate_keys" in run(app, ["deliveries", "orders", "--all"]).output
    shown = json.loads(run(app, ["deliveries", "orders", "--last", "1", "--json"]).output)
    assert [each["accepted"] for each in shown] == [False]


@pytest.mark.parametrize("table", ["flights", "customers"])
def test_the_defaults_are_silent_for_the_examples_as_they_are(tmp_path, table: str):
    product = load_repository(REPOSITORY).product(table)
    settings = Settings(workspace=tmp_path)
    seen = {raw.name: look(raw, settings) for raw in product.table.sources}
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        checked = check_delivery(product, con, seen, tmp_path, (), datetime(2024, 1, 1, tzinfo=UTC), lambda _: None)
    assert [finding.sentence for finding in checked.findings if not finding.passed] == []
    assert {finding.source for finding in checked.findings} == set(seen)
    assert len(checked.files) == len(seen)
