"""Distances between images and the two spaces attacks move in."""

import jax
import jax.numpy as jnp

# The official code's guard against arctanh(1): saturated pixels start at +-7.6.
_TANH_SCALE = 0.999999 + 0.0000005


def l2(perturbation: jax.Array) -> jax.Array:
  """Euclidean norm of one perturbation of any shape, in units of the [0, 1] range."""
  return jnp.sqrt(jnp.sum(jnp.square(perturbation)))


def linf(perturbation: jax.Array) -> jax.Array:
  """Largest absolute entry of one perturbation of any shape."""
  return jnp.max(jnp.abs(perturbation))


def to_tanh_space(image: jax.Array) -> jax.Array:
  """Maps an image in [0, 1] to unbounded w with image = (tanh(w) + 1) / 2."""
  return jnp.arctanh((2 * image - 1) * _TANH_SCALE)


def from_tanh_space(w: jax.Array) -> jax.Array:
  """Maps w back to an image inside [0, 1]."""
  return (jnp.tanh(w) + 1) / 2
