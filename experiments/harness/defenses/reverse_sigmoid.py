"""Probabilities bent by a reversed sigmoid, which mislead where they look flat."""

from orjax import defenses

DEFENSE = defenses.reverse_sigmoid
