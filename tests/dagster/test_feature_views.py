"""Feature views are assets by day: a span of days is one run that brings them online and says what it brought."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from support.workspace import Workspace, open_workspace

from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.defs import build_definitions
from pipelines.features import workspace as feast_workspace
from pipelines.features.declared import declared_views
from pipelines.features.materialize import materialize
from pipelines.ingest import ingest
from pipelines.init import initialise
from pipelines.queries import population

# Feast 0.67 binds datetimes to SQLite by an adapter that Python 3.12 deprecates, and calls some of its own paths experimental.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

VIEW = dg.AssetKey(["orders", "online", "customer_activity"])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("online")
    initialise(folder)
    made = open_workspace(folder, "orders")
    ingest(made.product, made.settings)
    return made


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("instance"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def definitions(workspace: Workspace) -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORETABLE_WORKSPACE", str(workspace.folder))
        yield build_definitions()


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, first: str, last: str) -> dict[str, dict[str, object]]:
    """The metadata of each day."""
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = definitions.resolve_job_def("orders_online").execute_in_process(tags=span, instance=instance)
    assert result.success
    events = [event.materialization for event in result.get_asset_materialization_events()]
    return {event.partition: {name: value.value for name, value in event.metadata.items()} for event in events}


@pytest.fixture(scope="module")
def three_days(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, dict[str, object]]:
    return run(definitions, instance, "2024-04-10", "2024-04-12")


def online(settings: Settings, customers: list[str]) -> list[dict[str, object]]:
    store = feast_workspace.open_store(settings)
    rows = [{"customer": customer} for customer in customers]
    found = store.get_online_features(features=store.get_feature_service("orders"), entity_rows=rows).to_dict()
    return [{name: values[number] for name, values in found.items()} for number in range(len(rows))]


def test_every_declared_view_is_an_asset_by_day_that_backfills_in_one_run(definitions: dg.Definitions, workspace: Workspace):
    assert declared_views(workspace.product.folder) == ("customer_activity",)
    node = definitions.resolve_asset_graph().get(VIEW)
    assert node.group_name == "orders_online"
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert node.parent_keys == {dg.AssetKey(["orders", "feature_definitions"])}
    assert node.partitions_def.get_first_partition_key() == "2024-03-01"


def test_a_span_of_days_is_one_run_that_tells_rows_nulls_and_freshness_of_each_day(three_days: dict[str, dict[str, object]]):
    assert list(three_days) == ["2024-04-10", "2024-04-11", "2024-04-12"]
    for day in three_days.values():
        assert day["written"] is True
        assert day["entities"] == day["dagster/partition_row_count"] > 10  # a row per customer every morning
        assert day["freshness_hours"] == 18  # made at six in the morning
        assert day["null share days_since_last"] == 0.0


def test_online_and_scoring_agree_on_what_is_known(three_days: dict[str, dict[str, object]], workspace: Workspace):
    moment = datetime(2024, 4, 12, 12, tzinfo=UTC)
    keys = population(workspace.product, workspace.settings, datetime(2024, 4, 12, 6, tzinfo=UTC))
    served = workspace.source.population(keys, moment).drop_columns(["event_timestamp"])
    assert online(workspace.settings, keys["customer"].to_pylist()) == served.to_pylist()


def test_an_earlier_day_is_measured_but_never_overwrites_a_later_one(
    three_days: dict[str, dict[str, object]], definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace
):
    before = online(workspace.settings, ["C0001", "C0002"])
    day = run(definitions, instance, "2024-04-02", "2024-04-02")["2024-04-02"]
    assert day["written"] is False
    assert day["entities"] > 10
    assert online(workspace.settings, ["C0001", "C0002"]) == before


def test_materializing_leaves_the_definitions_applied(three_days: dict[str, dict[str, object]], workspace: Workspace):
    registry = workspace.settings.data / "registry.db"
    before = registry.stat().st_mtime_ns
    workspace.source.apply()
    assert registry.stat().st_mtime_ns == before


def test_the_command_goes_on_from_where_the_assets_ended(three_days: dict[str, dict[str, object]], workspace: Workspace):
    done = workspace.command("materialize", "orders", "--as-of", "2024-04-14", "--json")
    assert done.returncode == 0, done.stderr
    (view,) = json.loads(done.stdout)
    assert view["written"] is True
    assert datetime.fromisoformat(view["since"]) == datetime(2024, 4, 13, tzinfo=UTC)
    assert datetime.fromisoformat(view["until"]) - datetime.fromisoformat(view["since"]) == timedelta(days=2)


def test_an_unknown_view_is_one_sentence(three_days: dict[str, dict[str, object]], workspace: Workspace):
    with pytest.raises(DeclarationError, match="expected one of customer_activity"):
        materialize(workspace.settings, "nothing", [datetime(2024, 4, 14, tzinfo=UTC)])
