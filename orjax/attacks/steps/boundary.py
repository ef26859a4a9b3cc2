"""The line from an image to one on the other side of the boundary, in either norm."""

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.attacks.steps import draws
from orjax.types import Key


def distance(image: jax.Array, other: jax.Array, norm: str) -> jax.Array:
  """Between two images, float32 []."""
  # Written down first: in one loop, XLA's sum over a difference of two small images is slow.
  difference = jax.lax.optimization_barrier(other - image)
  return (geometry.linf if norm == "linf" else geometry.l2)(difference)


def between(image: jax.Array, outer: jax.Array, share: jax.Array, norm: str) -> jax.Array:
  """Part of the way from an image to another: `share` in [0, 1] of their distance.

  In l2 on the straight line; in linf the other image is cut off at `share` of its distance.
  """
  if norm == "linf":
    limit = share * geometry.linf(outer - image)
    return image + jnp.clip(outer - image, -limit, limit)
  return (1 - share) * image + share * outer


def unit_directions(key: Key, num: int, shape: tuple[int, ...], norm: str) -> jax.Array:
  """Random directions [num, *shape] of l2 length 1: Gaussian, or uniform entries for linf."""
  rows = (num, *shape)
  draw = draws.normal(key, rows) if norm == "l2" else draws.uniform(key, rows, -1, 1)
  square = jnp.square(draw).sum(tuple(range(1, draw.ndim)), keepdims=True)
  return draw * jax.lax.rsqrt(jnp.maximum(square, 1e-30))
