"""Noise on the logits of answers that are not sure (Boundary Defense)."""

from orjax import defenses

DEFENSE = defenses.boundary_noise
