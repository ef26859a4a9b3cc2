"""Logits times a random number (random logit scaling)."""

from orjax import defenses

DEFENSE = defenses.random_scaling
