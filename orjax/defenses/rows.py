"""What defenses share: rows with keys of their own, answers as logits, labels that stay."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from orjax.types import Key

# Rows are padded to a multiple of this for functions that are no basic arithmetic: at the
# ragged end of an array, or of a thread's share of it, these may round otherwise (XLA's CPU
# backend).
_MULTIPLE = 16


def row_keys(key: Key, num_rows: int) -> Key:
  """A key for every row of a query: `fold_in(key, i)`, whatever rows follow it."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_rows))


def on_each_row(function: Callable, rows: jax.Array, key: Key | None = None) -> jax.Array:
  """Alters the answers of a query one by one.

  The new answer of row i is a function of the row and of `fold_in(key, i)`: bit for bit the
  same whichever rows stand after it, and without a key also whichever stand before it.

  Args:
    function: `function(row [...]) -> row [K]`, or `function(key, row)` if a key is given.
    rows: [B, ...].
    key: consumed.

  Returns:
    The new answers [B, K]. A row with a NaN in it is answered by NaN alone: a broken
    classifier is not hidden behind a label.
  """
  rows = whole(rows)
  if key is None:
    altered = jax.vmap(function)(rows)
  else:
    altered = jax.vmap(function)(row_keys(key, len(rows)), rows)
  broken = jnp.isnan(rows).reshape(len(rows), -1).any(-1)
  return whole(jnp.where(broken[:, None], jnp.nan, altered))


def whole(arrays: Any) -> Any:
  """Keeps the compiler from merging what makes an array, or several, with what is made of it.

  Merged, the two may round differently; and of a padded array only what is left after a
  slice would be worked out.
  """
  return jax.lax.optimization_barrier(arrays)


def elementwise(function: Callable, row: jax.Array) -> jax.Array:
  """`function`, such as a logarithm, of every entry of [K]; it rounds alike in every batch."""
  padded = whole(jnp.pad(row, (0, -len(row) % _MULTIPLE)))
  return whole(function(padded))[: len(row)]


def logits(row: jax.Array) -> jax.Array:
  """log p [K]: the network's logits up to a shift.

  A probability of 0 (underflown, rounded away or hidden), or one that noise has made
  negative, counts as the smallest normal number, whose log is -87 in float32.
  """
  return elementwise(jnp.log, jnp.maximum(row, jnp.finfo(row.dtype).tiny))


def softmax(row: jax.Array) -> jax.Array:
  """Softmax of [K] that rounds alike in every batch, which `jax.nn.softmax` does not."""
  row = whole(row)
  powers = elementwise(jnp.exp, row - row.max(-1))
  return powers / total(powers)


def total(row: jax.Array) -> jax.Array:
  """Sum of [K], added in a fixed order: a reduction's depends on the shape of the batch."""
  size = 1 << (row.shape[-1] - 1).bit_length()
  row = jnp.pad(row, (0, size - row.shape[-1]))
  while len(row) > 1:
    row = row[: len(row) // 2] + row[len(row) // 2 :]
  return row[0]


def noisy_logits(key: Key, row: jax.Array, stddev: jax.Array) -> jax.Array:
  """softmax(log p + stddev eps), eps ~ N(0, I): [K], for a stddev [] or [K].

  A row whose noise is all 0 is answered bit for bit.
  """
  noise = whole(gaussian(key, row.shape, row.dtype) * _like(row, stddev))
  return jnp.where((noise == 0).all(), row, softmax(logits(row) + noise))


def gaussian(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
  """Standard normals, drawn as float32 whatever the dtype, so that both draw the same."""
  size = math.prod(shape)
  draws = jax.random.normal(key, (size + -size % _MULTIPLE,), jnp.float32)
  return whole(draws)[:size].reshape(shape).astype(dtype)


def _like(row, number):
  return jnp.broadcast_to(jnp.asarray(number, row.dtype), row.shape)


def keep_label(row: jax.Array, altered: jax.Array) -> jax.Array:
  """Puts the top class of `row` [K] first in `altered` too, should rounding have tied it."""
  top, lead = row.argmax(-1), jax.lax.stop_gradient(altered.max(-1))
  first = jnp.where(altered.argmax(-1) == top, altered[top], jnp.nextafter(lead, 2 * lead))
  return altered.at[top].set(first)


def one_hot(label: jax.Array, row: jax.Array) -> jax.Array:
  """The answer that says a label [] and nothing else, in the shape and dtype of a row [K]."""
  return (jnp.arange(row.shape[-1]) == label).astype(row.dtype)


def check_range(what: str, value: float, low: float, high: float) -> None:
  """Raises ValueError unless a strength is in [low, high]."""
  if not low <= value <= high:
    raise ValueError(f"the {what} must be from {low:g} to {high:g}, not {value}")


def check_strength(what: str, value: float) -> None:
  """Raises ValueError unless a strength is 0 or more, and finite."""
  if not 0 <= value < math.inf:
    raise ValueError(f"the {what} must be 0 or more and finite, not {value}")
