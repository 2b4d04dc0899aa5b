"""MLflow follows the store: every version once, aliases where they belong, and nothing waits for it."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.drafts import FAILED
from support.stores import FLIGHTS, build, build_and_publish, new_store, roll_back

from batch_scoring.domain import MANIFEST, MODEL, Served, VersionId
from batch_scoring.errors import TrackingUnavailable
from batch_scoring.settings import Settings, load_settings
from batch_scoring.store import Store, version_folder, versions
from pipelines.tracking.catch_up import catch_up, follow, pending, tracker
from pipelines.tracking.facts import KEY, aliases, run_facts

pytestmark = [
    # What MLflow and its store warn of while they are imported and their database is made is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once: that takes MLflow seconds."""
    import os

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def workspace(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A workspace with a store of two published versions, and the empty database where tracking looks for it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "foretable.toml").write_text('tracking = "mlflow"\n')
    store = new_store(tmp_path)
    for day in (1, 2):
        build_and_publish(store, day)
    settings = load_settings(tmp_path)
    (settings.data / "tracking").mkdir(parents=True)
    shutil.copy(database, settings.data / "tracking" / "mlflow.db")
    return settings


def store_of(settings: Settings) -> Store:
    return Store(settings.store)


def client_of(settings: Settings) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker(settings), registry_uri=tracker(settings))


def runs_of(settings: Settings) -> list[Any]:
    client = client_of(settings)
    experiment = client.get_experiment_by_name(f"foretable/{FLIGHTS}")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.run_name ASC"]))


def pointed(settings: Settings) -> dict[str, int]:
    """The table version that each alias names, by way of its model version."""
    client = client_of(settings)
    model = client.get_registered_model(FLIGHTS)
    numbers = {alias: client.get_model_version(FLIGHTS, number) for alias, number in model.aliases.items()}
    return {alias: int(version.tags["foretable.version"]) for alias, version in numbers.items()}


def test_every_version_is_a_run_with_its_numbers_and_files_and_is_sent_once(workspace: Settings) -> None:
    failed = build(store_of(workspace), 3, gates=(FAILED,))
    (done,) = catch_up(workspace)
    assert done.versions == (1, 2, 3)
    assert catch_up(workspace) == ()
    (workspace.data / "tracking" / "sent.json").unlink()
    (again,) = catch_up(workspace)  # the marker is lost: MLflow is asked, and nothing is sent twice
    assert (again.versions, again.aliases) == ((), {})
    runs = runs_of(workspace)
    assert [(run.data.tags["foretable.version"], run.info.status) for run in runs] == [
        ("1", "FINISHED"),
        ("2", "FINISHED"),
        ("3", "FAILED"),
    ]
    facts = run_facts(failed)
    assert runs[2].data.params == facts.params
    assert runs[2].data.metrics == facts.metrics
    assert facts.tags.items() <= runs[2].data.tags.items()
    assert (runs[2].info.start_time, runs[2].info.end_time) == (facts.started, facts.ended)
    folder, client = version_folder(workspace.store, FLIGHTS, VersionId(3)), client_of(workspace)
    for name in (MANIFEST, f"model/{MODEL}"):
        sent = Path(client.download_artifacts(runs[2].info.run_id, name))
        assert sent.read_bytes() == (folder / Path(name).name).read_bytes()


def test_aliases_follow_publish_rollback_and_a_version_that_waits(workspace: Settings) -> None:
    catch_up(workspace)
    assert pointed(workspace) == {"champion": 2}
    build(store_of(workspace), 3)
    catch_up(workspace)
    assert pointed(workspace) == {"champion": 2, "contender": 3}
    roll_back(store_of(workspace))
    (done,) = catch_up(workspace)
    assert done.aliases == {"champion": 1}
    assert pointed(workspace) == {"champion": 1, "contender": 3}


def test_a_run_that_was_cut_short_is_sent_again_whole(workspace: Settings) -> None:
    client = client_of(workspace)
    key = run_facts(versions(store_of(workspace), FLIGHTS)[0]).key
    experiment = client.create_experiment(f"foretable/{FLIGHTS}", artifact_location=(workspace.data / "files").as_uri())
    begun = client.create_run(experiment, tags={KEY: key})  # and then its process was killed
    (done,) = catch_up(workspace)
    assert done.versions == (1, 2)
    runs = runs_of(workspace)
    assert [run.data.tags[KEY] for run in runs].count(key) == 1
    assert begun.info.run_id not in {run.info.run_id for run in runs}


def test_a_model_version_that_somebody_deleted_comes_back(workspace: Settings) -> None:
    catch_up(workspace)
    client = client_of(workspace)
    for each in client.search_model_versions(f"name = '{FLIGHTS}'"):
        client.delete_model_version(FLIGHTS, each.version)
    (workspace.data / "tracking" / "sent.json").unlink()
    catch_up(workspace)
    assert len(runs_of(workspace)) == 2
    assert pointed(workspace) == {"champion": 2}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for each in taken:
            each.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_a_tracker_that_is_down_or_slow_is_a_sentence_and_is_caught_up_later(
    workspace: Settings, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    for port in (free_port(), silent):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@127.0.0.1:{port}")
        with pytest.raises(TrackingUnavailable, match="Nothing published is affected; run 'foretable track'") as error:
            catch_up(workspace)
        assert "secret" not in str(error.value)
        assert pending(workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (done,) = catch_up(workspace)
    assert done.versions == (1, 2)


def wait_until(holds: Callable[[], bool], seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_a_process_of_its_own_follows_and_who_published_does_not_wait(workspace: Settings) -> None:
    begun = time.monotonic()
    follow(workspace)
    assert time.monotonic() - begun < 2
    roll_back(store_of(workspace))
    follow(workspace)  # the process that is at it already sees this too
    wait_until(lambda: not pending(workspace))
    assert pointed(workspace) == {"champion": 1}
    assert (workspace.data / "tracking" / "log.txt").read_text().count("versions sent: 1, 2") <= 1


def test_nothing_is_started_while_tracking_is_off_or_nothing_is_missing(workspace: Settings) -> None:
    follow(workspace.model_copy(update={"tracking": "off"}))
    follow(workspace.model_copy(update={"store": workspace.store / "nowhere"}))
    catch_up(workspace)
    follow(workspace)
    assert not (workspace.data / "tracking" / "log.txt").exists()


def test_the_contender_is_the_newest_version_that_could_be_published(workspace: Settings) -> None:
    kept = versions(store_of(workspace), FLIGHTS)
    one, two = kept

    def named(served: Served, *passed: bool) -> dict[str, VersionId]:
        manifests = tuple(
            each if good else replace(each, draft=replace(each.draft, gates=(FAILED,)))
            for each, good in zip(kept, passed, strict=True)
        )
        return aliases(served, manifests)

    assert named(Served(), True, True) == {"contender": two.version}
    assert named(Served(), True, False) == {"contender": one.version}
    assert named(Served(live=one.version), True, True) == {"champion": one.version, "contender": two.version}
    assert named(Served(live=two.version), True, True) == {"champion": two.version}
    assert named(Served(live=one.version, barred=(two.version,)), True, True) == {"champion": one.version}
    assert named(Served(live=one.version, shadow=two.version), True, True) == {"champion": one.version, "shadow": two.version}
