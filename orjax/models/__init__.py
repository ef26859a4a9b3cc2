"""Classifiers as pairs of pure functions; the only package that knows Flax."""

from orjax.models.build import Classifier
from orjax.models.build import build
from orjax.models.build import names

__all__ = ["Classifier", "build", "names"]
