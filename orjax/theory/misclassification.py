"""How often output noise changes the answer (section 5.1)."""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special
from jax.scipy import stats

from orjax.factories import check_numbers
from orjax.factories import Limit
from orjax.theory.numbers import answers
from orjax.theory.numbers import checked
from orjax.theory.quadrature import integral


@checked
def misclassification_rate(
  margin, stddev, *, as_printed: bool = False, rival_stddev=None, mean=0.0, rival_mean=0.0
) -> jax.Array:
  """Probability that one rival overtakes the top class under output noise (section 5.1).

  Phi((-margin + rival_mean - mean) / sqrt(stddev^2 + rival_stddev^2)).

  Args:
    margin: p_top - p_i, any shape.
    stddev: of the noise on the top class, above 0.
    as_printed: divides by the variance stddev^2 + rival_stddev^2 instead, with the signs
      of the printed last line, -margin - rival_mean + mean (i is the rival, m the top).
    rival_stddev: of the noise on the rival; the same by default.
    mean: of the noise on the top class.
    rival_mean: of the noise on the rival.

  Returns:
    The rate, of the broadcast shape.
  """
  rival_stddev = stddev if rival_stddev is None else rival_stddev
  variance = jnp.square(stddev) + jnp.square(rival_stddev)
  if as_printed:
    return special.ndtr((-margin - rival_mean + mean) / variance)
  return special.ndtr((-margin + rival_mean - mean) / jnp.sqrt(variance))


@checked
def allowed_stddev(margin, misclassification_rate, *, as_printed: bool = False) -> jax.Array:
  """Largest stddev at which one rival overtakes at most so often (section 5.1, Figure 1b).

  stddev = -margin / (sqrt(2) z) with z = Phi^-1(rate) < 0.

  Args:
    margin: p_top - p_i, any shape.
    misclassification_rate: wanted, in (0, 1/2). For a bound over all K - 1 rivals pass a
      (K - 1)th of it; `calibrate` is exact.
    as_printed: stddev^2 = -margin / (2 z), which is margin^2 / (2 z^2) times |z| / margin:
      too much noise for every rate below 0.159.

  Returns:
    The stddev, of the broadcast shape.
  """
  check_numbers("misclassification_rate", misclassification_rate, Limit(above=0, below=0.5))
  check_numbers("margin", margin, Limit(low=0))
  z = special.ndtri(misclassification_rate)
  return jnp.sqrt(-margin / (2 * z)) if as_printed else -margin / (math.sqrt(2) * z)


@checked
def margins(probs) -> jax.Array:
  """p_top - p_i of every rival: [..., K] -> [..., K - 1], ascending."""
  ordered = jnp.sort(answers(probs), axis=-1)[..., ::-1]
  return ordered[..., :1] - ordered[..., 1:]


@checked
def union_bound(probs, stddev) -> jax.Array:
  """Sum over rivals of their single rates: a bound on the error, perhaps above 1.

  Args:
    probs: [..., K].
    stddev: [...] or [].

  Returns:
    The bound, [...].
  """
  return misclassification_rate(margins(probs), jnp.asarray(stddev)[..., None]).sum(-1)


@checked
def exact_misclassification_rate(probs, stddev) -> jax.Array:
  """Probability that any rival overtakes: what section 5.1 bounds by one term of a sum.

  1 - E_u prod_i Phi(margin_i / stddev + u), u ~ N(0, 1), by quadrature; relative accuracy
  holds in the tail, as the product is summed as logs.

  Args:
    probs: [..., K]; the top class is whichever is largest.
    stddev: [...] or []; at 0 the rate is 0.

  Returns:
    The rate, [...].
  """
  gaps = margins(probs)
  stddev = jnp.broadcast_to(jnp.asarray(stddev, gaps.dtype), gaps.shape[:-1])

  def one(arguments):
    gaps, stddev = arguments
    # A tie without noise is won by whom argmax takes: that is no error of the noise.
    scaled = jnp.where(stddev > 0, gaps / jnp.where(stddev > 0, stddev, 1), jnp.inf)

    def error_density(u):
      log_survival = stats.norm.logcdf(scaled[None] + u[:, None]).sum(-1)
      return -jnp.expm1(log_survival) * stats.norm.pdf(u)

    return integral(error_density, -14.0, 14.0, 225, scaled.dtype)

  flat = jax.lax.map(one, (gaps.reshape(-1, gaps.shape[-1]), stddev.reshape(-1)), batch_size=256)
  return flat.reshape(stddev.shape)


@checked
def calibrate(
  probs, misclassification_rate, *, per_image: bool = False, per_class: bool = False
) -> jax.Array:
  """The largest stddev that keeps the exact misclassification rate.

  Misclassified means: the noisy answer's class is not the class of `probs` (section 5.1's
  first condition), whatever the label.

  Args:
    probs: [N, K] of a data set, or [..., K] with `per_image`.
    misclassification_rate: wanted; as noise grows the rate tends to 1 - 1/K. With
      `per_class` it may be [K], one for each named class.
    per_image: one stddev for every row, for a server that adapts its noise to its own
      answer; otherwise the one that keeps the mean rate.
    per_class: one stddev for all rows that name the same class, which keeps their mean
      rate, for a server that adapts its noise to the class that it names.

  Returns:
    The stddev: [...] with `per_image`, [K] with `per_class`, else []. Infinity where no
    noise exceeds the rate, such as for a class that no row names.

  Raises:
    ValueError: both `per_image` and `per_class`.
  """
  if per_image and per_class:
    raise ValueError("calibrate per_image or per_class, not both")
  probs = answers(probs)
  shape = probs.shape[:-1] if per_image else probs.shape[-1:] if per_class else ()
  one = jnp.ones(shape, probs.dtype)
  named = probs.argmax(-1)

  def rate(log_stddev):
    stddev = jnp.exp(log_stddev)
    rates = exact_misclassification_rate(probs, stddev[named] if per_class else stddev)
    if per_class:
      count = jnp.zeros_like(one).at[named].add(1)
      return jnp.zeros_like(one).at[named].add(rates) / jnp.maximum(count, 1)
    return rates if per_image else rates.mean()

  # The rate grows with stddev: bisect its logarithm, between noise that the smallest
  # margins of the dtype stand and noise that drowns any probability.
  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) / 2
    kept = rate(middle) <= misclassification_rate
    return jnp.where(kept, middle, low), jnp.where(kept, high, middle)

  low, high = -40 * one, 12 * one
  found, _ = jax.lax.fori_loop(0, 32 if probs.dtype == jnp.float32 else 60, halve, (low, high))
  return jnp.where(rate(high) <= misclassification_rate, jnp.inf, jnp.exp(found))
