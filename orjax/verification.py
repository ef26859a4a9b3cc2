"""The verdict on what an attack handed in."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.precision import full_precision
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.types import Oracle


class Verdict(NamedTuple):
  """Beside what the attack claimed.

  Attributes:
    clean_success: the undefended model is fooled by the adversarial image, bool [].
    defended_success_rate: share of fresh answers of the defended model that are, [];
      `theory.resubmission_rate` of it is resubmit@n: that one of n submissions is.
    noise_error_rate: the same share for the clean image: the false-alarm base line, [].
    finite: all of these answers are numbers; if not, the rest says nothing, bool [].
  """

  clean_success: jax.Array
  defended_success_rate: jax.Array
  noise_error_rate: jax.Array
  finite: jax.Array


def verify(
  key: Key,
  clean: Oracle,
  defended: Oracle,
  objective: Objective,
  example: Example,
  adversarial: jax.Array,
  num_draws: int,
) -> Verdict:
  """Judges one adversarial image.

  Args:
    key: consumed.
    clean: the undefended model.
    defended: the server, without anything that an attacker does.
    objective: whose `achieved` is the test: not the label, or the target.
    example: what was attacked.
    adversarial: what was handed in [H, W, C].
    num_draws: fresh answers per image.

  Returns:
    A `Verdict`.
  """
  with full_precision():
    images = jnp.stack([adversarial, example.image])
    # The undefended model may be random, too: noise inside it.
    rows = clean.query(jax.random.fold_in(key, num_draws), images)
    draws = jax.vmap(defended.query, in_axes=(0, None))(jax.random.split(key, num_draws), images)
  achieved = jax.vmap(objective.achieved, in_axes=(0, None))
  rates = jax.vmap(achieved, in_axes=(0, None))(draws, example.label).mean(0)
  finite = jnp.isfinite(rows).all() & jnp.isfinite(draws).all()
  return Verdict(achieved(rows, example.label)[0], rates[0], rates[1], finite)
