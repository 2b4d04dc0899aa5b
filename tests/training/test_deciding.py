"""A whole run that learns its threshold, measures a business metric, and goes out by a waiver that says why."""

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.workspace import Workspace

from batch_scoring import (
    BusinessMetric,
    Decision,
    FairGroups,
    HoldOut,
    MetricLimit,
    MinimumRecall,
    Number,
    Staleness,
    with_defaults,
)
from batch_scoring.calibration import Calibration, calibrated
from batch_scoring.declare import TableName
from batch_scoring.domain import PREDICTIONS, Manifest
from batch_scoring.errors import DeclarationError, GateFailed, UnknownVersion
from batch_scoring.gates import Waiver
from batch_scoring.scoring import Scorer
from batch_scoring.store import Store, version_folder, versions
from pipelines.against_live import moves
from pipelines.movers import biggest_movers
from pipelines.run import Run, plan_run
from pipelines.steps import run_all

WHY = "the margin is agreed with sales"


def one_run(orders: Workspace, store: Path, day: date, *waivers: Waiver) -> Run:
    cost = BusinessMetric(name="missed", of=lambda said, real, _: real * (said < 0.5), description="orders not foreseen")
    table = replace(
        orders.product.table,
        decision=Decision(threshold=MinimumRecall(at_least=0.9), yes="will order", no="will wait"),
        metrics=(cost,),
        gates=with_defaults(
            MetricLimit(metric="missed", at_most=0.0),
            FairGroups(by=("customer",)),
            Staleness(severity="warn", max_age=Staleness().max_age),
        ),
    )
    product = replace(orders.product, table=table)
    settings = orders.settings.model_copy(update={"store": store})
    return replace(plan_run(product, settings, day, "test"), waivers=waivers)


@pytest.fixture(scope="module")
def store(orders: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is stopped by a gate, version 2 of the same morning is published by a waiver."""
    root = tmp_path_factory.mktemp("deciding") / "store"
    day = date(2024, 4, 15)
    with pytest.raises(GateFailed, match="metric_missed_at_most"):
        run_all(one_run(orders, root, day), orders.source, clock=lambda: datetime.now(UTC))
    waiver = Waiver(gate="metric_missed_at_most", reason=WHY)
    run_all(one_run(orders, root, day, waiver), orders.source, clock=lambda: datetime.now(UTC))
    return root


@pytest.fixture(scope="module")
def waived(store: Path) -> Manifest:
    return versions(Store(root=store), TableName("orders"))[-1]


def test_a_waived_gate_lets_the_version_out_and_leaves_the_reason(waived: Manifest) -> None:
    gate = {gate.gate: gate for gate in waived.draft.gates}["metric_missed_at_most"]
    assert (gate.passed, gate.verdict, gate.waived) == (False, "waived", WHY)
    assert waived.passed


def test_a_waiver_that_names_no_gate_is_refused_before_anything_is_stored(orders: Workspace, tmp_path: Path) -> None:
    run = one_run(orders, tmp_path / "store", date(2024, 4, 15), Waiver(gate="row_count", reason="please"))
    with pytest.raises(DeclarationError, match="gate of integrity"):
        run_all(run, orders.source, clock=lambda: datetime.now(UTC))
    assert versions_of(tmp_path / "store") == ()


def versions_of(root: Path) -> tuple[Manifest, ...]:
    from batch_scoring.errors import UnknownTable

    try:
        return versions(Store(root=root), TableName("orders"))
    except UnknownTable:
        return ()


def test_a_live_version_with_another_task_is_no_champion_and_the_gates_say_so(
    orders: Workspace, store: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(store, tmp_path / "store", symlinks=True))
    declared = orders.product.table
    table = replace(declared, task=Number(unit="orders"), decision=Decision(), gates=with_defaults(), holdout=HoldOut(folds=1))
    settings = orders.settings.model_copy(update={"store": root})
    run = plan_run(replace(orders.product, table=table), settings, date(2024, 4, 16), "test")
    with suppress(GateFailed):
        run_all(run, orders.source, clock=lambda: datetime.now(UTC))
    draft = versions_of(root)[-1].draft
    assert draft.task == Number(unit="orders")
    assert [score.who for score in draft.training.holdout] == ["contender", "baseline"]
    said = {gate.gate: gate for gate in draft.gates}
    for gate in ("not_worse_than_live", "score_distance", "biggest_movers", "population_change"):
        assert said[gate].passed
        assert "has another task (binary, now regression) and cannot be compared with" in said[gate].message


def test_the_learned_threshold_is_stored_applied_and_reported_on_the_hold_out(store: Path, waived: Manifest) -> None:
    learned = waived.draft.training.threshold
    assert learned is not None
    assert learned.met
    assert learned.validation.recall is not None
    assert learned.validation.recall >= 0.9
    assert learned.holdout is not None
    assert learned.holdout.rows == waived.draft.training.holdout[0].rows
    rows = pl.read_parquet(version_folder(store, TableName("orders"), waived.version) / PREDICTIONS)
    assert rows["threshold"].unique().to_list() == [waived.draft.threshold] == [learned.value]
    assert ((rows["score"] >= learned.value) == (rows["decision"] == "will order")).all()


def test_a_business_metric_stands_beside_the_others_with_its_interval(waived: Manifest) -> None:
    metrics = {metric.name: metric for metric in waived.draft.training.holdout[0].metrics}
    assert {"log-loss", "brier", "auc", "pr_auc", "auc_within_day", "calibration_slope", "ece", "missed"} <= set(metrics)
    assert metrics["log-loss"].value == pytest.approx(waived.draft.training.holdout[0].loss)
    missed = metrics["missed"]
    assert missed.value is not None
    assert missed.low is not None
    assert missed.high is not None
    assert missed.low <= missed.value <= missed.high


def test_the_same_morning_twice_moves_nobody(store: Path) -> None:
    found = biggest_movers(store, TableName("orders"), 1, None, 5)
    assert (found.version, found.against, len(found.moves)) == (1, 2, 5)
    assert found.moves["moved"].abs().max() == 0
    with pytest.raises(UnknownVersion):
        biggest_movers(store, TableName("orders"), 9, None, 5)


def test_movers_are_measured_in_shares_of_the_table() -> None:
    before = pl.DataFrame({"id": [1, 2, 3, 4], "score": [0.9, 0.8, 0.7, 0.6]})
    after = pl.DataFrame({"id": [1, 2, 3, 4], "score": [0.1, 0.8, 0.7, 0.6]})
    found = moves(before, after, ("id",)).sort("id")
    assert found["rank_after"].to_list() == [4.0, 1.0, 2.0, 3.0]
    assert found["moved"].to_list() == [-0.75, 0.25, 0.25, 0.25]


def test_a_calibrated_version_scores_by_its_calibration_and_keeps_its_margins(orders: Workspace) -> None:
    root, table = orders.settings.store, TableName("orders")
    manifest = versions(Store(root=root), table)[-1]
    folder = version_folder(root, table, manifest.version)
    features = tuple(column for column in manifest.draft.columns if column.role == "feature")
    batch = pl.read_parquet(folder / "features.parquet").to_arrow().combine_chunks().to_batches()[0]
    model = (folder / "model.ubj").read_bytes()
    halved = Calibration(kind="platt", slope=0.5, intercept=0.1)
    plain, drawn = (
        Scorer(model=model, features=features)(batch),
        Scorer(model=model, features=features, calibration=halved)(batch),
    )
    assert plain["margin"].equals(drawn["margin"])
    margins = plain["margin"].to_numpy()
    np.testing.assert_allclose(drawn["score"].to_numpy(), calibrated(halved, margins))
    np.testing.assert_allclose(drawn["score"].to_numpy(), 1 / (1 + np.exp(-(0.1 + 0.5 * margins))))


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda said, *_: said[:1], lambda said, *_: said * float("nan")])
def test_a_business_metric_that_fails_is_named(wrong: object) -> None:
    metric = BusinessMetric(name="cost", of=wrong)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="business metric 'cost'"):
        metric(np.zeros(3), np.zeros(3), {})
