"""The long form of the tests with MLflow, for ``make test-mlflow``: kills, servers that do not answer, processes of their own."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.stores import FLIGHTS, roll_back
from support.tracked import client_of, pointed, runs_of, store_of

from batch_scoring.errors import TrackingUnavailable
from batch_scoring.settings import Settings
from batch_scoring.store import versions
from pipelines.tracking.catch_up import catch_up, follow, pending
from pipelines.tracking.facts import KEY, run_facts

pytestmark = [
    # What MLflow and its store warn of while they are imported and their database is made is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


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
