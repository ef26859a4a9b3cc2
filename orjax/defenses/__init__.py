"""Defenses: what a server makes of a classifier's answers."""

from orjax.defenses.noise import inner_noise
from orjax.defenses.noise import no_defense
from orjax.defenses.noise import output_noise
from orjax.defenses.noise import with_output_noise

__all__ = ["inner_noise", "no_defense", "output_noise", "with_output_noise"]
