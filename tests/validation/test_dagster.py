"""A delivery in Dagster: a check per kind of check, with what was observed and its limit."""

import dagster as dg
import pytest

from batch_scoring.data_checks import CHECKS
from pipelines.defs import build_definitions
from pipelines.validation.report import reports

DELIVERY = dg.AssetKey(["orders", "delivery"])


def deliver(shop, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, dict[str, dg.AssetCheckEvaluation]]:
    monkeypatch.setenv("FORETABLE_WORKSPACE", str(shop.settings.workspace))
    definitions = build_definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(asset_selection=[DELIVERY], instance=instance, raise_on_error=False)
    return result.success, {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_every_kind_of_check_is_an_asset_check(shop, monkeypatch: pytest.MonkeyPatch):
    success, checks = deliver(shop, monkeypatch)
    assert success
    assert set(checks) == {"raw_files", *CHECKS}
    assert all(check.passed for check in checks.values())
    assert checks["null_share"].metadata["limit"].value == 0.999
    again, same = deliver(shop, monkeypatch)  # nothing new to ingest, and the report is shown all the same
    assert again
    assert same["null_share"].metadata == checks["null_share"].metadata
    assert len(list(reports("orders", shop.settings))) == 1


def test_a_warning_is_shown_and_lets_the_delivery_pass(shop, monkeypatch: pytest.MonkeyPatch):
    with shop.book.open("a") as book:
        book.write("9999,C0001,2099-05-01T10:00:00Z,1.00,web\n")
    success, checks = deliver(shop, monkeypatch)
    assert success
    assert checks["raw_files"].passed
    assert not checks["future_dates"].passed
    assert checks["future_dates"].severity == dg.AssetCheckSeverity.WARN
    assert checks["future_dates"].metadata["observed"].value > 0
    assert checks["future_dates"].metadata["limit"].value == 0
    assert "ordered_at" in str(checks["future_dates"].metadata["findings"].value)


def test_an_error_fails_the_asset_and_every_other_finding_is_shown_too(shop, monkeypatch: pytest.MonkeyPatch):
    with shop.book.open("a") as book:
        book.write("9999,C0001,2099-05-01T10:00:00Z,1.00,telepathy\n")
    success, checks = deliver(shop, monkeypatch)
    assert not success
    assert not checks["raw_files"].passed
    assert "quarantine" in (checks["raw_files"].description or "")
    assert (checks["declared"].passed, checks["declared"].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert not checks["future_dates"].passed
    assert checks["types"].passed
