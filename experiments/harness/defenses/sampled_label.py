"""A class drawn by the probabilities."""

from orjax import defenses

DEFENSE = defenses.sampled_label
