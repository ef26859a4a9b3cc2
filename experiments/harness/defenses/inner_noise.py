"""Gaussian noise after convolutions, in a network with a place for it."""

from orjax import defenses

DEFENSE = defenses.inner_noise
