"""What makes other images of the training images."""

from collections.abc import Callable

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


def gaussian_noise(stddev: float, after: Callable | None = None) -> Callable:
  """Makes an augmentation by Gaussian noise, drawn anew for every image at every step.

  As in Cohen et al.'s training: every image of a batch is replaced by a noisy one, which is
  not clipped, so that the network sees no clean image and values outside of [0, 1].

  Args:
    stddev: of the noise on each entry, in units of [0, 1].
    after: another augmentation, `after(key, images) -> images`, that goes before the noise.

  Returns:
    `augment(key, images [B, H, W, C]) -> images`.

  Raises:
    ValueError: `stddev` is negative or not finite.

  References:
    Cohen et al. (2019), Certified Adversarial Robustness via Randomized Smoothing;
    `code/train.py` of its repository, with 0.12 to 1.
  """
  if not 0 <= stddev < float("inf"):
    raise ValueError(f"stddev must be 0 or more and finite, not {stddev}")

  def augment(key, images):
    if after is not None:
      key, after_key = jax.random.split(key)
      images = after(after_key, images)
    return images + stddev * jax.random.normal(key, images.shape, images.dtype)

  return augment
