"""Ways to get a gradient: from evaluations alone, or through the model.

Each works on one image; `loss_fn(key, points [N, ...]) -> losses [N], answers [N, K]`
asks the oracle, with noise of its own for every point.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.types import Estimator
from orjax.types import GradientEstimate


def central_points(
  x: jax.Array, coordinates: jax.Array, spacing: jax.typing.ArrayLike
) -> jax.Array:
  """The points of a central difference along some coordinates.

  Args:
    x: any shape with D entries.
    coordinates: flat indices int32 [B].
    spacing: h, in the units of `x`.

  Returns:
    [2B + 1, *x.shape]: x, then x + h e_i, then x - h e_i.
  """
  hit = jnp.arange(x.size)[None] == coordinates[:, None]
  offsets = jnp.where(hit, jnp.asarray(spacing, x.dtype), jnp.zeros((), x.dtype))
  flat = x.reshape(1, -1)
  points = jnp.concatenate([flat, flat + offsets, flat - offsets])
  return points.reshape(-1, *x.shape)


def central_differences(
  losses: jax.Array, spacing: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Value [], slopes [B] and curvatures [B] from the losses [2B + 1] at `central_points`.

  (L+ - L-) / 2h and (L+ - 2 L + L-) / h^2. With h = 1e-4 the curvature in float32 is
  mostly rounding noise.
  """
  center, (up, down) = losses[0], losses[1:].reshape(2, -1)
  return center, (up - down) / (2 * spacing), (up - 2 * center + down) / spacing**2


@factory
def finite_difference(*, num_coordinates: int, spacing: float = 1e-4) -> Estimator:
  """Central differences along coordinates drawn without replacement (equation 1).

  Against a randomized oracle every slope carries noise of standard deviation
  s / (sqrt(2) h), with s that of one loss: at h = 1e-4 it drowns the gradient.

  Args:
    num_coordinates: how many of the image's entries to difference; the gradient is 0
      at the others. As many as there are entries gives the full gradient.
    spacing: h, in the image's units; the paper's value is 1e-4.

  Returns:
    An `Estimator`; its value is the loss at the image itself.

  References:
    Chen et al. (2017), section 3; section 4.1 of the paper.
  """

  def estimate(key, loss_fn, image):
    coordinate_key, loss_key = jax.random.split(key)
    coordinates = draw_coordinates(coordinate_key, image.size, num_coordinates)
    losses, answers = loss_fn(loss_key, central_points(image, coordinates, spacing))
    value, slopes, _ = central_differences(losses, spacing)
    gradient = jnp.zeros(image.size, image.dtype).at[coordinates].set(slopes)
    return GradientEstimate(value, gradient.reshape(image.shape), answers[0], losses[1:].mean())

  return Estimator(estimate, 2 * num_coordinates + 1)


@factory
def nes(
  *,
  num_pairs: int = 25,
  smoothing: jax.typing.ArrayLike = 1e-3,
  directions: Callable[[jax.Array, int, jax.Array], jax.Array] | None = None,
  gain: Callable[[jax.Array], jax.Array] | None = None,
) -> Estimator:
  """Antithetic natural evolution strategies: the gradient of a smoothed loss.

  mean over pairs of (L(x + s u) - L(x - s u)) u / 2 s with u ~ N(0, I): unbiased for the
  gradient of E L(x + s u). (The printed formula of section 9.2 is that with m the number
  of pairs; the official code's is half of it, as its m counts queries.) Against a
  randomized oracle every entry carries noise of standard deviation s_L / (s sqrt(2 m)),
  with s_L that of one loss.

  Args:
    num_pairs: m, mirrored pairs of points.
    smoothing: s, in the image's units; may be traced.
    directions: `directions(key, num, image) -> [num, *image.shape]`, instead of N(0, I).
    gain: `gain(image) -> []`, which the gradient is multiplied by; 1 without it.

  Returns:
    An `Estimator` that also asks about the image itself, as the success test.

  References:
    Ilyas et al. (2018a), algorithm 1; section 9.2 of the paper.
  """

  def estimate(key, loss_fn, image):
    direction_key, loss_key = jax.random.split(key)
    if directions is None:
      drawn = jax.random.normal(direction_key, (num_pairs, *image.shape), image.dtype)
    else:
      drawn = directions(direction_key, num_pairs, image)
    offsets = smoothing * drawn
    points = jnp.concatenate([image[None], image[None] + offsets, image[None] - offsets])
    losses, answers = loss_fn(loss_key, points)
    value, slopes, _ = central_differences(losses, smoothing)
    # A pair with a loss that is no number says nothing; the others still do.
    slopes = jnp.where(jnp.isfinite(slopes), slopes, 0)
    known = jnp.isfinite(losses[1:])
    mean = jnp.where(known, losses[1:], 0).sum() / jnp.maximum(known.sum(), 1).astype(losses.dtype)
    # Written as a sum, not a dot: its order does not depend on what else is in a batch.
    weighted = slopes.reshape(-1, *[1] * image.ndim) * drawn
    gradient = weighted.mean(0) if gain is None else gain(image) * weighted.mean(0)
    return GradientEstimate(value, gradient, answers[0], mean)

  return Estimator(estimate, 2 * num_pairs + 1)


@factory
def autodiff() -> Estimator:
  """The white-box attacker's gradient, through the oracle and its noise.

  Returns:
    An `Estimator` of one point. Its query counts the answer; the backward pass is no query.
  """

  def estimate(key, loss_fn, image):
    def at_image(image):
      losses, answers = loss_fn(key, image[None])
      return losses[0], answers[0]

    (value, answer), gradient = jax.value_and_grad(at_image, has_aux=True)(image)
    return GradientEstimate(value, gradient, answer, value)

  return Estimator(estimate, 1)


def draw_coordinates(
  key: jax.Array, size: int, num_coordinates: int, log_weights: jax.Array | None = None
) -> jax.Array:
  """Distinct flat indices int32 [num_coordinates] out of 0..size - 1.

  Uniform, or, with `log_weights` [size], drawn one after the other without replacement
  with probabilities in proportion to the weights (by their Gumbel-perturbed logs).

  Raises:
    ValueError: there are fewer than `num_coordinates` entries.
  """
  if num_coordinates > size:
    raise ValueError(
      f"num_coordinates={num_coordinates} is more than the {size} entries "
      f"of the image: ask for at most that many"
    )
  if log_weights is None:
    scores = jax.random.uniform(key, (size,))
  else:
    scores = log_weights + jax.random.gumbel(key, (size,))
  return jax.lax.top_k(scores, num_coordinates)[1]
