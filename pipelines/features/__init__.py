"""Features: the port through which a run gets them, Feast behind it, and the training sets kept on disk."""

from pipelines.features.feast_source import FeastFeatures
from pipelines.features.port import FeatureSource, ViewDefinition
from pipelines.features.retrieved import retrieved_examples
from pipelines.features.training_set import Planned, TrainingSet, plan_history, training_set

__all__ = [
    "FeastFeatures",
    "FeatureSource",
    "Planned",
    "TrainingSet",
    "ViewDefinition",
    "plan_history",
    "retrieved_examples",
    "training_set",
]
