"""The paper's defense: Gaussian noise on the probabilities."""

from orjax import defenses

DEFENSE = defenses.output_noise
