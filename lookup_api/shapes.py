"""Which shapes a table answers in: the one place of this package that asks what its task is. With examples, which are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from batch_scoring.declare import Binary, Classes, Number
from batch_scoring.domain import Draft
from lookup_api import answers, examples

_AS_OF = datetime(2013, 7, 1, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """An example of each answer that depends on a table's task; its class is the shape."""

    prediction: answers.Prediction | answers.ClassPrediction | answers.NumberPrediction
    explanation: answers.Explanation | answers.ClassExplanation
    lookup: answers.LookupAnswer | answers.ClassLookupAnswer | answers.NumberLookupAnswer


def shapes_of(draft: Draft) -> Shapes:
    """The shapes of the answers about one table."""
    table, entity, missed = draft.table, draft.entity, examples.missed(draft.table, draft.entity)
    match draft.task:
        case Binary():
            answer = examples.binary_prediction(table, entity)
            found = (answers.Result(status=200, prediction=answer), answers.Result(status=404, problem=missed))
            return Shapes(
                prediction=answer,
                explanation=examples.explanation(table, entity),
                lookup=answers.LookupAnswer(table=table, release=42, version=7, as_of=_AS_OF, results=found),
            )
        case Classes() as task:
            of_class = examples.class_prediction(table, entity, task)
            classes = (answers.ClassResult(status=200, prediction=of_class), answers.ClassResult(status=404, problem=missed))
            return Shapes(
                prediction=of_class,
                explanation=examples.class_explanation(table, entity, task),
                lookup=answers.ClassLookupAnswer(table=table, release=42, version=7, as_of=_AS_OF, results=classes),
            )
        case Number():
            number = examples.number_prediction(table, entity)
            numbers = (answers.NumberResult(status=200, prediction=number), answers.NumberResult(status=404, problem=missed))
            return Shapes(
                prediction=number,
                explanation=examples.explanation(table, entity),
                lookup=answers.NumberLookupAnswer(table=table, release=42, version=7, as_of=_AS_OF, results=numbers),
            )
        case _:
            assert_never(draft.task)
