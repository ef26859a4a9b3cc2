"""What noise on answers costs an attacker, in queries: the probe-length law.

One number says who survives noise, the l2 length of a probe. All formulas hold where the
loss is linear over the probes: d pixels, gradient g, one answer's loss with noise of
standard deviation s_L (sqrt(2) stddev for the linear margin), m antithetic pairs of
Gaussian probes of scale h, or n answers to probes no longer than r. An attacker who
searches a subspace (low frequencies, tiles) has its dimension for d and the gradient
within it for g. Derived for this library, and each is tested against Monte Carlo.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special
from jax.scipy import stats

from orjax.theory.numbers import checked


@checked
def noise_to_signal(loss_stddev, smoothing, gradient_norm) -> jax.Array:
  """rho = s_L^2 / (2 h^2 |g|^2): noise of a pair's difference over what g puts into it.

  Args:
    loss_stddev: s_L.
    smoothing: h of `estimators.nes`; a probe is about h sqrt(d) long.
    gradient_norm: |g|, l2.
  """
  return jnp.square(jnp.asarray(loss_stddev) / (smoothing * gradient_norm)) / 2


@checked
def break_even_smoothing(loss_stddev, gradient_norm) -> jax.Array:
  """The h at which rho is 1: above it noise costs less than twice the pairs."""
  return jnp.asarray(loss_stddev) / (math.sqrt(2) * gradient_norm)


@checked
def nes_cosine(num_pairs, num_pixels, noise_to_signal) -> jax.Array:
  """Expected cosine of `estimators.nes` with g: 1 / sqrt(1 + (d + 1 + d rho) / m)."""
  d = num_pixels
  return jax.lax.rsqrt(1 + (d + 1 + d * jnp.asarray(noise_to_signal)) / num_pairs)


@checked
def nes_wrong_signs(num_pairs, num_pixels, noise_to_signal) -> jax.Array:
  """Share of its signs that differ from g's: Phi(-sqrt(m / (d (1 + rho)))).

  For entries of g of equal size, and m large enough for the estimate to be about normal.
  """
  return special.ndtr(-jnp.sqrt(num_pairs / (num_pixels * (1 + jnp.asarray(noise_to_signal)))))


@checked
def least_squared_error(num_queries, num_pixels, loss_stddev, probe_length) -> jax.Array:
  """E|estimate - g|^2 of no unbiased estimator is less: d^2 s_L^2 / (n r^2) (Cramer-Rao).

  Central differences (r = h) and the noise part of NES (r = h sqrt(d)) meet it: averaging
  cannot beat it, only longer probes, fewer dimensions or a statistic with less noise can.

  Args:
    num_queries: n.
    num_pixels: d.
    loss_stddev: s_L.
    probe_length: r, the longest distance of a probe from the image.
  """
  return jnp.square(num_pixels * jnp.asarray(loss_stddev) / probe_length) / num_queries


@checked
def least_wrong_signs(
  num_queries, num_pixels, loss_stddev, probe_length, gradient_norm, *, adaptive: bool = False
) -> jax.Array:
  """Share of wrong signs that no estimator falls below, for entries of g of equal size.

  Phi(-sqrt(t)) with t = |g|^2 over `least_squared_error`, which orthogonal probes reach
  once n >= d; (1 - sqrt(t)) / 2 by Assouad's lemma.

  Args:
    num_queries, num_pixels, loss_stddev, probe_length: as in `least_squared_error`.
    gradient_norm: |g|, l2.
    adaptive: the weaker bound, on strategies that choose probes by what they were told.
  """
  error = least_squared_error(num_queries, num_pixels, loss_stddev, probe_length)
  root = gradient_norm / jnp.sqrt(error)
  return jnp.maximum(0, (1 - root) / 2) if adaptive else special.ndtr(-root)


@checked
def nes_queries(
  margin, radius, gradient_norm, num_pixels, noise_to_signal, *, norm: str
) -> jax.Array:
  """Predicted queries 2 m for one NES estimate good enough to cross the boundary.

  For `linf` a step of the estimate's signs gains eps |g|_1 (1 - 2 wrong): the wrong share
  must not exceed (1 - margin / (eps |g|_1)) / 2. For `l2` the cosine must reach
  margin / (eps |g|).

  Args:
    margin: how far the loss must fall.
    radius: eps, of the ball.
    gradient_norm: of g in the dual norm: l1 for `linf`, l2 for `l2`.
    num_pixels: d.
    noise_to_signal: rho, from the l2 norm.
    norm: `linf` or `l2`.

  Returns:
    The queries; infinite where no point of the ball is enough.
  """
  rho, needed = jnp.asarray(noise_to_signal), _needed(margin, radius, gradient_norm)
  if _is_linf(norm):
    num_pairs = num_pixels * (1 + rho) * _squared_quantile(needed)
  else:
    num_pairs = (num_pixels * (1 + rho) + 1) * _squared_cotangent(needed)
  return 2 * num_pairs


@checked
def floor_queries(
  margin, radius, gradient_norm, num_pixels, loss_stddev, probe_length, *, norm: str, l2_norm=None
) -> jax.Array:
  """The same for the best non-adaptive estimator: n >= z^2 (d s_L / (r |g|))^2.

  z^2 is the squared normal quantile of the wrong share that `linf` allows, or
  cos^2 / (1 - cos^2) for `l2`, where it is that of the efficient unbiased estimator.

  Args:
    margin, radius, gradient_norm, num_pixels, norm: as in `nes_queries`.
    loss_stddev: s_L.
    probe_length: r.
    l2_norm: |g| in l2, which `linf` needs besides.

  Returns:
    The queries; 0 without noise, infinite where no point of the ball is enough.

  Raises:
    ValueError: `linf` without `l2_norm`.
  """
  needed = _needed(margin, radius, gradient_norm)
  if _is_linf(norm):
    if l2_norm is None:
      raise ValueError("linf needs l2_norm, the gradient's l2 norm, besides its l1 norm")
    gradient_norm, factor = l2_norm, _squared_quantile(needed)
  else:
    factor = _squared_cotangent(needed)
  return (
    factor
    * least_squared_error(1.0, num_pixels, loss_stddev, probe_length)
    / (jnp.square(gradient_norm))
  )


def _is_linf(norm):
  if norm not in ("linf", "l2"):
    raise ValueError(f"norm must be one of linf, l2, not {norm!r}")
  return norm == "linf"


def _needed(margin, radius, gradient_norm):
  """The share of the ball's best gain that must be had."""
  return jnp.asarray(margin) / (radius * jnp.asarray(gradient_norm))


def _squared_quantile(needed):
  return jnp.where(needed < 1, jnp.square(special.ndtri((1 + jnp.clip(needed, 0, 1)) / 2)), jnp.inf)


def _squared_cotangent(needed):
  square = jnp.square(jnp.clip(needed, 0, 1))
  return jnp.where(square < 1, square / jnp.where(square < 1, 1 - square, 1), jnp.inf)


@checked
def label_attenuation(noise_to_signal, offset=0.0) -> jax.Array:
  """Correlation a of a noisy label with where its probe points, at the boundary.

  sqrt(2 / pi v) exp(-offset^2 / 2 v) with v = 1 + 2 rho: the mean of label (+-1) times the
  probe's component along the boundary's normal, in standard deviations of the latter.

  Args:
    noise_to_signal: rho, with h = delta / sqrt(d) for probes of length delta.
    offset: the image's distance from the boundary, in the same standard deviations.
  """
  variance = 1 + 2 * jnp.asarray(noise_to_signal)
  return jnp.sqrt(2 / (math.pi * variance)) * jnp.exp(-jnp.square(offset) / (2 * variance))


@checked
def label_cosine(num_probes, num_pixels, attenuation) -> jax.Array:
  """Expected cosine of a gradient from labels: 1 / sqrt(1 + (d - 1) / (n a^2)).

  References:
    Simon-Gabriel et al. (2021), PopSkipJump, section 3.
  """
  return jax.lax.rsqrt(1 + (num_pixels - 1) / (num_probes * jnp.square(attenuation)))


@checked
def label_information(margin, noise_stddev) -> jax.Array:
  """Fisher information about a margin in a noisy label, over that in the noisy score.

  phi(z)^2 / (Phi(z) Phi(-z)) with z = margin / noise_stddev: 2 / pi at the boundary, where
  noise dithers the label. A label-only API with noise tells nearly as much as the scores.
  """
  z = jnp.asarray(margin) / noise_stddev
  return jnp.exp(2 * stats.norm.logpdf(z) - stats.norm.logcdf(z) - stats.norm.logcdf(-z))


@checked
def margin_from_flips(flip_rate, stddev) -> jax.Array:
  """The margin between two classes from how often noise flips it: -sqrt(2) s Phi^-1(rate)."""
  return -math.sqrt(2) * stddev * special.ndtri(flip_rate)


@checked
def bits_per_query(noise_to_signal) -> jax.Array:
  """Information about g in one noisy loss, in bits: log2(1 + 1 / 2 rho) / 2."""
  return jnp.log2(1 + 0.5 / jnp.asarray(noise_to_signal)) / 2


@checked
def bits_of_answers(answers, stddev) -> jax.Array:
  """Information in one whole noisy answer: log2 det(I + Cov / s^2) / 2, Cov over probes.

  Args:
    answers: without noise [N, K], of N probes.
    stddev: of the noise on each class.
  """
  spread = answers - answers.mean(0, keepdims=True)
  covariance = spread.T @ spread / (len(spread) - 1)
  eye = jnp.eye(answers.shape[1], dtype=covariance.dtype)
  return jnp.linalg.slogdet(eye + covariance / jnp.square(stddev))[1] / (2 * math.log(2))


@checked
def two_point_queries(difference, stddev, error) -> jax.Array:
  """Answers that any strategy needs to tell two models apart: 2 s^2 ln(1 / 4 error) / D^2.

  By Bretagnolle and Huber. It holds for adaptive strategies too: a certificate that an
  attacker does not know which of the two is there, of no robustness.

  Args:
    difference: D, the largest l2 distance between the models' mean answers.
    stddev: s, of the noise on each class.
    error: probability of the wrong guess, for the worse of the two.
  """
  return 2 * jnp.square(stddev / jnp.asarray(difference)) * jnp.log(0.25 / jnp.asarray(error))


@checked
def vote_lead(flip_rate, error) -> jax.Array:
  """By how much one side of a vote must lead: ceil(ln((1-a)/a) / ln((1-e)/e)).

  Args:
    flip_rate: e, how often one answer is wrong, below 1/2.
    error: a, how often the vote may be.

  Returns:
    The lead, a whole number as a float; infinite for a flip rate of 1/2 or more.
  """
  odds = -special.logit(jnp.asarray(flip_rate))
  lead = jnp.ceil(-special.logit(jnp.asarray(error)) / odds - 1e-5)
  return jnp.where(odds > 0, jnp.maximum(lead, 1), jnp.inf)


@checked
def vote_error(lead, flip_rate) -> jax.Array:
  """How often a vote until one side leads goes wrong: 1 / (1 + ((1-e)/e)^L)."""
  return special.expit(lead * special.logit(jnp.asarray(flip_rate)))


@checked
def vote_looks(lead, flip_rate) -> jax.Array:
  """Answers that it takes on average: L (1 - 2 error) / (1 - 2 e), L^2 at e = 1/2."""
  drift = 1 - 2 * jnp.asarray(flip_rate)
  even = jnp.abs(drift) < 1e-4
  looks = lead * (1 - 2 * vote_error(lead, flip_rate)) / jnp.where(even, 1, drift)
  return jnp.where(even, lead**2, looks)


@checked
def sequential_limit(loss_stddev, gain, error) -> jax.Array:
  """Where a sum of paired differences stops: s_L^2 ln((1-a)/a) / D, to tell D from -D.

  Args:
    loss_stddev: s_L, of one answer's loss; a pair's difference has sqrt(2) of it.
    gain: D, by how much the better point is better.
    error: a, how often the worse may win.

  References:
    Wald (1945), the sequential probability ratio test.
  """
  return -jnp.square(loss_stddev) * special.logit(jnp.asarray(error)) / gain


@checked
def sequential_pairs(loss_stddev, gain, error) -> jax.Array:
  """Pairs that it takes on average: (1 - 2 a) ln((1-a)/a) s_L^2 / D^2, and some 10 % more."""
  return (1 - 2 * jnp.asarray(error)) * sequential_limit(loss_stddev, gain, error) / gain


@checked
def fixed_pairs(loss_stddev, gain, error) -> jax.Array:
  """Pairs of a test of fixed size as good: 2 (z_a s_L / D)^2, about twice as many."""
  return 2 * jnp.square(special.ndtri(jnp.asarray(error)) * loss_stddev / gain)


@checked
def resubmission_rate(success_rate, num_tries) -> jax.Array:
  """How often one of several tries of the same image succeeds: 1 - (1 - p)^n."""
  return -jnp.expm1(num_tries * jnp.log1p(-jnp.asarray(success_rate)))


@checked
def majority_error(error_rate, num_answers) -> jax.Array:
  """How often most of n answers are wrong: the binomial tail; n is odd.

  Written as an incomplete beta function.
  """
  half = (num_answers + 1) / 2
  return special.betainc(half, half, jnp.asarray(error_rate))


@checked
def rounding_stddev(num_digits) -> jax.Array:
  """The noise that rounding to so many digits resembles: 10^-k / sqrt(12), uniform.

  Repeating the query does not average it away, probes elsewhere do.
  """
  return jnp.asarray(10.0) ** (-jnp.asarray(num_digits, jnp.float32)) / math.sqrt(12)
