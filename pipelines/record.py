"""The record of a run as a draft: its documented columns, its model, its verdicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from batch_scoring.codec import from_json
from batch_scoring.declare import Binary
from batch_scoring.domain import Column, Draft, Provenance, Skew
from batch_scoring.gates import GateResult
from batch_scoring.tasks import prediction_columns
from pipelines.code_version import code_version
from pipelines.run import Examples, Run, Trained

_PACKAGES = ("foretable", "xgboost-cpu", "feast", "duckdb", "pyarrow", "numpy", "optuna", "shap")

_KEY = Column(name="key", type="VARCHAR", role="meta", description="canonical key: percent-encoded parts joined by /")
_STAMPS = (
    Column(name="as_of", type="TIMESTAMP WITH TIME ZONE", role="meta", description="the moment the prediction speaks for"),
    Column(name="version", type="INTEGER", role="meta", description="table version that made the prediction"),
)


def draft_version(run: Run, trained: Trained, gates: tuple[GateResult, ...], built_at: datetime) -> Draft:
    """Everything the manifest will say about this version, but its number and its files."""
    import pyarrow.parquet as pq

    from batch_scoring.domain import PREDICTIONS
    from pipelines.validation.report import reports_behind

    examples = from_json(run.file("examples.json").read_bytes(), Examples)
    table = run.table
    types = {"string": "VARCHAR", "integer": "BIGINT"}
    keys = tuple(
        Column(name=key.name, type=types[key.type], role="key", description=key.description) for key in table.entity.keys
    )
    return Draft(
        table=table.name,
        description=table.description,
        entity=table.entity,
        schedule=table.schedule,
        as_of=run.as_of,
        built_at=built_at,
        rows=pq.ParquetFile(run.file(PREDICTIONS)).metadata.num_rows,
        threshold=_threshold(run),
        columns=(*keys, _KEY, *prediction_columns(table.task), *_STAMPS, *trained.features),
        task=table.task,
        training=replace(trained.training, note=examples.note),
        skew=from_json(run.file("skew.json").read_bytes(), Skew),
        data=reports_behind(table.name, examples.delivery, run.settings),
        gates=gates,
        reason=run.reason,
        packages={name: version(name) for name in _PACKAGES},
        provenance=_provenance(run, examples, built_at),
    )


def _provenance(run: Run, examples: Examples, built_at: datetime) -> Provenance:
    """How the run came about. It began when its first file was written, whichever process did that."""
    began = datetime.fromtimestamp(run.file("population.parquet").stat().st_mtime, tz=UTC)
    seconds = (built_at - began).total_seconds()
    timed = seconds >= 0  # a replay with a clock of its own is built before it began
    code = code_version(run.settings.repo)
    return Provenance(
        trigger=run.trigger,
        started_at=began if timed else None,
        seconds=round(seconds, 3) if timed else None,
        commit=code.commit,
        dirty=code.dirty,
        definitions=examples.definitions,
    )


def _threshold(run: Run) -> float | None:
    """The one that decided, as every row says; None where nothing is decided by one."""
    import pyarrow.parquet as pq

    from batch_scoring.domain import PREDICTIONS

    if not isinstance(run.table.task, Binary):
        return None
    first = next(pq.ParquetFile(run.file(PREDICTIONS)).iter_batches(1, columns=["threshold"]), None)
    return None if first is None or not len(first) else float(first.column(0)[0].as_py())
