"""What noise on the logits does in training (sections 6 and 9.3)."""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special
from jax.scipy import stats

from orjax.theory.numbers import checked
from orjax.theory.quadrature import integral


@checked
def cross_entropy_hessian(logits) -> jax.Array:
  """diag(p) - p p^T of the cross-entropy in its logits: [..., K] -> [..., K, K]."""
  probs = jax.nn.softmax(logits)
  return probs[..., None] * (jnp.eye(probs.shape[-1], dtype=probs.dtype) - probs[..., None, :])


@checked
def training_regulariser(logits, covariance, *, as_printed: bool = False) -> jax.Array:
  """What noise on the logits adds to the cross-entropy, to second order (equation 6).

  Tr(covariance H) / 2; for stddev^2 I it is stddev^2 (1 - sum p^2) / 2. It says nothing of
  noise as large as stddev = 100: see `asymptotic_training_loss`.

  Args:
    logits: [..., K].
    covariance: [K, K].
    as_printed: Tr(covariance * H), the Hadamard product: without the half of Taylor's
      expansion, and blind to every correlation.

  Returns:
    The expected excess loss, [...].
  """
  # Symmetric, so that the trace of the product is the sum of the entrywise product.
  entries = covariance * cross_entropy_hessian(logits)
  if as_printed:
    return jnp.trace(entries, axis1=-2, axis2=-1)
  return entries.sum((-2, -1)) / 2


@checked
def asymptotic_training_loss(logits, label, stddev) -> jax.Array:
  """Expected cross-entropy under noise far larger than 1: E max(z + eps) - z_label.

  stddev times a function of z / stddev, so that training drives the margin to a multiple
  of the stddev (5 to 6) whatever the stddev.

  Args:
    logits: [K].
    label: int [].
    stddev: of the noise on every logit.

  Returns:
    The loss [].
  """
  z = jnp.asarray(logits) / stddev
  own, is_rival = z[label], jnp.arange(z.shape[-1]) != label

  def density(t):  # own < t < the largest rival
    log_all_below = jnp.where(is_rival, stats.norm.logcdf(t[:, None] - z[None]), 0).sum(-1)
    return special.ndtr(t - own) * -jnp.expm1(log_all_below)

  middle = (own + jnp.max(jnp.where(is_rival, z, -jnp.inf))) / 2
  reach = 14 + jnp.abs(own - middle)
  return stddev * integral(lambda t: density(middle + reach * t), -1.0, 1.0, 1025, z.dtype) * reach


@checked
def expected_largest(num_classes: int) -> jax.Array:
  """Mean of the largest of K standard normals: 1.539 for 10, 3.241 for 1000."""
  return asymptotic_training_loss(jnp.zeros(num_classes), 0, 1.0)


@checked
def mills_ratio(t) -> jax.Array:
  """(1 - Phi(t)) / phi(t) for t >= 0, by logs: to 1e-3 up to t = 1000 in float32."""
  return jnp.exp(stats.norm.logcdf(-t) - stats.norm.logpdf(t))


@checked
def mills_ratio_bounds(t, *, as_printed: bool = False) -> tuple[jax.Array, jax.Array]:
  """Lower and upper bounds of `mills_ratio` for t >= 0 (equation 9).

  2 / (t + sqrt(t^2 + 4)) and 2 / (t + sqrt(t^2 + 8 / pi)). As printed: 1 / (t +
  sqrt(t^2 + 2)), up to twice too low, and 1 / (t + 1), which is below the ratio itself.
  """
  if as_printed:
    return 1 / (t + jnp.sqrt(t**2 + 2)), 1 / (t + 1)
  return 2 / (t + jnp.sqrt(t**2 + 4)), 2 / (t + jnp.sqrt(t**2 + 8 / math.pi))


@checked
def lemma_1(delta, *, as_printed: bool = False) -> jax.Array:
  """Lower bound on P(g < sqrt(2 ln 1/delta)), g ~ N(0, 1) (section 9.3).

  1 - delta / 2. As printed: the line 1 - delta / (sqrt(2 pi) (C + 1)) of the proof, with
  C = sqrt(2 ln 1/delta), which is above the probability; the lemma's 1 - delta holds.
  """
  if as_printed:
    return 1 - delta / (math.sqrt(2 * math.pi) * (jnp.sqrt(2 * jnp.log(1 / delta)) + 1))
  return 1 - delta / 2


@checked
def lemma_2(num_classes, scale, *, as_printed: bool = False) -> tuple[jax.Array, jax.Array]:
  """A q that the largest of K standard normals falls below with a bounded probability.

  P(max < q) <= exp(-sqrt(D) / (8 sqrt(2 pi))), q = sqrt(2 ln 2K - ln(2 D ln 2K)), for
  1 / (2 ln 2K) <= D <= 2 K^2 / ln 2K (section 9.3). For K = 10 the bound is never below
  0.665. Exactly, the probability is Phi(q)^K.

  Args:
    num_classes: K.
    scale: D.
    as_printed: q = sqrt(2 ln 2K) - ln(2 D ln 2K), for every D > 0.

  Returns:
    q and the bound, which is NaN where the lemma says nothing.
  """
  log_2k = jnp.log(2.0 * num_classes)
  nu = jnp.log(2 * scale * log_2k)
  bound = jnp.exp(-jnp.sqrt(scale) / (8 * math.sqrt(2 * math.pi)))
  if as_printed:
    return jnp.sqrt(2 * log_2k) - nu, bound
  valid = (scale >= 1 / (2 * log_2k)) & (scale <= 2.0 * num_classes**2 / log_2k)
  return jnp.sqrt(2 * log_2k - nu), jnp.where(valid, bound, jnp.nan)
