"""Output randomization, the defense of the paper: Gaussian noise on the answers."""

import jax
import jax.numpy as jnp

from orjax.precision import full_precision
from orjax.types import Oracle

_DRAW_MULTIPLE = 128


def with_output_noise(oracle: Oracle, stddev: jax.Array, *, mean: jax.Array = 0.0) -> Oracle:
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
    ValueError: `stddev` has more than two axes.
  """
  stddev = jnp.asarray(stddev, jnp.float32)
  if stddev.ndim > 2:
    raise ValueError(f"stddev must be [], [K] or [K, K], not of shape {stddev.shape}")

  def query(key, images):
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
