"""Probabilities rounded to so many digits."""

from orjax import defenses

DEFENSE = defenses.rounded
