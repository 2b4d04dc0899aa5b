"""`foretable check`: declarations, SQL, checks and Feast objects against each other, without any data."""

import sys
from pathlib import Path

import pytest

from batch_scoring.settings import load_settings
from pipelines.init import initialise
from pipelines.repository import check_repository, load_repository


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    initialise(tmp_path)
    return tmp_path


def rewrite(workspace: Path, file: str, *changes: tuple[str, str]) -> None:
    path = workspace / "feature_repo" / "orders" / file
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def problems(workspace: Path) -> str:
    settings = load_settings(workspace)
    return "\n".join(check_repository(load_repository(settings.repo), settings))


def test_what_init_writes_fits_together_and_checking_leaves_no_trace(workspace: Path):
    before = sorted(workspace.rglob("*")), Path.cwd(), list(sys.path)
    assert problems(workspace) == ""
    assert (sorted(workspace.rglob("*")), Path.cwd(), list(sys.path)) == before
    assert "orders.features" not in sys.modules


def test_the_shipped_products_fit_together():
    assert problems(Path(__file__).parents[2]) == ""


def test_every_misfit_between_table_and_features_is_named(workspace: Path):
    rewrite(
        workspace,
        "features.py",
        (', dtype=Int64, description="orders, last 7 days"', ", dtype=String"),
        ('name="web_share"', 'name="wed_share"'),
        ("ValueType.STRING", "ValueType.INT64"),
        ('Field(name="customer", dtype=String)', 'Field(name="customer", dtype=Int64)'),
        ('        created_timestamp_column="created_timestamp",\n', ""),
    )
    rewrite(workspace, "table.py", ("decision=", 'segments=("channel",),\n    decision='))
    found = problems(workspace)
    assert "'orders_7d' has no description" in found
    assert "'orders_7d' is declared STRING, but dataset 'activity' returns BIGINT" in found
    assert "no column 'wed_share'" in found
    assert "key 'customer' is INT64 in Feast and STRING in table.py" in found
    assert "late data leaks" in found
    assert "segments names channel" in found
    assert len(found.splitlines()) == 6


def test_a_service_or_dataset_that_is_not_there_is_named(workspace: Path):
    rewrite(workspace, "table.py", ('feature_service="orders"', 'feature_service="order"'))
    assert "feature_service 'order' is not one of the services: orders" in problems(workspace)
    rewrite(workspace, "table.py", ('feature_service="order"', 'feature_service="orders"'))
    rewrite(workspace, "features.py", ('dataset_path("orders", "activity")', 'dataset_path("orders", "history")'))
    assert "reads no dataset of 'orders' (orders, activity)" in problems(workspace)


def test_sql_is_planned_without_data(workspace: Path):
    rewrite(workspace, "sql/activity.sql", ("count(ordered_on) OVER last_7", "count(orderd_on) OVER last_7"))
    found = problems(workspace)
    assert "orders/sql/activity.sql" in found
    assert "orderd_on" in found
    rewrite(workspace, "sql/activity.sql", ("orderd_on", "ordered_on"))
    rewrite(workspace, "sql/label.sql", ("AS label,", "AS lable,"))
    assert "orders/sql/label.sql" in (found := problems(workspace))
    assert "no label" in found


def test_a_missing_schema_and_a_broken_features_file_are_sentences(workspace: Path):
    rewrite(workspace, "table.py", ('checks="Orders"', 'checks="Order"'))
    rewrite(workspace, "features.py", ("from feast import Entity,", "from feast import Entty,"))
    found = problems(workspace)
    assert "RawFile 'orders'.checks: expected a schema of checks.py: Orders, found 'Order'" in found
    assert "feature repository feature_repo" in found
    assert "Entty" in found
    assert len(found.splitlines()) == 2
