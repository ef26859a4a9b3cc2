"""Classifiers as pairs of pure functions; the only package that knows Flax."""

from orjax.models.build import build
from orjax.models.build import Classifier
from orjax.models.build import names
from orjax.models.build import torchvision_names
from orjax.models.torchvision import load as load_torchvision

__all__ = ["Classifier", "build", "load_torchvision", "names", "torchvision_names"]
