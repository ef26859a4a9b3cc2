"""Directions of probes: of all pixels, or of constant tiles, which are few."""

import jax
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax.types import Key

_CELLS = 7  # tiles along each side, or as many as there are pixels


def num_tiles(image: jax.Array) -> int:
  """Numbers that say an image [H, W, C] of constant tiles."""
  height, width, channels = image.shape
  return min(_CELLS, height, width) ** 2 * channels


def directions(key: Key, num: int, image: jax.Array, in_tiles: jax.Array) -> jax.Array:
  """Gaussian directions, every entry of unit variance [num, H, W, C].

  Args:
    key: consumed.
    num: how many.
    image: [H, W, C], for its shape.
    in_tiles: whether entries of a tile are the same number, bool [] or [num].
  """
  height, width, channels = image.shape
  cells = min(_CELLS, height, width)
  pixel_key, tile_key = jax.random.split(key)
  of_pixels = jax.random.normal(pixel_key, (num, *image.shape), image.dtype)
  tiles = jax.random.normal(tile_key, (num, cells, cells, channels), image.dtype)
  of_tiles = jax.vmap(lambda x: geometry.enlarge(x, height, width))(tiles)
  chosen = jnp.broadcast_to(in_tiles, (num,))[:, None, None, None]
  return jnp.where(chosen, of_tiles, of_pixels)


def gain(image: jax.Array, in_tiles: jax.Array) -> jax.Array:
  """What makes an estimate by such directions the gradient's part in their subspace, []."""
  return jnp.where(in_tiles, np.float32(num_tiles(image) / image.size), 1)
