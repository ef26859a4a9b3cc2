"""Noise inside a network, drawn for each row from a key of its own."""

import jax
import jax.numpy as jnp

# Where a network may add noise: after convolutions, every one or the first or the second of each
# of its blocks of two; or before every one, as random self-ensembles do.
LOCATIONS = ("every", "first", "second", "before")


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


def check_noise(location: str | None, stddev: float, init_ratio: float = 1.0) -> None:
  """Raises ValueError for noise that no network adds."""
  if location is not None and location not in LOCATIONS:
    raise ValueError(f"noise_location must be one of {', '.join(LOCATIONS)}, not {location!r}")
  if not 0 <= stddev < float("inf"):
    raise ValueError(f"noise_stddev must be 0 or more and finite, not {stddev}")
  if not 0 <= init_ratio < float("inf"):
    raise ValueError(f"noise_init_ratio must be 0 or more and finite, not {init_ratio}")
  if init_ratio != 1 and location != "before":
    raise ValueError("noise_init_ratio is of noise before convolutions: leave it out")
