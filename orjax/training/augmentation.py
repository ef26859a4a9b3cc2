"""What makes other images of the training images."""

import jax
import jax.numpy as jnp


def crop_and_flip(key: jax.Array, images: jax.Array, padding: int = 2) -> jax.Array:
  """A random crop of zero-padded images and a random flip, each row its own.

  Args:
    key: consumed.
    images: [B, H, W, C].
    padding: zeros on each side; 2 in Madry et al.'s code.
  """
  corner_key, flip_key = jax.random.split(key)
  num_rows, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  corners = jax.random.randint(corner_key, (num_rows, 2), 0, 2 * padding + 1)
  crop = lambda image, corner: jax.lax.dynamic_slice(
    image, (corner[0], corner[1], 0), (height, width, channels)
  )
  cropped = jax.vmap(crop)(padded, corners)
  flip = jax.random.bernoulli(flip_key, shape=(num_rows, 1, 1, 1))
  return jnp.where(flip, cropped[:, :, ::-1], cropped)
