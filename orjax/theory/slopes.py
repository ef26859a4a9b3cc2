"""What output noise does to an estimated gradient (section 5.2)."""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special
from jax.scipy import stats

from orjax.theory.numbers import checked
from orjax.theory.quadrature import integral
from orjax.types import LOG_FLOOR


@checked
def noisy_log_moments(probability, stddev) -> tuple[jax.Array, jax.Array]:
  """Mean and variance of log(max(p + eps, 0) + 1e-30), eps ~ N(0, stddev^2).

  Without a rule for p + eps <= 0 neither exists, and the paper has none; this is the
  clamp of `objectives.log_margin`. By quadrature.

  Args:
    probability: p > 0, any shape.
    stddev: above 0; broadcasts.

  Returns:
    The mean and the variance, of the broadcast shape.
  """
  shift, variance = _log_moments(probability, stddev)
  return jnp.log(probability) + shift, variance


def _log_moments(probability, stddev):
  """Of log(x / probability): no small difference of large logarithms appears."""
  p, stddev = jnp.broadcast_arrays(*jax.tree.map(jnp.asarray, (probability, stddev)))
  mean, variance = jax.vmap(_log_moments_of_one)(p.reshape(-1), stddev.reshape(-1))
  return mean.reshape(p.shape), variance.reshape(p.shape)


def _log_moments_of_one(p, stddev):
  ratio = p / stddev
  far = ratio > 13  # no mass at or below 0, and the logarithm is smooth
  safe = jnp.where(far, ratio, 13)

  def smooth(power):
    return integral(
      lambda u: jnp.log1p(u / safe) ** power * stats.norm.pdf(u), -12.0, 12.0, 385, p.dtype
    )

  def clamped(power):
    # x = stddev e^y makes the logarithm linear; below e^-30 stddev there is no mass.
    density = lambda y: jnp.exp(y + stats.norm.logpdf(jnp.exp(y) - ratio))
    above = integral(
      lambda y: (y - jnp.log(ratio)) ** power * density(y), -30.0, 4.0, 2177, p.dtype
    )
    return above + special.ndtr(-ratio) * (math.log(LOG_FLOOR) - jnp.log(p)) ** power

  first, second = (jnp.where(far, smooth(n), clamped(n)) for n in (1, 2))
  return first, second - first**2


@checked
def log_slope_error(plus, minus, stddev, spacing) -> tuple[jax.Array, jax.Array]:
  """Error of a finite-difference slope of log p_c - log p_o under output noise.

  With a fixed rival and without the hinge, under the clamp of `noisy_log_moments`. An
  attacker who averages n answers before the log has stddev / sqrt(n).

  Args:
    plus: (p_c, p_o) at x + h e_i: the true class and its rival.
    minus: (p_c, p_o) at x - h e_i.
    stddev: of the noise.
    spacing: h.

  Returns:
    The bias E[gamma] - g and the standard deviation of gamma. The bias stays finite as h
    falls; the standard deviation grows as 1 / h: it is what stops the attack.
  """
  true, other, true_minus, other_minus = (_log_moments(p, stddev) for p in (*plus, *minus))
  bias = true[0] - other[0] - true_minus[0] + other_minus[0]
  variance = true[1] + other[1] + true_minus[1] + other_minus[1]
  return bias / (2 * spacing), jnp.sqrt(variance) / (2 * spacing)


@checked
def expanded_log_slope_bias(plus, minus, stddev, spacing, *, as_printed: bool = False) -> jax.Array:
  """|Bias| of that slope to second order in stddev (section 5.2); for stddev << p only.

  (stddev^2 / 4h) |1/p_o^2 - 1/p_c^2 - 1/p'_o^2 + 1/p'_c^2|.

  Args:
    plus: (p_c, p_o) at x + h e_i.
    minus: (p'_c, p'_o) at x - h e_i.
    stddev: of the noise.
    spacing: h.
    as_printed: with the cross terms stddev^2 / (p'_c^2 p_o^2) and stddev^2 / (p_c^2 p'_o^2),
      which come of expanding products whose logarithm separates.

  Returns:
    The absolute bias.
  """
  (c, o), (c_minus, o_minus) = plus, minus
  if as_printed:
    terms = (stddev**2 + o**2 + c_minus**2) / (c_minus**2 * o**2) - (
      stddev**2 + o_minus**2 + c**2
    ) / (c**2 * o_minus**2)
  else:
    terms = 1 / o**2 - 1 / c**2 - 1 / o_minus**2 + 1 / c_minus**2
  return stddev**2 / (4 * spacing) * jnp.abs(terms)


@checked
def margin_slope_error(stddev, spacing) -> tuple[jax.Array, jax.Array]:
  """As `log_slope_error` for the linear margin p_c - p_o: no bias, and stddev / h.

  With a fixed rival, as in section 5.2, whose bias is the logarithm's and not the
  defense's. The largest of several noisy rivals is biased upwards, alike at both points.
  """
  deviation = jnp.asarray(stddev) / spacing
  return jnp.zeros_like(deviation), deviation


@checked
def nes_slope_deviation(loss_stddev, smoothing, num_pairs) -> jax.Array:
  """Standard deviation per entry that output noise adds to `estimators.nes`.

  Args:
    loss_stddev: of one loss: sqrt(2) stddev for the linear margin.
    smoothing: the search scale.
    num_pairs: antithetic pairs.
  """
  return loss_stddev / (smoothing * jnp.sqrt(2.0 * num_pairs))


@checked
def best_spacing(loss_stddev, third_derivative) -> jax.Array:
  """The h of least mean squared error of a central difference: cbrt(3 s / |third|)."""
  return jnp.cbrt(3 * loss_stddev / jnp.abs(third_derivative))
