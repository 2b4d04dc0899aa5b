"""Features: the port through which a run gets them, Feast behind it, and the training set kept on disk."""

from pipelines.features.feast_source import FeastFeatures
from pipelines.features.port import FeatureSource
from pipelines.features.training_set import TrainingSet, training_set

__all__ = ["FeastFeatures", "FeatureSource", "TrainingSet", "training_set"]
