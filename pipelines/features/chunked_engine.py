"""A Feast batch engine that brings features online in pieces: the ``batch_engine`` of ``feature_store.yaml``.

Feast's own engine holds a whole view in memory and starts anew after a crash. This one takes the keys of a view in hash
pieces, writes each, and notes in a file that it is done. Writing a piece again changes nothing, so a run that was killed
goes on with the piece that it was at. ``feast materialize`` and ``FeatureStore.materialize`` go through it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import _convert_arrow_to_proto, _get_column_names

from batch_scoring.codec import from_json, to_pretty_json
from batch_scoring.errors import ForetableError
from pipelines.features.asof_inputs import path_of, utc
from pipelines.features.asof_job import AsofRetrievalJob
from pipelines.features.asof_pull import Pull, pull_sql
from pipelines.features.sources import files_of
from pipelines.files import write_whole

_BATCH = 10_000
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class ChunkedComputeEngineConfig(FeastConfigBaseModel):
    """The ``batch_engine`` section of ``feature_store.yaml``.

    Attributes:
        rows_per_piece: source rows whose keys are read and written at a time.
    """

    type: Literal["pipelines.features.chunked_engine.ChunkedComputeEngine"] = (
        "pipelines.features.chunked_engine.ChunkedComputeEngine"
    )
    rows_per_piece: int = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one materialization of one view has come.

    Attributes:
        work: hash of what is being done: view, interval, source file, pieces, online store. Another hash starts anew.
        since, until: the interval.
        pieces: into how many the keys are divided. done: how many of them, from the first on, are online.
        rows: written so far.
    """

    work: str
    since: datetime
    until: datetime
    pieces: int
    done: int
    rows: int


class ChunkedComputeEngine(LocalComputeEngine):
    """Feast's local engine, but for materialization: that is bounded, and goes on where it was stopped."""

    def __init__(self, *, rows_per_piece: int = 500_000, **kwargs: Any) -> None:
        kwargs.pop("type", None)
        super().__init__(**kwargs)
        self._rows_per_piece = rows_per_piece

    def _materialize_one(self, registry: Any, task: MaterializationTask, **kwargs: Any) -> LocalMaterializationJob:
        if _computed(task.feature_view):
            return super()._materialize_one(registry, task, **kwargs)
        name = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            self._bring_online(registry, task)
        except Exception as error:  # noqa: BLE001  # Feast raises what a job carries
            return LocalMaterializationJob(job_id=name, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=name, status=MaterializationJobStatus.SUCCEEDED)

    def _bring_online(self, registry: Any, task: MaterializationTask) -> None:
        view, config = task.feature_view, self.repo_config
        if not isinstance(view, FeatureView) or not view.online:
            return None
        if moved(config, task.project, view.name):  # what an earlier interval brought is not in this online store
            task = replace(task, start_time=min(utc(task.start_time), first_moment(view, task.end_time)))
        pull = pull_of(registry, task, config)
        file = progress_file(config, task.project, view.name)
        source = path_of(pull.source, config.repo_path)
        pieces = max(1, -(-_rows(source) // self._rows_per_piece)) if pull.keys else 1
        work = _work(task, source, pieces, config)
        noted = read_progress(config, task.project, view.name)
        since, until = utc(task.start_time), utc(task.end_time)
        progress = Progress(work=work, since=since, until=until, pieces=pieces, done=0, rows=0)
        if noted is not None and noted.work == work:
            progress = noted
        for number in range(progress.done, pieces):
            piece = replace(pull, piece=(number, pieces)) if pieces > 1 else pull
            rows = self._put(view, config.offline_store.query(partial(pull_sql, piece, config.repo_path)), config)
            progress = replace(progress, done=number + 1, rows=progress.rows + rows)
            _write(file, to_pretty_json(progress))
        if _work(task, source, pieces, config) != work:  # another delivery became current: some pieces are of it
            return self._bring_online(registry, task)
        note_online(config, task.project, view.name)
        file.unlink(missing_ok=True)  # done: asked for again, it is done again
        return None

    def _put(self, view: FeatureView, query: Any, config: RepoConfig) -> int:
        names = (view.batch_source.field_mapping if view.batch_source else None) or {}
        types = {entity.name: entity.dtype.to_value_type() for entity in view.entity_columns}
        rows = 0
        size = config.materialization_config.online_write_batch_size or _BATCH
        for batch in AsofRetrievalJob(query, repo=config.repo_path).batches(size):
            if batch.num_rows:
                renamed = pa.RecordBatch.from_arrays(batch.columns, [names.get(column, column) for column in batch.schema.names])
                self.online_store.online_write_batch(config, view, _convert_arrow_to_proto(renamed, view, types), lambda _: None)
                rows += batch.num_rows
        return rows


def _computed(view: Any) -> bool:
    """Whether Feast computes the view from its source, which its own engine does."""
    return any(getattr(view, name, None) for name in ("feature_transformation", "aggregations", "source_views", "offline"))


def pull_of(registry: Any, task: MaterializationTask, config: RepoConfig) -> Pull:
    """What a materialization reads, in the names of the source's file."""
    view = task.feature_view
    entities = [registry.get_entity(name, task.project) for name in view.entities]
    keys, features, event, created = _get_column_names(view, entities)
    return Pull(
        source=view.batch_source,
        keys=tuple(keys),
        features=tuple(features),
        event=event,
        created=created or None,
        start=task.start_time,
        end=task.end_time,
        latest="known" if config.offline_store.created_timestamp_cutoff else "any",
    )


def progress_file(config: RepoConfig, project: str, view: str) -> Path:
    """Where a view's progress is noted: beside the registry, or in the folder of the repository."""
    path = Path(getattr(config.registry, "path", "") or "registry.db")
    folder = (path if path.is_absolute() else (config.repo_path or Path.cwd()) / path).parent
    return folder / "materialize" / f"{project}.{view}.json"


def read_progress(config: RepoConfig, project: str, view: str) -> Progress | None:
    """How far a materialization came that was stopped; None when there is none."""
    try:
        return from_json(progress_file(config, project, view).read_bytes(), Progress)
    except (OSError, ValueError, ForetableError):
        return None


def first_moment(view: Any, until: datetime) -> datetime:
    """From when on rows can matter to an online store that holds nothing yet."""
    return utc(until) - view.ttl if view.ttl else _EVER


def moved(config: RepoConfig, project: str, view: str) -> bool:
    """Whether a view was brought online somewhere else than ``feature_store.yaml`` names now."""
    try:
        return _marker(config, project, view).read_text(encoding="utf-8") != _place(config)
    except FileNotFoundError:
        return False


def note_online(config: RepoConfig, project: str, view: str) -> None:
    """Remember into which online store a view was brought."""
    _write(_marker(config, project, view), _place(config).encode())


def _marker(config: RepoConfig, project: str, view: str) -> Path:
    return progress_file(config, project, view).with_suffix(".online")


def _place(config: RepoConfig) -> str:
    """Hash of the online store's configuration, which may hold a password."""
    return hashlib.sha256(repr(sorted(config.online_store.model_dump().items())).encode()).hexdigest()


def _work(task: MaterializationTask, source: Path, pieces: int, config: RepoConfig) -> str:
    view = task.feature_view
    facts = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files_of(source)]
    fields = sorted((field.name, str(field.dtype)) for field in view.schema)  # Feast's own order changes with the process
    target = (_place(config), config.offline_store.created_timestamp_cutoff)
    parts = (view.name, fields, utc(task.start_time).isoformat(), utc(task.end_time).isoformat(), facts, pieces, target)
    # hash() of DuckDB, which makes the pieces, is promised for one version only.
    return hashlib.sha256(f"{duckdb.__version__} {parts}".encode()).hexdigest()


def _rows(source: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in files_of(source))


def _write(file: Path, content: bytes) -> None:
    write_whole(file, lambda unfinished: unfinished.write_bytes(content))
