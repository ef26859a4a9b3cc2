"""Distances between images, the balls and the two spaces attacks move in."""

import jax
import jax.numpy as jnp
import numpy as np

NORMS = ("linf", "l2")

# ZOO's guard against arctanh(1): saturated pixels start at +-7.6.
_ZOO_GUARD = 0.999999 + 0.0000005


def l2(perturbation: jax.Array) -> jax.Array:
  """Euclidean norm of one perturbation of any shape, in units of the [0, 1] range."""
  return jnp.sqrt(jnp.sum(jnp.square(perturbation)))


def linf(perturbation: jax.Array) -> jax.Array:
  """Largest absolute entry of one perturbation of any shape."""
  return jnp.max(jnp.abs(perturbation))


def to_tanh_space(image: jax.Array, guard: float = _ZOO_GUARD) -> jax.Array:
  """Maps an image in [0, 1] to unbounded w with image = (tanh(w) + 1) / 2.

  Args:
    image: of any shape.
    guard: shrinks the image towards 1/2, so that w is finite: ZOO's by default.
  """
  return jnp.arctanh((2 * image - 1) * guard)


def from_tanh_space(w: jax.Array) -> jax.Array:
  """Maps w back to an image inside [0, 1]."""
  return (jnp.tanh(w) + 1) / 2


def check_norm(norm: str) -> None:
  """Raises ValueError unless `norm` is `linf` or `l2`."""
  if norm not in NORMS:
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")


def project(image: jax.Array, center: jax.Array, radius: float, norm: str) -> jax.Array:
  """The nearest point of the ball around `center`, then of the box [0, 1].

  Args:
    image: [H, W, C].
    center: [H, W, C], in the box.
    radius: of the ball, in units of the [0, 1] range.
    norm: `linf` or `l2`.
  """
  perturbation = image - center
  if norm == "linf":
    perturbation = jnp.clip(perturbation, -radius, radius)
  else:
    perturbation *= jnp.minimum(1, radius / jnp.maximum(l2(perturbation), 1e-12))
  return jnp.clip(center + perturbation, 0, 1)


def steepest(gradient: jax.Array, norm: str) -> jax.Array:
  """The direction of unit `norm` along which a linear function rises most.

  Its signs for `linf`, its direction for `l2`; 0 where the gradient is 0.
  """
  if norm == "linf":
    return jnp.sign(gradient)
  return gradient / jnp.maximum(l2(gradient), 1e-30)


def enlarge(tiles: jax.Array, height: int, width: int) -> jax.Array:
  """Nearest-neighbour enlargement of [h, w, C] to [height, width, C]."""
  # An axis at a time: XLA computes what the tiles are made of anew for each element of a gather
  # (the Gaussians of a start, as often as there are pixels).
  for axis, size in enumerate((height, width)):
    few = tiles.shape[axis]
    tiles = jnp.take(tiles, np.arange(size) * few // size, axis, mode="clip")
  return tiles


def bilinear_weights(few: int, many: int) -> np.ndarray:
  """Enlarges a line of `few` numbers to `many`, as TensorFlow 1 did: float32 [many, few].

  Output i stands at i few / many in the input (no half-pixel centres, which
  `jax.image.resize` has), and the last input is repeated beyond the end.
  """
  position = np.arange(many) * few / many
  below = np.floor(position).astype(int)
  above = np.minimum(below + 1, few - 1)
  share = (position - below)[:, None]
  weights = (1 - share) * np.eye(few)[below] + share * np.eye(few)[above]
  return weights.astype(np.float32)
