"""Gaussian noise on the logits."""

import jax

from orjax.defenses.rows import check_strength
from orjax.defenses.rows import noisy_logits
from orjax.defenses.rows import on_each_row
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def with_logit_noise(oracle: Oracle, stddev: jax.Array) -> Oracle:
  """Adds Gaussian noise to the logits: softmax(z + stddev eps), eps ~ N(0, I).

  As z = log p up to a shift, it is softmax(log p + stddev eps): p_i e^(stddev eps_i),
  renormalised. The noise is fresh in every answer; row i of a query draws it from a key of
  its own, whatever the other rows.

  The user gets a probability distribution whose log-ratios are off by stddev sqrt(2). The
  label changes where the top two logits are not much further apart: noise of stddev 1 is
  nothing to a network with logits of 40, and all to a calibrated one.

  An attacker's margin of log p carries noise of stddev sqrt(2) whatever the probabilities, so
  that averaging the logs, a larger step and any loss with a wide range of logits undo it.

  Args:
    oracle: what is defended.
    stddev: scalar, or one per class [K]; may be traced.

  Returns:
    An `Oracle`, a pure function of the key; with stddev 0 it answers exactly what `oracle`
    does.

  References:
    The baseline of Chen et al. (2022), Adversarial Attack on Attackers: stddev 1 on
    networks that were trained as usual, 0.3 on robust ones.
  """

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    answers = oracle.query(inner_key, images)
    return on_each_row(lambda key, row: noisy_logits(key, row, stddev), answers, noise_key)

  return Oracle(query, oracle.queries_per_row)


@factory
def logit_noise() -> Defense:
  """Gaussian noise on the logits, swept over its stddev."""

  def settings(stddev):
    check_strength("stddev of the logits", stddev)
    return {"stddev": float(stddev)}

  return Defense(
    "logit_noise",
    lambda oracle, setting: with_logit_noise(oracle, setting["stddev"]),
    settings,
    axis="stddev of the logits",
    default=(0.0, 0.1, 0.3, 1.0, 3.0),
  )
