"""Noise that asking again does not change: a keyed function of the image's bytes."""

import math

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Key
from orjax.types import Oracle


def _mixed(words):
  """A bijection of uint32 that spreads every bit: the finaliser of MurmurHash3."""
  words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
  words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
  return words ^ (words >> 16)


def image_key(secret: Key, image: jax.Array) -> Key:
  """A key that is a function of an image's bytes: the same for the same image.

  Two sums modulo 2^32 of mixed words, so that no order of summation matters: 64 bits, in
  which other images collide by chance only. It is no cryptography.

  Args:
    secret: of the server; it is not consumed.
    image: [...], counted as float32; -0 is 0.

  Returns:
    The key.
  """
  values = image.astype(jnp.float32).ravel()
  words = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0, values), jnp.uint32)
  places = jnp.arange(math.prod(image.shape), dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
  key = secret
  for salt in jax.random.bits(jax.random.fold_in(secret, 0), (2,), jnp.uint32):
    digest = _mixed(words ^ _mixed(places + salt)).sum(dtype=jnp.uint32)
    key = jax.random.fold_in(key, digest)
  return key


def with_cached_repeats(oracle: Oracle, secret: int = 0) -> Oracle:
  """Draws the noise of an image from its bytes: whoever asks again is told the same again.

  The key of a row is a function of the secret and of the image alone. The key of the query
  is not used, so that the answer depends on nothing else: not on the other rows, nor on
  their order, the trial or the run.

  The user is told the same whenever he asks, as by a deterministic classifier with other
  boundaries. Repeats do not average the noise out; images that differ in any bit do, so
  that an attacker jitters: one pixel by 1e-7 is a new draw. Where the server rounds images
  first (`with_uint8` around this), he needs a level of 1 / 255.

  Args:
    oracle: what is defended, random.
    secret: of the server; another one is another defense. May be traced.

  Returns:
    An `Oracle` that charges as `oracle` does. A model outside JAX is asked once for
    what `oracles.averaged` asks again.
  """

  def query(key, images):
    del key
    keys = jax.vmap(lambda image: image_key(jax.random.key(secret), image))(images)
    return jax.vmap(lambda key, image: oracle.query(key, image[None])[0])(keys, images)

  return Oracle(query, oracle.queries_per_row)


@factory
def cached(defense: Defense, *, secret: int = 0) -> Defense:
  """Another defense, whose noise repeats for the same image; swept as that is.

  Args:
    defense: a random one, such as `output_noise()`.
    secret: of the server.

  Returns:
    A `Defense` named after the other, such as "output_noise_cached".
  """
  return defense._replace(
    name=f"{defense.name}_cached",
    wrap=lambda oracle, setting: with_cached_repeats(defense.wrap(oracle, setting), secret),
  )
