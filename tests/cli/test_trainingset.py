"""``foretable trainingset`` says what versions were trained on."""

import json

import pytest
from support.workspace import Workspace
from typer.testing import CliRunner

from batch_scoring.errors import NotFound, UnknownVersion
from batch_scoring.store import Reader
from pipelines.cli import app

ORDERS = "orders"


@pytest.fixture
def shop(orders: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(orders.folder)
    return orders


def said(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["trainingset", *arguments], catch_exceptions=False)
    assert done.exit_code == code
    return done.stdout


def test_the_sets_of_a_table_are_listed_with_the_versions_trained_on_them(shop: Workspace) -> None:
    manifests = Reader(shop.settings.store).snapshot().versions(ORDERS)
    listed = {
        tuple(entry["versions"]): entry["record"]
        for entry in json.loads(said("list", ORDERS, "--json"))
        if entry["versions"]
    }  # fmt: skip
    for manifest in manifests:
        record = listed[(manifest.version,)]
        assert record["name"] == manifest.draft.training.training_set
        assert record["rows"] >= manifest.draft.training.train_rows
    lines = said("list", ORDERS).splitlines()
    assert lines[0].split() == ["training", "set", "as", "of", "(UTC)", "from", "rows", "mean", "label", "delivery", "versions"]
    assert any(line.startswith(manifests[0].draft.training.training_set[:12]) for line in lines)


def test_a_set_is_shown_by_how_its_name_begins(shop: Workspace) -> None:
    manifest = Reader(shop.settings.store).snapshot().manifest(ORDERS)
    name = manifest.draft.training.training_set
    shown = said("show", name[:10])
    for fact in (
        name,
        "2024-04-12 06:00 UTC; labels of moments up to 2024-04-05 06:00 UTC can be known",
        "features as of each example's moment",
        "view customer_activity",
        "7 features, ttl 12:00:00, from orders/current/activity.parquet",
        "horizon 7 days, 0:00:00, delay 0:00:00",
        "mean_amount",
    ):
        assert fact in shown
    whole = json.loads(said("show", name, "--json"))
    assert whole["versions"] == [manifest.version]
    assert whole["on_disk"] is True
    assert [column["name"] for column in whole["record"]["columns"]][:4] == [
        "customer",
        "event_timestamp",
        "label",
        "label_known_at",
    ]


def test_a_name_that_nothing_has_is_refused(shop: Workspace) -> None:
    with pytest.raises(NotFound, match="foretable trainingset list"):
        said("show", "beef")


def test_what_was_served_can_be_compared_again(shop: Workspace) -> None:
    assert said("compare", ORDERS, "3").endswith("cells are not what training would see today.\n")
    assert json.loads(said("compare", ORDERS, "3", "--json"))["compared"] > 0
    with pytest.raises(UnknownVersion):
        said("compare", ORDERS, "99")
