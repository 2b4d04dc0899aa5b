"""Training that stands on the live model: a warm start adds trees to it, a refresh gives its trees new leaves.

The live model itself has seen the labels of the search's blocks and of the hold-out: judged there it would be praised for
remembering. There it is replaced by its recipe, fitted as long before the block's cut-off as the live model is older than
this run. Only the model that is released stands on the live one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_scoring.domain import Column, Training
from batch_scoring.scoring import encode

if TYPE_CHECKING:
    from batch_scoring.search_plan import Mode
    from pipelines.training.fit import TrainingData


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The live version's model, as far as a comparison needs it. ``version``: its number, 0 when it has none."""

    model: bytes
    features: tuple[Column, ...]
    training: Training
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What there is to go on from.

    Attributes:
        data: the training data with the live model's categories first, so that its codes keep their meaning.
        age: from the live model's cut-off to this run's.
    """

    champion: Champion
    data: TrainingData
    age: timedelta


def continuation(data: TrainingData, champion: Champion | None, as_of: datetime, modes: tuple[Mode, ...]) -> Continuation | None:
    """What warm starts and refreshes can stand on; None when none is asked for or the live model has other features."""
    if champion is None or set(modes) <= {"scratch"}:
        return None
    if _shape(champion.features) != _shape(data.features) or champion.training.cutoff >= as_of:
        return None
    features = tuple(map(_merged, champion.features, data.features))
    if features == data.features:
        aligned = data
    else:
        matrix = encode(data.frame.select(feature.name for feature in features).to_arrow(), features)
        aligned = replace(data, matrix=matrix, features=features)
    return Continuation(champion=champion, data=aligned, age=as_of - champion.training.cutoff)


def _merged(before: Column, now: Column) -> Column:
    added = tuple(value for value in now.categories if value not in before.categories)
    return replace(now, categories=before.categories + added)


def _shape(features: tuple[Column, ...]) -> list[Any]:
    return [(feature.name, feature.type) for feature in features]
