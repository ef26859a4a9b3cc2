"""Defenses: what a server makes of a classifier's answers."""

from orjax.defenses.noise import with_output_noise

__all__ = ["with_output_noise"]
