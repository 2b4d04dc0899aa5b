"""Small staged versions for tests: real Parquet files with made-up numbers, and the manifest that goes with them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_scoring.declare import Entity, Key, Schedule, TableName
from batch_scoring.domain import (
    EXPLANATIONS,
    FEATURES,
    MODEL,
    PREDICTIONS,
    Column,
    Draft,
    HoldOutScore,
    Staged,
    Training,
    WindowScore,
)
from batch_scoring.gates import GateResult

DAY_ONE = datetime(2013, 3, 1, 9, 0, tzinfo=UTC)

LEG = Entity(
    name="leg",
    keys=(
        Key(name="carrier", type="string", description="airline code"),
        Key(name="flight", type="integer", description="flight number"),
    ),
    description="a scheduled leg",
)

FEATURE_COLUMNS = (
    Column(name="delay_7d", type="DOUBLE", role="feature", description="mean delay of the leg over 7 days, minutes"),
    Column(name="legs_30d", type="BIGINT", role="feature", description="legs flown in 30 days"),
    Column(name="season", type="VARCHAR", role="feature", description="season of the as-of", categories=("summer", "winter")),
)

PASSED = GateResult(gate="beats_baseline", passed=True, observed=0.02, limit=0.0, message="a gain of 0.02.")
FAILED = GateResult(gate="beats_baseline", passed=False, observed=-0.01, limit=0.0, message="a loss of 0.01.")

_REASON = pa.struct([("feature", pa.string()), ("value", pa.string()), ("contribution", pa.float64()), ("text", pa.string())])


def legs(count: int) -> tuple[tuple[str, int], ...]:
    """``count`` distinct keys of :data:`LEG`, in canonical order of neither part."""
    return tuple((("UA", "AA", "9E", "B6")[n % 4], 1000 - n) for n in range(count))


def draft_version(
    table: str = "flight_delays",
    *,
    day: int = 0,
    rows: int = 20,
    gates: tuple[GateResult, ...] = (PASSED,),
    entity: Entity = LEG,
) -> Draft:
    """A draft as of ``day`` days after :data:`DAY_ONE`."""
    as_of = DAY_ONE + timedelta(days=day)
    return Draft(
        table=TableName(table),
        description="Will the leg arrive late?",
        entity=entity,
        schedule=Schedule(every="day", at="04:00", timezone="America/New_York"),
        as_of=as_of,
        built_at=as_of + timedelta(minutes=5),
        rows=rows,
        threshold=0.5,
        columns=(
            *(
                Column(
                    name=key.name, type="BIGINT" if key.type == "integer" else "VARCHAR", role="key", description=key.description
                )
                for key in entity.keys
            ),
            Column(name="score", type="DOUBLE", role="score", description="probability of a late arrival"),
            Column(name="decision", type="VARCHAR", role="decision", description="late or on time"),
            *FEATURE_COLUMNS,
        ),
        training=Training(
            window=30,
            cutoff=as_of - timedelta(days=8),
            train_rows=1234,
            train_from=as_of - timedelta(days=38),
            train_to=as_of - timedelta(days=9),
            rounds=50,
            params={"max_depth": 5, "eta": 0.1, "objective": "binary:logistic"},
            windows=tuple(
                WindowScore(
                    window=window,
                    fold=0,
                    cutoff=as_of - timedelta(days=15),
                    until=as_of - timedelta(days=8),
                    train_rows=1000,
                    test_rows=200,
                    loss=loss,
                    auc=0.66,
                )
                for window, loss in ((14, 0.52), (30, 0.5), ("all", 0.51))
            ),
            holdout=(
                HoldOutScore(who="contender", rows=200, loss=0.5, auc=0.66),
                HoldOutScore(who="baseline", rows=200, loss=0.53, auc=None, note="trailing mean"),
            ),
        ),
        gates=gates,
        reason="schedule",
        packages={"xgboost-cpu": "3.2.0"},
    )


def staged_version(
    folder: Path,
    table: str = "flight_delays",
    *,
    day: int = 0,
    keys: Sequence[tuple[Any, ...]] | None = None,
    seed: int = 1,
    shuffle: int | None = None,
    gates: tuple[GateResult, ...] = (PASSED,),
    entity: Entity = LEG,
    score: float | None = None,
) -> Staged:
    """A staged version in ``folder`` (made if need be), as a run leaves it.

    Args:
        day: as-of, in days after :data:`DAY_ONE`.
        keys: the entities, by default :func:`legs` of 20. seed: of the numbers. shuffle: of the order of rows only.
        gates: the verdicts; ``()`` is an unjudged version, ``(FAILED,)`` one that failed.
        score: the same score for every row, which makes a version recognizable by its answers.
    """
    keys = legs(20) if keys is None else tuple(keys)
    rows = [_row(key, random.Random(f"{seed}/{key}"), score) for key in keys]
    for rank, row in enumerate(sorted(rows, key=lambda row: -row["score"]), start=1):
        row["rank"] = rank
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    types = {"integer": pa.int64(), "string": pa.string()}
    key_arrays = {key.name: pa.array([row["key"][n] for row in rows], types[key.type]) for n, key in enumerate(entity.keys)}

    def write(name: str, columns: dict[str, pa.Array]) -> None:
        pq.write_table(pa.table({**key_arrays, **columns}), folder / name)

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row[name] for row in rows], kind)

    write(
        PREDICTIONS,
        {
            "score": column("score", pa.float64()),
            "decision": pa.array(["late" if row["score"] >= 0.5 else "on time" for row in rows], pa.string()),
            "threshold": pa.array([0.5] * len(rows), pa.float64()),
            "rank": column("rank", pa.int64()),
            "margin": column("margin", pa.float64()),
            "reasons": column("reasons", pa.list_(_REASON)),
        },
    )
    write(
        EXPLANATIONS,
        {
            "base_value": column("base_value", pa.float64()),
            **{
                feature.name: pa.array([row["contributions"][n] for row in rows], pa.float32())
                for n, feature in enumerate(FEATURE_COLUMNS)
            },
        },
    )
    write(
        FEATURES,
        {
            "delay_7d": pa.array([row["values"][0] for row in rows], pa.float64()),
            "legs_30d": pa.array([row["values"][1] for row in rows], pa.int64()),
            "season": pa.array([row["values"][2] for row in rows], pa.string()),
        },
    )
    (folder / MODEL).write_bytes(f"model of {table}, day {day}, seed {seed}".encode())
    draft = replace(draft_version(table, day=day, rows=len(rows), gates=gates, entity=entity))
    return Staged(draft=draft, folder=folder)


def _row(key: tuple[Any, ...], chance: random.Random, score: float | None) -> dict[str, Any]:
    score = chance.uniform(0.01, 0.99) if score is None else score
    margin = math.log(score / (1 - score))
    base = -0.25
    first, second = chance.uniform(-1, 1), chance.uniform(-1, 1)
    contributions = (first, second, margin - base - first - second)
    values = (
        chance.choice([None, round(chance.uniform(-10, 90), 2)]),
        chance.randrange(60),
        chance.choice(["summer", "winter", None]),
    )
    order = sorted(range(3), key=lambda n: -abs(contributions[n]))
    reasons = [
        {
            "feature": FEATURE_COLUMNS[n].name,
            "value": None if values[n] is None else str(values[n]),
            "contribution": contributions[n],
            "text": f'{FEATURE_COLUMNS[n].description} moves it "{"up" if contributions[n] > 0 else "down"}"',
        }
        for n in order
    ]
    return {
        "key": key,
        "score": score,
        "margin": margin,
        "base_value": base,
        "contributions": contributions,
        "values": values,
        "reasons": reasons,
    }
