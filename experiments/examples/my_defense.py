"""Your own defense: answers rounded to so many digits.

    python experiments/blackbox_attacks.py --defense=experiments/examples/my_defense.py:factory \\
        --strength=0 --strength=1
"""

import jax.numpy as jnp

from orjax.threats import Defense
from orjax.types import Oracle


def rounded(oracle, setting):
  """Answers with `digits` digits behind the point; strength 0 keeps them all."""

  def query(key, images):
    answers = oracle.query(key, images)
    scale = setting["scale"]
    return jnp.where(scale > 0, jnp.round(answers * scale) / jnp.maximum(scale, 1), answers)

  return Oracle(query, oracle.queries_per_row)


def factory():
  """What --defense wants."""
  settings = lambda digits: {"scale": 10.0**digits if digits else 0.0}
  return Defense("rounded", rounded, settings, axis="digits of an answer", default=(0, 2, 1))
