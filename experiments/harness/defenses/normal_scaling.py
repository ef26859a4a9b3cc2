"""Logits times a random number, drawn from a normal distribution."""

from orjax import defenses

DEFENSE = defenses.normal_scaling
