"""MLflow follows the store: every version once, aliases where they belong, and nothing waits for it. Kills and slow servers are
tried in mlflow_long.py.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from support.drafts import FAILED
from support.stores import FLIGHTS, build, roll_back
from support.tracked import client_of, pointed, runs_of, store_of

from batch_scoring.domain import MANIFEST, MODEL, Served, VersionId
from batch_scoring.settings import Settings
from batch_scoring.store import version_folder, versions
from pipelines.tracking.catch_up import catch_up, follow
from pipelines.tracking.facts import aliases, run_facts

pytestmark = [
    # What MLflow and its store warn of while they are imported and their database is made is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


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
