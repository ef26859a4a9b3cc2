"""Noise on the image where the answer about it is not sure."""

from orjax import defenses

DEFENSE = defenses.confidence_gate
