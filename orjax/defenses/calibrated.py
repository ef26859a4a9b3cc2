"""Output noise with a level per class, from the misclassification rate that users accept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy import special
import numpy as np

from orjax.defenses.rows import gaussian
from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def with_calibrated_noise(oracle: Oracle, rate: jax.Array) -> Oracle:
  """Adds to every class as much noise as its own margin allows (section 5.1, K per class).

  p_i + sigma_i eps_i, where a rival at the margin delta_i = p_top - p_i overtakes with
  probability K_i: sigma_i^2 + sigma_top^2 = (delta_i / z_i)^2, z_i = Phi^-1(K_i) < 0, the
  corrected form of section 5.1 (the printed one has -delta_i / 2 z_i). The top class takes
  half of the smallest of these variances, so that its closest rival has as much noise as
  itself. The noise is fresh in every answer, a row's own.

  The user's label is wrong with a probability of at most `rate` on every image, near and
  far from the boundary, and exactly `rate` where there are two classes. The answer is
  neither clipped nor renormalised, and far classes carry much noise.

  As the noise shrinks with the margin, an attacker who comes near the boundary has the same
  signal to noise there as anywhere: he reads the label rightly 1 - rate of the time, at any
  distance. The level of the noise, seen in repeats, is the margin itself.

  Args:
    oracle: what is defended.
    rate: a scalar: of all rivals together, in equal shares K_i with 1 - (1 - K_i)^(K - 1) =
      rate; or [K]: K_i of each class as a rival. Each K_i is in [0, 1/2); beyond, answers
      are NaN. May be traced.

  Returns:
    An `Oracle`, a pure function of the key; with rate 0 it answers exactly what `oracle`
    does.
  """
  rate = jnp.asarray(rate, jnp.float32)

  def noisy(key, row):
    shares = rate
    if rate.ndim == 0:
      shares = -jnp.expm1(jnp.log1p(-rate) / (row.shape[-1] - 1))
    per_margin = whole(jnp.broadcast_to(-1 / special.ndtri(shares), row.shape).astype(row.dtype))
    is_top = jnp.arange(row.shape[-1]) == row.argmax(-1)
    variance = whole(jnp.square(whole((row.max(-1) - row) * per_margin)))
    top_variance = jnp.min(jnp.where(is_top, jnp.inf, variance)) / 2
    variance = jnp.where(is_top, top_variance, variance - top_variance)
    noise = whole(jnp.sqrt(variance) * gaussian(key, row.shape, row.dtype))
    return row + jnp.where((shares < 0.5).all(), noise, jnp.nan)

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    return on_each_row(noisy, oracle.query(inner_key, images), noise_key)

  return Oracle(query, oracle.queries_per_row)


def _check_rate(rate):
  if not 0 <= rate < 0.5:
    raise ValueError(f"the misclassification rate must be from 0 to below 0.5, not {rate}")


@factory
def calibrated_noise() -> Defense:
  """Noise per class and answer, swept over the misclassification rate that it may cost."""

  def settings(rate):
    _check_rate(rate)
    return {"rate": float(rate)}

  return Defense(
    "calibrated_noise",
    lambda oracle, setting: with_calibrated_noise(oracle, setting["rate"]),
    settings,
    axis="misclassification rate",
    default=(0.0, 1e-3, 1e-2, 0.05, 0.1),
  )


def with_class_noise(oracle: Oracle, stddev: jax.Array) -> Oracle:
  """Adds output noise whose level depends on the class that the answer names.

  p + sigma_c eps, c = argmax p, eps ~ N(0, I) fresh in every answer, a row's own: a server
  may be cautious where two classes are often confused, and bold elsewhere. As the paper's
  noise it is neither clipped nor renormalised, and averaging undoes it.

  Args:
    oracle: what is defended.
    stddev: one per named class [K], finite; such as `theory.calibrate(probs, rate,
      per_class=True)` gives for the answers [N, K] of a data set. May be traced.

  Returns:
    An `Oracle`, a pure function of the key; with stddev 0 it answers exactly what `oracle`
    does.

  Raises:
    ValueError: the answers have another number of classes.
  """
  stddev = jnp.asarray(stddev, jnp.float32)

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    answers = oracle.query(inner_key, images)
    if stddev.shape != answers.shape[1:]:
      raise ValueError(
        f"stddev must have one number for each of the {answers.shape[-1]} classes, not the "
        f"shape {stddev.shape}"
      )

    def noisy(key, row):
      own = stddev[row.argmax(-1)].astype(row.dtype)
      return row + whole(own * gaussian(key, row.shape, row.dtype))

    return on_each_row(noisy, answers, noise_key)

  return Oracle(query, oracle.queries_per_row)


@factory
def class_noise(calibrate: Callable[[float], jax.Array]) -> Defense:
  """Output noise with a level per named class, swept over the misclassification rate.

  Args:
    calibrate: from a rate to stddevs [K], such as
      `lambda rate: theory.calibrate(probs, rate, per_class=True)`.

  Returns:
    A `Defense`; a class for which no noise exceeds the rate gets a stddev of 1e6.
  """

  def settings(rate):
    _check_rate(rate)
    stddev = np.minimum(np.asarray(calibrate(rate or 0.01), np.float32), 1e6)
    if not (stddev >= 0).all():
      raise ValueError(f"calibrate({rate}) must give stddevs of 0 or more, not {stddev}")
    return {"stddev": stddev if rate else np.zeros_like(stddev)}

  return Defense(
    "class_noise",
    lambda oracle, setting: with_class_noise(oracle, setting["stddev"]),
    settings,
    axis="misclassification rate",
    default=(0.0, 1e-3, 1e-2, 0.05, 0.1),
  )
