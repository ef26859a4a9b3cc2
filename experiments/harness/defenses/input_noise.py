"""Gaussian noise on the image (RND)."""

from orjax import defenses

DEFENSE = defenses.input_noise
