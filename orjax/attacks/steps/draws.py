"""Random numbers made once: XLA makes a draw again for each of its readers otherwise."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp
import numpy as np

from orjax.types import Key

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_LOW = np.nextafter(np.float32(-1), np.float32(0))


def where(
  condition: jax.Array, draw: Callable[[Key], jax.Array], key: Key, other: jax.Array
) -> jax.Array:
  """`draw(key)` where a condition [] holds, else `other`; costs nothing if it holds in no trial.

  Under `vmap` a `lax.cond` makes both branches in every step. A loop that runs once or never
  does not.
  """

  def make(carry):
    _, key, _ = carry
    # XLA makes what does not change in a loop before it, whether it runs or not: the key changes.
    return jnp.zeros((), bool), jax.random.fold_in(key, 0), draw(key)

  return jax.lax.while_loop(lambda carry: carry[0], make, (condition, key, other))[2]


def normal(key: Key, shape: tuple[int, ...]) -> jax.Array:
  """`jax.random.normal(key, shape)`, bit for bit, made once however many read it.

  On CPUs `jax.random` runs the rounds of its generator one by one over whole arrays, on one
  core; here they are one loop. Keys of another generator than JAX's own, or as it was before
  2025 (`jax_threefry_partitionable`), are left to `jax.random`.

  References:
    Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3".
  """
  if not _usual(key):
    return jax.random.normal(key, shape, jnp.float32)
  return _once(np.float32(math.sqrt(2)) * jax.lax.erf_inv(_uniform(key, shape, _LOW, 1)))


def uniform(key: Key, shape: tuple[int, ...], low: float, high: float) -> jax.Array:
  """`jax.random.uniform(key, shape, minval=low, maxval=high)` in the same way."""
  if not _usual(key):
    return jax.random.uniform(key, shape, jnp.float32, low, high)
  return _once(_uniform(key, shape, low, high))


_once = jax.lax.optimization_barrier


def _usual(key):
  return jax.random.key_impl(key) == "threefry2x32" and jax.config.jax_threefry_partitionable


def _bits(key, shape):
  """Threefry-2x32 of 0, 1, 2, ..., its two words as one: uint32 [*shape]."""
  first, second = jax.random.key_data(key)
  keys = (first, second, first ^ second ^ _PARITY)
  left = jnp.broadcast_to(keys[0], shape)
  right = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) + keys[1]
  for block in range(5):
    for turn in _ROTATIONS[block % 2]:
      left = left + right
      right = left ^ ((right << np.uint32(turn)) | (right >> np.uint32(32 - turn)))
    left = left + keys[(block + 1) % 3]
    right = right + keys[(block + 2) % 3] + np.uint32(block + 1)
  return left ^ right


def _uniform(key, shape, low, high):
  """In [low, high), from the upper 23 bits: float32."""
  low, high = np.float32(low), np.float32(high)
  one_to_two = (_once(_bits(key, shape)) >> np.uint32(9)) | np.uint32(0x3F800000)
  share = jax.lax.bitcast_convert_type(one_to_two, jnp.float32) - np.float32(1)
  return jnp.maximum(low, share * (high - low) + low)
