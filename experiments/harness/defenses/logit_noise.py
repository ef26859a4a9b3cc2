"""Gaussian noise on the logits (oRND)."""

from orjax import defenses

DEFENSE = defenses.logit_noise
