"""Algorithms: every file here that has no leading underscore is a training command."""

from tutelage.algorithms._base import Algorithm, Parts, TrainConfig
from tutelage.algorithms._watch import WatchRule

__all__ = ["Algorithm", "Parts", "TrainConfig", "WatchRule"]
