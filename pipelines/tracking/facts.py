"""What MLflow shall hold of a table, computed from its manifests and from what is served. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from batch_scoring.codec import to_json
from batch_scoring.domain import Manifest, Served, VersionId
from batch_scoring.tasks import kind, metric

KEY = "foretable.key"
_LONGEST_TEXT = 5_000  # MLflow cuts off or refuses longer values, depending on its store
_UNFIT = re.compile(r"[^\w\-. /]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One version as an MLflow run.

    Attributes:
        key: names the version wherever its table goes: table, number, and when it was built.
        started, ended: milliseconds since 1970. failed: a gate stopped it.
    """

    key: str
    name: str
    started: int
    ended: int
    failed: bool
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def key_of(manifest: Manifest) -> str:
    """The key of a version. A number that was built again, in another store, is another version."""
    draft = manifest.draft
    return f"{draft.table}/{manifest.version}/{draft.built_at.isoformat()}"


def run_facts(manifest: Manifest) -> RunFacts:
    """Parameters, metrics with their intervals, and tags of one version."""
    draft, training, how = manifest.draft, manifest.draft.training, manifest.draft.provenance
    ended = int(draft.built_at.timestamp() * 1000)
    params = {
        "window": str(training.window),
        "mode": training.mode,
        "rounds": str(training.rounds),
        "train_rows": str(training.train_rows),
        "train_from": training.train_from.isoformat(),
        "train_to": training.train_to.isoformat(),
        "cutoff": training.cutoff.isoformat(),
        **({} if draft.threshold is None else {"threshold": repr(draft.threshold)}),
        **{f"xgboost.{name}": str(value) for name, value in training.params.items()},
    }
    tags = {
        KEY: key_of(manifest),
        "foretable.table": draft.table,
        "foretable.version": str(manifest.version),
        "foretable.as_of": draft.as_of.isoformat(),
        "foretable.task": kind(draft.task),
        "foretable.metric": metric(draft.task),
        "foretable.passed": str(manifest.passed).lower(),
        "foretable.reason": draft.reason,
        "foretable.training_set": training.training_set,
        "foretable.packages": to_json(draft.packages).decode(),
    }
    if how is not None:
        tags |= {
            "foretable.trigger": how.trigger,
            "foretable.feature_definitions": how.definitions,
            "foretable.dirty": str(how.dirty).lower(),
            "mlflow.source.git.commit": how.commit,
        }
    return RunFacts(
        key=key_of(manifest),
        name=f"{draft.table} {manifest.version}",
        started=ended if how is None or how.started_at is None else int(how.started_at.timestamp() * 1000),
        ended=ended,
        failed=not manifest.passed,
        params={name: value[:_LONGEST_TEXT] for name, value in params.items()},
        metrics=_metrics(manifest),
        tags={name: value[:_LONGEST_TEXT] for name, value in tags.items() if value},
    )


def _metrics(manifest: Manifest) -> dict[str, float]:
    """Hold-out losses and metrics of every competitor with their intervals, what the gates observed, rows and seconds."""
    draft = manifest.draft
    found: dict[str, float | None] = {"rows": draft.rows}
    if draft.provenance is not None:
        found["seconds"] = draft.provenance.seconds
    for score in draft.training.holdout:
        found[f"{score.who}.loss"] = score.loss
        for each in score.metrics:
            bounds = {"": each.value, ".low": each.low, ".high": each.high}
            found |= {f"{score.who}.{each.name}{bound}": value for bound, value in bounds.items()}
    for gate in draft.gates:
        found[f"gate.{gate.gate}"] = gate.observed
    return {_UNFIT.sub("_", name): float(value) for name, value in found.items() if value is not None and isfinite(value)}


def aliases(served: Served, manifests: tuple[Manifest, ...]) -> dict[str, VersionId]:
    """Which version each alias shall name; an alias that is not there names none.

    ``champion`` is live, ``shadow`` is shadow, and ``contender`` is the newest version that could be published and is neither:
    it passed its gates, was not rolled back, and is newer than the champion.
    """
    found = {"champion": served.live, "shadow": served.shadow}
    waiting = [
        each.version
        for each in manifests
        if each.passed and each.version not in (served.live, served.shadow, *served.barred) and each.version > (served.live or 0)
    ]
    found["contender"] = max(waiting, default=None)
    return {alias: version for alias, version in found.items() if version is not None}
