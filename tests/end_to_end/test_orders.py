"""A whole run on a made shop: what is published, what is refused, and that the future never shows."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from support.workspace import Workspace, open_workspace, second_store

from batch_scoring.domain import EXPLANATIONS, FEATURES, INDEX, MODEL, PREDICTIONS, Manifest
from batch_scoring.errors import GateFailed, NoData, StoreConflict, StoreLocked
from batch_scoring.store import Reader, Store, publish, release_folder, rollback, verify, version_folder
from pipelines.ingest import ingest
from pipelines.replay import Replayed, replay
from pipelines.run import alone, plan_run
from pipelines.steps import publish_version, score, version_of

DAY = date(2024, 4, 10)
ORDERS = "orders"


def copied(orders: Workspace, folder: Path) -> Workspace:
    """The shop with its deliveries and training sets, free to be changed."""
    shutil.copytree(orders.folder, folder, symlinks=True)
    return open_workspace(folder, ORDERS)


def catalog(workspace: Workspace) -> duckdb.DuckDBPyConnection:
    release = Reader(workspace.settings.store).snapshot().release
    return duckdb.connect(release_folder(workspace.settings.store, release.id) / "predictions.duckdb", read_only=True)


def test_three_runs_leave_three_versions_and_the_last_one_live(orders: Workspace) -> None:
    snapshot = Reader(orders.settings.store).snapshot()
    assert snapshot.served(ORDERS).live == 3
    assert [manifest.version for manifest in snapshot.versions(ORDERS)] == [1, 2, 3]
    assert snapshot.manifest(ORDERS).draft.reason == "test"
    assert verify(Store(root=orders.settings.store)) == ()


def test_the_same_as_of_run_twice_gives_the_same_bytes(orders: Workspace, tmp_path: Path) -> None:
    again = second_store(orders, tmp_path / "store")
    manifest, _ = again.run(DAY)
    assert manifest.version == 1
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES, MODEL, INDEX):
        first = version_folder(orders.settings.store, ORDERS, manifest.version) / name
        second = version_folder(again.settings.store, ORDERS, manifest.version) / name
        assert first.read_bytes() == second.read_bytes(), name


def test_the_number_of_threads_changes_no_byte(orders: Workspace, tmp_path: Path) -> None:
    again = second_store(orders, tmp_path / "store")
    settings = again.settings.model_copy(update={"threads": 1})
    single = Workspace(folder=again.folder, settings=settings, product=again.product, source=again.source)
    manifest, _ = single.run(DAY)
    for name in (PREDICTIONS, EXPLANATIONS, MODEL):
        first = version_folder(orders.settings.store, ORDERS, manifest.version) / name
        assert first.read_bytes() == (version_folder(settings.store, ORDERS, manifest.version) / name).read_bytes(), name


def test_what_happens_later_changes_nothing_that_was_predicted_before(orders: Workspace, tmp_path: Path) -> None:
    changed = copied(orders, tmp_path / "shop")
    landed = changed.settings.landing / "orders.csv"
    lines = landed.read_text().splitlines()
    kept = [line for line in lines if line.startswith("order_id") or line.split(",")[2][:10] < DAY.isoformat()]
    invented = [f"{90_000 + n},C{n % 200:04d},2024-04-{15 + n % 10:02d}T12:00:00Z,99.00,web" for n in range(400)]
    landed.write_text("\n".join(kept + invented) + "\n")
    shutil.rmtree(changed.settings.store)
    before = Reader(orders.settings.store).snapshot().manifest(ORDERS, 1)
    assert ingest(changed.product, changed.settings).id != ingest(orders.product, orders.settings).id
    after, _ = changed.run(DAY)
    hashes = [{fact.name: fact.sha256 for fact in manifest.files} for manifest in (before, after)]
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES, MODEL):
        assert hashes[0][name] == hashes[1][name], name


def test_predictions_explanations_and_features_of_a_version_fit_together(orders: Workspace) -> None:
    with catalog(orders) as connection:
        features = [
            name for (name,) in connection.execute("SELECT column_name FROM meta.columns WHERE role = 'feature'").fetchall()
        ]
        total = " + ".join(f'e."{name}"' for name in features)
        rows, worst, versions = connection.execute(
            f"""SELECT count(*), max(abs(e.base_value + {total} - p.margin)), count(DISTINCT p.version)
            FROM orders p JOIN orders_explanations e USING (key) JOIN orders_features f USING (key)"""
        ).fetchone()
        assert rows == connection.execute("SELECT count(*) FROM orders").fetchone()[0]
        assert worst < 1e-4
        assert versions == 1
        ranks = connection.execute("SELECT list(rank ORDER BY score DESC, key) FROM orders").fetchone()[0]
        assert ranks == list(range(1, rows + 1))
        wrong = connection.execute(
            "SELECT count(*) FROM orders WHERE (score >= threshold) <> (decision = 'will order')"
        ).fetchone()
        assert wrong == (0,)


def test_a_lookup_says_what_the_table_says(orders: Workspace) -> None:
    import msgspec

    snapshot = Reader(orders.settings.store).snapshot()
    with catalog(orders) as connection:
        rows = connection.execute("SELECT key, score, decision, rank, version FROM orders").fetchall()
    for key, *row in rows:
        answer = msgspec.json.decode(snapshot.prediction(ORDERS, key))
        assert [answer["score"], answer["decision"], answer["rank"], answer["version"]] == row
        assert len(answer["reasons"]) <= orders.product.table.explain.top


def test_the_catalog_knows_the_windows_and_gates_of_every_version(orders: Workspace) -> None:
    with catalog(orders) as connection:
        windows = connection.execute(
            "SELECT version, count(DISTINCT training_window), count(*) FROM meta.windows GROUP BY 1 ORDER BY 1"
        )
        assert windows.fetchall() == [(version, 3, 6) for version in (1, 2, 3)]
        failed = connection.execute("SELECT count(*) FROM meta.gates WHERE NOT passed").fetchone()
        assert failed == (0,)
        as_of = orders.product.table.schedule.as_of(date(2024, 4, 11))
        asked = connection.execute("SELECT DISTINCT version FROM orders_as_of($1::TIMESTAMPTZ)", [as_of]).fetchall()
        assert asked == [(2,)]


@pytest.fixture
def strict(orders: Workspace, tmp_path: Path) -> Workspace:
    """The shop with a gate that no model can pass, and the versions published before it was raised."""
    workspace = copied(orders, tmp_path / "shop")
    declaration = workspace.folder / "feature_repo" / "orders" / "table.py"
    text = declaration.read_text().replace("    Baseline,\n", "    Baseline,\n    BeatsBaseline,\n")
    declaration.write_text(text.replace("    windows=", "    gates=(BeatsBaseline(margin=5.0),),\n    windows="))
    return open_workspace(workspace.folder, ORDERS)


def test_a_failed_gate_leaves_live_alone_and_keeps_the_report(strict: Workspace) -> None:
    with pytest.raises(GateFailed, match=r"version 4 of 'orders'.*beats_baseline.*Live is unchanged"):
        strict.run(date(2024, 4, 13))
    snapshot = Reader(strict.settings.store).snapshot()
    assert snapshot.served(ORDERS).live == 3
    failed = [gate.gate for gate in snapshot.manifest(ORDERS, 4).draft.gates if not gate.passed]
    assert failed == ["beats_baseline"]
    with pytest.raises(GateFailed):
        publish(Store(root=strict.settings.store), ORDERS, 4, who="x", when=datetime.now(UTC), why="please", force=True)


def test_a_refused_run_exits_with_its_own_code_and_one_sentence(strict: Workspace) -> None:
    done = strict.command("run", ORDERS, "--as-of", "2024-04-13")
    assert done.returncode == 3
    assert done.stderr.strip().startswith("error: version 4 of 'orders': expected every gate passed, found beats_baseline")
    assert "Traceback" not in done.stderr


def test_a_rolled_back_version_stays_back(orders: Workspace, tmp_path: Path) -> None:
    workspace = copied(orders, tmp_path / "shop")
    store = Store(root=workspace.settings.store)
    rollback(store, ORDERS, who="x", when=datetime.now(UTC), why="wrong")
    planned = plan_run(workspace.product, workspace.settings, date(2024, 4, 12), reason="schedule")
    with pytest.raises(StoreConflict, match="rolled back"):
        publish_version(planned, version_of(planned), when=datetime.now(UTC))
    with pytest.raises(StoreConflict, match="the latest that is live or was rolled back"):
        workspace.run(date(2024, 4, 12))  # the same day again makes version 4, which is what was taken down
    manifest, release = workspace.run(date(2024, 4, 13))
    assert release.tables[ORDERS].live == manifest.version == 5
    assert release.tables[ORDERS].barred == (3,)


def test_no_run_goes_back_in_time_by_itself(orders: Workspace, tmp_path: Path) -> None:
    workspace = copied(orders, tmp_path / "shop")
    with pytest.raises(StoreConflict, match="foretable publish orders 4 --reason"):
        workspace.run(date(2024, 4, 9))
    assert Reader(workspace.settings.store).snapshot().served(ORDERS).live == 3


def test_a_step_without_the_one_before_it_says_so(orders: Workspace) -> None:
    planned = plan_run(orders.product, orders.settings, date(2024, 4, 20), reason="test")
    with pytest.raises(NoData, match=r"expected trained\.json, left by an earlier step"):
        score(planned, orders.source)


def test_dropping_a_feature_is_still_compared_with_live(orders: Workspace, tmp_path: Path) -> None:
    workspace = copied(orders, tmp_path / "shop")
    features = workspace.folder / "feature_repo" / "orders" / "features.py"
    lines = features.read_text().splitlines(keepends=True)
    features.write_text("".join(line for line in lines if "days_since_last" not in line))
    workspace.source.apply()
    manifest, _ = workspace.run(date(2024, 4, 13))
    gate = next(gate for gate in manifest.draft.gates if gate.gate == "not_worse_than_live")
    assert "without days_since_last" in gate.message


def test_a_replay_does_not_repeat_what_it_has_published(orders: Workspace, tmp_path: Path) -> None:
    workspace = copied(orders, tmp_path / "shop")
    days: list[tuple[date, int | None]] = []

    def on_day(day: date, manifest: Manifest | None) -> None:
        days.append((day, manifest and manifest.version))

    def replayed(last: date) -> Replayed:
        span = (date(2024, 4, 13), last)
        return replay(
            workspace.product, workspace.settings, workspace.source, *span, clock=lambda: datetime.now(UTC), on_day=on_day
        )

    replayed(date(2024, 4, 14))
    again = replayed(date(2024, 4, 15))
    assert days == [(date(2024, 4, day), version) for day, version in ((13, 4), (14, 5), (13, 4), (14, 5), (15, 6))]
    assert again.refused == ()
    assert [row.version for row in again.realised] == [4, 5, 6, None]


def test_the_same_run_is_not_made_twice_at_once(orders: Workspace) -> None:
    planned = plan_run(orders.product, orders.settings, date(2024, 4, 14), reason="test")
    with alone(planned), pytest.raises(StoreLocked, match="another process making it"):
        orders.run(date(2024, 4, 14))
    with alone(planned):
        pass
