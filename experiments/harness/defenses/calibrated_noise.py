"""Output noise whose strength is the share of answers that it may change."""

from orjax import defenses

DEFENSE = defenses.calibrated_noise
