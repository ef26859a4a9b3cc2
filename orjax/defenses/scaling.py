"""Random logit scaling: every answer at a temperature of its own."""

import jax
import jax.numpy as jnp

from orjax.defenses.rows import check_strength
from orjax.defenses.rows import keep_label
from orjax.defenses.rows import logits
from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import softmax
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def _scaled(oracle, draw_factor):
  def scale(key, row):
    factor = draw_factor(key).astype(row.dtype)
    scaled = keep_label(row, softmax(factor * logits(row)))
    return jnp.where(factor == 1, row, scaled)

  def query(key, images):
    inner_key, factor_key = jax.random.split(key)
    return on_each_row(scale, oracle.query(inner_key, images), factor_key)

  return Oracle(query, oracle.queries_per_row)


def with_random_scaling(
  oracle: Oracle, *, low: jax.Array | float = 0.5, high: jax.Array | float = 10.0
) -> Oracle:
  """Multiplies the logits of every answer by a random factor: softmax(m z), m ~ U(low, high).

  As z = log p up to a shift, it is softmax(m log p): p_i^m, renormalised. One factor is
  drawn for a row, from a key of its own.

  The user keeps every label and the order of the classes (up to ties by rounding, which the
  top class wins), while the confidence means nothing anymore.

  A factor cancels in every ratio of differences of log p: DLR, (log p_c - log p_i) / (log
  p_1 - log p_3), computed of the answers, is free of noise. So is the label, and with it
  every attack that needs no more. With two classes no such ratio exists, but the noise is
  proportional to the margin and vanishes at the boundary.

  Args:
    oracle: what is defended.
    low: smallest factor, above 0; may be traced.
    high: largest factor, at least `low`; may be traced.

  Returns:
    An `Oracle`, a pure function of the key; where both are 1 it answers exactly what
    `oracle` does.

  References:
    Dashtbani et al. (2026), Random Logit Scaling.
  """
  return _scaled(
    oracle, lambda key: jax.random.uniform(key, (), jnp.float32, minval=low, maxval=high)
  )


@factory
def random_scaling() -> Defense:
  """Random logit scaling, swept from no scaling (0) to the published U(0.5, 10) (1).

  The factor is U(0.5^s, 10^s) at the strength s. No strength costs accuracy, so that there is
  none to calibrate.
  """

  def settings(power):
    check_strength("power of the range", power)
    return {"low": 0.5**power, "high": 10.0**power}

  return Defense(
    "random_scaling",
    lambda oracle, setting: with_random_scaling(oracle, **setting),
    settings,
    axis="power of the published range",
    default=(0.0, 0.5, 1.0),
  )


def with_normal_scaling(
  oracle: Oracle,
  stddev: jax.Array | float = 100.0,
  *,
  mean: jax.Array | float = 1.0,
  smallest: jax.Array | float = 0.2,
) -> Oracle:
  """As `with_random_scaling`, with a factor from N(mean, stddev^2) cut off below `smallest`.

  Draws below `smallest` are redrawn (the published description does not say whether they
  are that or clipped). As most factors are tens, most answers are one-hot in float32: of
  these, every difference of log p is lost, and repeats bring out the few small factors.

  Args:
    oracle: what is defended.
    stddev: of the normal before the cut; may be traced.
    mean: of the normal before the cut, above `smallest`; may be traced.
    smallest: factor, above 0; may be traced.

  Returns:
    An `Oracle`, a pure function of the key; with mean 1 and stddev 0 it answers exactly
    what `oracle` does.

  References:
    The Gaussian variant in the code of Dashtbani et al. (2026), Random Logit Scaling.
  """
  mean, stddev = jnp.float32(mean), jnp.float32(stddev)

  def draw_factor(key):
    lowest = jnp.where(stddev > 0, (smallest - mean) / stddev, -1)
    draw = jax.random.truncated_normal(key, lowest, jnp.inf, (), jnp.float32)
    return mean + whole(stddev * whole(draw))

  return _scaled(oracle, draw_factor)


@factory
def normal_scaling() -> Defense:
  """The normal variant of random logit scaling, swept over the stddev of the factor."""

  def settings(stddev):
    check_strength("stddev of the factor", stddev)
    return {"stddev": float(stddev)}

  return Defense(
    "normal_scaling",
    lambda oracle, setting: with_normal_scaling(oracle, setting["stddev"]),
    settings,
    axis="stddev of the factor",
    default=(0.0, 1.0, 10.0, 100.0),
  )
