"""MLflow, through its client alone: no flavours, no global state. The only module that imports it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain import MANIFEST, MODEL, Manifest, VersionId
from batch_scoring.errors import TrackingUnavailable
from batch_scoring.store.layout import version_folder
from explain.card import model_card, to_markdown
from pipelines.tracking.address import shown, without_secrets
from pipelines.tracking.facts import KEY, RunFacts, key_of, run_facts

if TYPE_CHECKING:
    from pipelines.tracking.catch_up import Tracked, Wanted

VERSION = "foretable.version"
_ENDED = ("FINISHED", "FAILED")
_PAGE = 500
_QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowTracker:
    """An MLflow tracking and registry server, or a database of one.

    Attributes:
        files: folder for the files of runs when ``uri`` is a SQLite file; a server has a place of its own.
    """

    uri: str
    files: Path

    def bring(self, wanted: Wanted, root: Path, progress: Callable[[str], None]) -> Tracked:
        """Write what is missing of one table: runs with their files, model versions, aliases.

        A run that was left unfinished is removed and written again, so a catch-up may be killed at any moment.

        Raises:
            TrackingUnavailable: the server does not answer, or refuses.
        """
        from pipelines.tracking.catch_up import Tracked

        with _plain_errors(self.uri):
            client = self._client()
            experiment = self._experiment(client, wanted.table)
            _require_model(client, wanted.table)
            there = {run.data.tags.get(KEY): run for run in _runs(client, experiment)}
            registered = {each.tags.get(KEY) for each in _model_versions(client, wanted.table)}
            sent: list[VersionId] = []
            for manifest in wanted.manifests:
                run = there.get(key_of(manifest))
                if run is not None and run.info.status not in _ENDED:
                    _remove(client, wanted.table, run.info.run_id)
                    run = None
                if run is not None and key_of(manifest) in registered:
                    continue
                progress(f"sending version {manifest.version} of {wanted.table}")
                if run is None:
                    _send(client, experiment, manifest, version_folder(root, wanted.table, manifest.version))
                else:  # somebody deleted the model version, and left the run
                    _register(client, manifest, run)
                sent.append(manifest.version)
            return Tracked(table=wanted.table, versions=tuple(sent), aliases=_point(client, wanted))

    def _client(self) -> Any:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _experiment(self, client: Any, table: str) -> str:
        name = f"foretable/{table}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = (self.files / "files" / table).as_uri() if self.uri.startswith("sqlite:") else None
        return str(client.create_experiment(name, artifact_location=place))


def _send(client: Any, experiment: str, manifest: Manifest, folder: Path) -> None:
    """A run and its model version. The run ends last: one that has ended is whole."""
    from mlflow.entities import Metric, Param, RunTag

    facts: RunFacts = run_facts(manifest)
    run = client.create_run(experiment, start_time=facts.started, tags={KEY: facts.key}, run_name=facts.name)
    run_id = run.info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, facts.ended, 0) for name, value in facts.metrics.items()],
        params=[Param(name, value) for name, value in facts.params.items()],
        tags=[RunTag(name, value) for name, value in facts.tags.items()],
    )
    client.log_text(run_id, to_markdown(model_card(manifest)), "card.md")
    client.log_artifact(run_id, str(folder / MANIFEST))
    client.log_artifact(run_id, str(folder / MODEL), "model")
    number = _register(client, manifest, run)
    client.set_tag(run_id, "foretable.model_version", number)
    client.set_terminated(run_id, "FAILED" if facts.failed else "FINISHED", facts.ended)


def _register(client: Any, manifest: Manifest, run: Any) -> str:
    """A model version of a run's model; its number."""
    made = client.create_model_version(
        manifest.draft.table,
        source=f"{run.info.artifact_uri}/model",
        run_id=run.info.run_id,
        tags={VERSION: str(manifest.version), KEY: key_of(manifest), "foretable.passed": str(manifest.passed).lower()},
        description=f"As of {manifest.draft.as_of:%Y-%m-%d %H:%M} UTC. {manifest.draft.reason}",
    )
    return str(made.version)


def _runs(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _model_versions(client: Any, table: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{table}'", max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _require_model(client: Any, table: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(table, description=f"The models of the prediction table {table}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _remove(client: Any, table: str, run_id: str) -> None:
    """An unfinished run, and the model version it may have made."""
    for each in _model_versions(client, table):
        if each.run_id == run_id:
            client.delete_model_version(table, each.version)
    client.delete_run(run_id)


def _point(client: Any, wanted: Wanted) -> dict[str, VersionId | None]:
    """Move the aliases to the model versions of the wanted table versions; those that moved."""
    keys = {each.version: key_of(each) for each in wanted.manifests}
    numbers = {each.tags.get(KEY): each.version for each in _model_versions(client, wanted.table)}
    now = client.get_registered_model(wanted.table).aliases
    moved: dict[str, VersionId | None] = {}
    for alias, version in wanted.aliases.items():
        number = numbers[keys[version]]
        if str(now.get(alias)) != str(number):
            client.set_registered_model_alias(wanted.table, alias, number)
            moved[alias] = version
    for alias in ("champion", "contender", "shadow"):
        if alias in now and alias not in wanted.aliases:
            client.delete_registered_model_alias(wanted.table, alias)
            moved[alias] = None
    return moved


@contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Whatever MLflow or its database raises, as one sentence. It must not show a password that the URI holds."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- MLflow, SQLAlchemy, requests and the file system share no base
        said = without_secrets(str(error), uri)
        raise TrackingUnavailable(
            f"MLflow at {shown(uri)}",
            expected="a tracking server or database that answers",
            found=f"{type(error).__name__}: {said.splitlines()[0][:200] if said else 'no answer'}",
            fix="Nothing published is affected; run 'foretable track' when it is back.",
        ) from None
