"""Dagster shows a table as one chain of assets, gates it, and rolls it back."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import pytest
from support.workspace import Workspace, clean_environment, open_workspace

from batch_scoring import Schedule
from batch_scoring.gates import default_gates, gate_names
from batch_scoring.store import Reader
from pipelines.defs import build_definitions
from pipelines.defs.table import partitions_of
from pipelines.init import initialise

CHAIN = (
    "delivery",
    "feature_definitions",
    "training_set",
    "window_search",
    "contender",
    "scores",
    "explanations",
    "version",
    "published",
)
HEAVY = {"feast", "xgboost", "shap", "polars", "duckdb", "pandera", "optuna", "lmdb", "matplotlib", "sklearn"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("dagster")
    initialise(folder)
    return open_workspace(folder, "orders")


@pytest.fixture(scope="module")
def definitions(workspace: Workspace) -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORETABLE_WORKSPACE", str(workspace.folder))
        yield build_definitions()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("instance"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def first_run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return run_job(definitions, instance, "2024-04-10")


def run_job(definitions: dg.Definitions, instance: dg.DagsterInstance, day: str) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("orders_run")
    return job.execute_in_process(partition_key=day, instance=instance, raise_on_error=False)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    event = next(
        event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(["orders", asset])
    )
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_table_is_one_chain_of_assets_in_its_own_group(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for upstream, asset in itertools.pairwise(CHAIN):
        node = graph.get(dg.AssetKey(["orders", asset]))
        assert node.group_name == "orders"
        assert node.parent_keys == {dg.AssetKey(["orders", upstream])}


def test_every_gate_is_a_blocking_check_between_the_version_and_its_publish(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    keys = [key for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(["orders", "version"])]
    checks = {key.name for key in keys}
    assert checks == set(gate_names(default_gates()))
    assert checks >= {
        "row_count",
        "unique_keys",
        "valid_scores",
        "contributions_sum",
        "served_as_trained",
        "beats_baseline",
        "not_worse_than_live",
        "score_shift",
    }
    assert all(graph.get(key).blocking for key in keys)


def test_a_run_in_dagster_publishes_a_version(first_run: dg.ExecuteInProcessResult, workspace: Workspace) -> None:
    assert first_run.success
    snapshot = Reader(workspace.settings.store).snapshot()
    manifest = snapshot.manifest("orders")
    assert manifest.draft.as_of == workspace.product.table.schedule.as_of(date(2024, 4, 10))
    assert metadata_of(first_run, "published")["version"] == manifest.version


def test_the_ui_shows_windows_gates_and_a_picture(first_run: dg.ExecuteInProcessResult) -> None:
    windows = str(metadata_of(first_run, "window_search")["windows"])
    assert "| window | fold 2 | fold 1 | mean log-loss |" in windows
    assert "data:image/png;base64," in str(metadata_of(first_run, "explanations")["summary"])
    assert "beats_baseline" in str(metadata_of(first_run, "version")["gates"])
    assert metadata_of(first_run, "version")["dagster/row_count"] == metadata_of(first_run, "scores")["rows"]


def test_every_gate_reports_its_number_as_a_check(first_run: dg.ExecuteInProcessResult) -> None:
    evaluations = {event.check_name: event for event in first_run.get_asset_check_evaluations()}
    assert evaluations["raw_files"].passed
    assert evaluations["beats_baseline"].metadata["observed"].value > 0


def test_a_bad_delivery_stops_the_run_and_shows_what_was_wrong(
    first_run: dg.ExecuteInProcessResult, definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    landed = workspace.settings.landing / "orders.csv"
    good = landed.read_bytes()
    live = Reader(workspace.settings.store).snapshot().release.id
    try:
        landed.write_bytes(good.replace(b",store", b",telepathy", 1))
        result = run_job(definitions, instance, "2024-04-11")
    finally:
        landed.write_bytes(good)
    assert not result.success
    check = next(event for event in result.get_asset_check_evaluations() if event.check_name == "raw_files")
    assert not check.passed
    assert "channel" in str(check.metadata["failed checks"].value)
    assert Reader(workspace.settings.store).snapshot().release.id == live


def test_a_person_rolls_back_from_dagster(
    first_run: dg.ExecuteInProcessResult, definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    assert run_job(definitions, instance, "2024-04-12").success
    before = Reader(workspace.settings.store).snapshot().served("orders").live
    config = {"ops": {"roll_back_orders": {"config": {"reason": "looks wrong"}}}}
    result = definitions.resolve_job_def("orders_rollback").execute_in_process(run_config=config, instance=instance)
    assert result.success
    after = Reader(workspace.settings.store).snapshot()
    assert before in after.served("orders").barred
    assert after.release.why == "looks wrong"


def test_the_schedule_asks_for_the_partition_of_its_own_local_day(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("orders_schedule")
    repository = definitions.get_repository_def()
    inside = dg.build_schedule_context(
        repository_def=repository, scheduled_execution_time=datetime.fromisoformat("2024-04-10T06:00:00+00:00")
    )
    outside = dg.build_schedule_context(
        repository_def=repository, scheduled_execution_time=datetime.fromisoformat("2026-04-10T06:00:00+00:00")
    )
    asked = schedule.evaluate_tick(inside).run_requests
    assert [request.partition_key for request in asked or []] == ["2024-04-10"]
    assert not schedule.evaluate_tick(outside).run_requests


@pytest.mark.parametrize(
    ("schedule", "first", "last", "count"),
    [
        (Schedule(every="day", at="04:00", since=date(2013, 2, 15), until=date(2013, 2, 18)), "2013-02-15", "2013-02-18", 4),
        (
            Schedule(every="week", at="04:00", weekday="monday", since=date(1997, 9, 1), until=date(1997, 9, 22)),
            "1997-09-01",
            "1997-09-22",
            4,
        ),
        (
            Schedule(every="week", at="04:00", weekday="sunday", since=date(1997, 9, 1), until=date(1997, 9, 22)),
            "1997-09-07",
            "1997-09-21",
            3,
        ),
    ],
)
def test_partitions_are_the_scheduled_days(schedule: Schedule, first: str, last: str, count: int) -> None:
    keys = partitions_of(schedule).get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == (first, last, count)
    assert all(schedule.speaks_on(date.fromisoformat(key)) for key in keys)


def test_the_code_location_loads_without_anything_heavy(workspace: Workspace) -> None:
    code = f"import sys, pipelines.definitions; print(sorted({HEAVY!r} & set(sys.modules)))"
    environment = clean_environment() | {"FORETABLE_WORKSPACE": str(workspace.folder)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == "[]"


def test_the_workspace_file_names_a_location_that_loads() -> None:
    text = (Path(__file__).parents[2] / "workspace.yaml").read_text()
    assert "module_name: pipelines.definitions" in text
