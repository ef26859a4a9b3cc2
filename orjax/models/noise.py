"""Noise inside a network, drawn for each row from a key of its own."""

import jax
import jax.numpy as jnp

# Where a network may add noise, within each of its blocks of two convolutions.
LOCATIONS = ("every", "first", "second")


def add_noise(x: jax.Array, keys: jax.Array, layer: int, stddev: float | jax.Array) -> jax.Array:
  """Adds Gaussian noise to features [B, ...], drawn for each row from a key of its own.

  Args:
    x: features of `layer`.
    keys: one per row [B]; a row's noise does not depend on the others.
    layer: its number, which makes its draws independent of other layers'.
    stddev: of the noise: one for all rows, or one for each [B].
  """
  draw = lambda key: jax.random.normal(jax.random.fold_in(key, layer), x.shape[1:], jnp.float32)
  if jnp.ndim(stddev):
    stddev = jnp.reshape(stddev, (-1, *[1] * (x.ndim - 1)))
  return x + (stddev * jax.vmap(draw)(keys)).astype(x.dtype)


def check_noise(location: str | None, stddev: float) -> None:
  """Raises ValueError for noise that no network adds."""
  if location is not None and location not in LOCATIONS:
    raise ValueError(f"noise_location must be one of {', '.join(LOCATIONS)}, not {location!r}")
  if not 0 <= stddev < float("inf"):
    raise ValueError(f"noise_stddev must be 0 or more and finite, not {stddev}")
