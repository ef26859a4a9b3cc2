"""The largest probabilities alone."""

from orjax import defenses

DEFENSE = defenses.top_k
