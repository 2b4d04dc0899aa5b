"""Example answers for the documentation, made of the answer shapes themselves, so that they cannot drift from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from batch_scoring.declare import Classes, Entity, Key
from batch_scoring.keys import encode_key
from lookup_api import answers, problems

_AS_OF = datetime(2013, 7, 1, 8, tzinfo=UTC)
_FEATURE = "leg_late_30d"
_MEANING = "share of late arrivals of the leg over 30 days"


def _reason(effect: str) -> answers.Reason:
    return answers.Reason(feature=_FEATURE, value="0.42", contribution=0.61, text=f"{_MEANING}: 0.42, {effect}")


_REASON = _reason("raises the score")


def key_example(key: Key) -> str | int:
    """A value of the key's type."""
    return 15 if key.type == "integer" else "AB"


def key_examples(entity: Entity) -> dict[str, str | int]:
    """A whole key, as a batch request and an answer spell it."""
    return {key.name: key_example(key) for key in entity.keys}


def binary_prediction(table: str, entity: Entity) -> answers.Prediction:
    """What a single read of a binary table answers."""
    return answers.Prediction(
        table=table,
        key=key_examples(entity),
        version=7,
        as_of=_AS_OF,
        score=0.7312,
        decision="late",
        threshold=0.5,
        rank=31,
        reasons=(_REASON,),
    )


def class_prediction(table: str, entity: Entity, task: Classes) -> answers.ClassPrediction:
    """What a single read of a multiclass table answers: the first class is by far the likeliest."""
    rest = round(0.4 / (len(task.names) - 1), 4)
    first = round(1 - rest * (len(task.names) - 1), 4)
    return answers.ClassPrediction(
        table=table,
        key=key_examples(entity),
        version=7,
        as_of=_AS_OF,
        score=first,
        decision=task.names[0],
        probabilities={name: first if name == task.names[0] else rest for name in task.names},
        rank=31,
        reasons=(_reason(f"raises the chance of {task.names[0]}"),),
    )


def number_prediction(table: str, entity: Entity) -> answers.NumberPrediction:
    """What a single read of a regression table answers."""
    return answers.NumberPrediction(
        table=table,
        key=key_examples(entity),
        version=7,
        as_of=_AS_OF,
        score=1.0,
        rank=31,
        reasons=(_reason("raises the prediction"),),
    )


def class_explanation(table: str, entity: Entity, task: Classes) -> answers.ClassExplanation:
    """What an explanation of a class answers; its numbers add up."""
    plain = explanation(table, entity)
    return answers.ClassExplanation(
        table=table,
        key=plain.key,
        version=7,
        as_of=_AS_OF,
        score=class_prediction(table, entity, task).score,
        decision=task.names[0],
        margin=plain.margin,
        base_value=plain.base_value,
        contributions=plain.contributions,
    )


def explanation(table: str, entity: Entity) -> answers.Explanation:
    """What an explanation answers; its numbers add up."""
    contributions = (
        answers.Contribution(feature=_FEATURE, description=_MEANING, value=0.42, contribution=0.61),
        answers.Contribution(feature="wind", description="yesterday's wind at the origin, mph", value=17.3, contribution=0.52),
        answers.Contribution(feature="month", description="month of the as-of", value=7, contribution=0.11),
    )
    return answers.Explanation(
        table=table,
        key=key_examples(entity),
        version=7,
        as_of=_AS_OF,
        score=0.7312,
        margin=1.0,
        base_value=-0.24,
        contributions=contributions,
    )


def missed(table: str, entity: Entity) -> answers.Problem:
    """The problem of a key that a batch request asks for in vain."""
    key = encode_key(entity, list(key_examples(entity).values()))
    return answers.Problem(
        type=problems.UNKNOWN_KEY.uri,
        title=problems.UNKNOWN_KEY.title,
        status=problems.UNKNOWN_KEY.status,
        detail=f"{entity.name} '{key}' in table '{table}': expected an entity that version 7 was scored for, found none.",
    )


def version_list(table: str) -> answers.VersionList:
    """What a list of versions answers."""
    scores = (
        answers.HoldOut(who="contender", rows=6113, loss=0.5391, auc=0.689, note=""),
        answers.HoldOut(who="baseline", rows=6113, loss=0.5624, auc=0.611, note="trailing mean"),
    )
    version = answers.Version(
        version=7,
        as_of=_AS_OF,
        built_at=datetime(2013, 7, 1, 8, 4, 11, tzinfo=UTC),
        rows=912,
        passed=True,
        live=True,
        shadow=False,
        barred=False,
        reason="schedule",
        window=60,
        holdout=scores,
    )
    return answers.VersionList(table=table, release=42, versions=(version,))


def plain(answer: answers.Answer) -> Any:
    """As JSON would show it."""
    return msgspec.to_builtins(answer)
