"""Gaussian noise: on the answers, which is the paper's defense, and inside the network."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from orjax.factories import check_numbers
from orjax.factories import factory
from orjax.factories import Limit
from orjax.precision import full_precision
from orjax.threats import Defense
from orjax.types import Oracle

_DRAW_MULTIPLE = 128


def with_output_noise(oracle: Oracle, stddev: ArrayLike, *, mean: ArrayLike = 0.0) -> Oracle:
  """Adds Gaussian noise to every answer: the paper's defense (section 5).

  d(p) = p + eps, eps ~ N(mean, Sigma), drawn anew for every row of every query. As in
  the paper the answer is neither clipped nor renormalised.

  Args:
    oracle: what is defended.
    stddev: scalar; or one per class [K]; or a factor L [K, K] of the covariance
      Sigma = L L^T. May be traced.
    mean: scalar or [K].

  Returns:
    An `Oracle`, a pure function of the key; with stddev and mean 0 it answers exactly
    what `oracle` does.

  Raises:
    ValueError: `stddev` has more than two axes; when asked, it or the mean is no number that
      noise can have.
  """
  stddev = jnp.asarray(stddev, jnp.float32)
  if stddev.ndim > 2:
    raise ValueError(f"stddev must be [], [K] or [K, K], not of shape {stddev.shape}")

  def query(key, images):
    check_numbers("stddev", stddev, Limit(low=0) if stddev.ndim < 2 else Limit())
    check_numbers("mean", mean, Limit())
    inner_key, noise_key = jax.random.split(key)
    answers = oracle.query(inner_key, images)
    # Drawn flat, which is several times faster under vmap, and padded: an odd size may
    # round its last entries differently.
    size = answers.size + -answers.size % _DRAW_MULTIPLE
    noise = jax.random.normal(noise_key, (size,), jnp.float32)[: answers.size]
    noise = noise.reshape(answers.shape)
    with full_precision():
      noise = (
        noise @ stddev.T if stddev.ndim == 2 else noise * jnp.broadcast_to(stddev, noise.shape)
      )
    shift = jnp.broadcast_to(jnp.asarray(mean, jnp.float32), noise.shape)
    return answers + (noise + shift).astype(answers.dtype)

  return Oracle(query, oracle.queries_per_row)


def _check_strength(what, value):
  if not 0 <= value < math.inf:
    raise ValueError(f"the {what} must be 0 or more and finite, not {value}")


@factory
def no_defense() -> Defense:
  """The classifier's own answers: the control of every experiment."""

  def settings(strength):
    if strength:
      raise ValueError(f"an undefended model has the strength 0 only, not {strength}")
    return {}

  return Defense("none", lambda oracle, setting: oracle, settings)


@factory
def output_noise() -> Defense:
  """Output randomization, the paper's defense, swept over the variance of its noise."""

  def settings(variance):
    _check_strength("noise variance", variance)
    return {"stddev": math.sqrt(variance)}

  return Defense(
    "output_noise",
    lambda oracle, setting: with_output_noise(oracle, setting["stddev"]),
    settings,
    axis="noise variance",
    default=(0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1),
  )


@factory
def inner_noise() -> Defense:
  """Gaussian noise inside the network, after its convolutions, swept over its stddev.

  For an oracle with an `inside`: see `oracles.from_predict`.

  References:
    Liu et al. (2018), Random Self-Ensemble.
  """

  def wrap(oracle, setting):
    if oracle.inside is None:
      raise ValueError(
        "this classifier has no place for noise inside it: build the network with a "
        "noise_location and pass from_predict(noisy=), before anything wraps the oracle"
      )
    return oracle.inside(setting["stddev"])

  def settings(stddev):
    _check_strength("stddev of the noise", stddev)
    return {"stddev": float(stddev)}

  return Defense(
    "inner_noise",
    wrap,
    settings,
    axis="stddev inside the network",
    default=(0.0, 0.01, 0.03, 0.1, 0.3),
  )
