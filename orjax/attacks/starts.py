"""Where a descent begins, if not at the image: from a key and the image, unasked."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.factories import factory
from orjax.types import Key

# start(key, image [H, W, C]) -> image [H, W, C] in [0, 1]
Start = Callable[[Key, jax.Array], jax.Array]


@factory
def uniform(radius: float) -> Start:
  """Begins at a uniform draw from the l_inf ball of a radius in units of [0, 1], clipped.

  References:
    Madry et al. (2017), `pgd_attack.py` of the CIFAR10 challenge.
  """

  def start(key, image):
    return jnp.clip(
      image + jax.random.uniform(key, image.shape, image.dtype, -radius, radius), 0, 1
    )

  return start


@factory
def low_frequency_noise(*, scale: float = 1.0, cells: int = 7) -> Start:
  """Begins far away: the image plus Gaussian noise in `cells` x `cells` constant tiles.

  Output noise hides the loss where the classifier is confident, which it is at a clean
  image and around it. Far away it is mostly wrong, and on the way back an attacker
  follows the boundary, where the loss is steep and noise matters least.

  Args:
    scale: standard deviation of the noise in a tile, in units of [0, 1].
    cells: tiles along each side; one number per tile and channel.
  """

  def start(key, image):
    height, width, channels = image.shape
    tiles = scale * jax.random.normal(key, (cells, cells, channels), image.dtype)
    return jnp.clip(image + geometry.enlarge(tiles, height, width), 0, 1)

  return start
