"""The border of the library: what a user hands in is looked at here, once.

Shapes and dtypes are looked at wherever they are known, inside traced code too, where that
costs nothing; values where they are values. Every error is one sentence that says what to do.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orjax.host.jax_internals import is_traced
from orjax.types import LOG_FLOOR
from orjax.types import Oracle

_ROUNDING = 1e-6  # by which an image may leave [0, 1]
_CHANNELS = (1, 3, 4)


def seed_key(key: Any) -> jax.Array:
  """One typed key.

  Raises:
    ValueError: it is a number, an old-style key, or several.
  """
  is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  if not is_key or key.shape != ():
    raise ValueError(f"the key must be one, such as jax.random.key(0), not {_told(key)}")
  return key


def images(given: Any, *, num_channels: int | None = None) -> jax.Array:
  """Images float32 [N, H, W, C] in [0, 1].

  Args:
    given: an array, of JAX or NumPy; float64 is rounded, unless JAX computes with it.
    num_channels: C where it is not 1, 3 or 4.

  Returns:
    An array of JAX.

  Raises:
    ValueError: other shapes and dtypes, no images, values that are not finite or not in
      [0, 1] within rounding.
  """
  array = given if is_traced(given) else jnp.asarray(given)
  if array.ndim != 4:
    raise ValueError(f"images must be [N, H, W, C], not {_told(given)}")
  if not len(array):
    raise ValueError("there is no image to attack: images [N, H, W, C] need N >= 1")
  allowed = (jnp.float32, jnp.float64) if jax.config.jax_enable_x64 else (jnp.float32,)
  if array.dtype not in allowed:
    advice = "divide bytes by 255" if array.dtype == jnp.uint8 else "convert them"
    raise ValueError(f"images must be float32 in [0, 1], not {array.dtype}: {advice}")
  channels = array.shape[3]
  if channels != num_channels and (num_channels is not None or channels not in _CHANNELS):
    turned = array.shape[1] in _CHANNELS
    advice = f"pass num_channels={channels}"
    if turned:
      advice = f"transpose them by (0, 2, 3, 1) if channels come first, or {advice}"
    raise ValueError(
      f"images must be [N, H, W, C] with {num_channels or '1, 3 or 4'} channels last, not of "
      f"shape {array.shape}: {advice}"
    )
  if not is_traced(array):
    _check_range(np.asarray(array))
  return array


def _check_range(array):
  low, high = array.min(), array.max()
  if not (np.isfinite(low) and np.isfinite(high)):
    raise ValueError("images must be finite, not NaN or infinite: check how they were read")
  if low < -_ROUNDING or high > 1 + _ROUNDING:
    raise ValueError(
      f"images must be in [0, 1], not from {low:.3g} to {high:.3g}: map them there, and let the "
      f"model scale or standardise them itself"
    )


def labels(given: Any, num_images: int, num_classes: int) -> Any:
  """Labels int32 [N] in [0, K).

  Raises:
    ValueError: other shapes, dtypes and values.
  """
  array = given if is_traced(given) else np.asarray(given)
  if array.shape != (num_images,):
    one_hot = array.ndim == 2 and array.shape == (num_images, num_classes)
    advice = ": pass labels.argmax(-1)" if one_hot else ""
    raise ValueError(
      f"labels must be one integer for each of the images [N, H, W, C], of shape "
      f"({num_images},), not {array.shape}{advice}"
    )
  if not jnp.issubdtype(array.dtype, jnp.integer):
    raise ValueError(f"labels must be integers, not {array.dtype}")
  if is_traced(array):
    return array.astype(jnp.int32)
  wrong = array[(array < 0) | (array >= num_classes)]
  if wrong.size:
    from_one = array.min() >= 1 and array.max() == num_classes
    advice = ": subtract 1 from labels that count from 1" if from_one else ""
    raise ValueError(f"labels must be 0 to {num_classes - 1}, not {wrong[0]}{advice}")
  return array.astype(np.int32)


def answers(found: Any, num_rows: int, dtype: Any) -> jax.Array:
  """What a model's function returned, [B, K] of the images' dtype: nothing rounds noise away.

  Raises:
    ValueError: it is no single array of numbers [B, K] with K >= 2.
  """
  is_array = hasattr(found, "dtype") and hasattr(found, "shape")
  wanted = f"one array [B, K] with a number for each of K >= 2 classes, here [{num_rows}, K]"
  if not is_array:
    kind = type(found).__name__
    raise ValueError(f"the model must answer {wanted}, not a {kind}: pick the output you want")
  if found.ndim != 2 or found.shape[0] != num_rows or found.shape[1] < 2:
    advice = (
      ": of one probability p make [1 - p, p]"
      if found.shape in ((num_rows, 1), (num_rows,))
      else ""
    )
    raise ValueError(f"the model must answer {wanted}, not of shape {found.shape}{advice}")
  if jnp.issubdtype(found.dtype, jnp.complexfloating) or found.dtype == object:
    raise ValueError(f"the model must answer {wanted}, not {found.dtype}")
  return jnp.asarray(found).astype(dtype)


def num_classes(oracle: Oracle, image: jax.Array) -> int:
  """K of an oracle, from shapes alone; nothing is asked.

  Args:
    oracle: whose answers are looked at.
    image: one it can be asked about [H, W, C].

  Raises:
    ValueError: it does not answer [B, K] with K >= 2 of the image's dtype.
  """
  rows = jax.ShapeDtypeStruct((2, *image.shape), image.dtype)
  found = jax.eval_shape(oracle.query, jax.random.key(0), rows)
  wanted = f"an oracle must answer {rows.dtype} [B, K], K >= 2"
  if not hasattr(found, "shape") or len(found.shape) != 2 or found.shape[0] != 2:
    told = getattr(found, "shape", type(found).__name__)
    raise ValueError(f"{wanted}, not {told} to 2 rows")
  if found.shape[1] < 2 or found.dtype != rows.dtype:
    raise ValueError(f"{wanted}, not {found.dtype} [2, {found.shape[1]}] to 2 rows")
  return found.shape[1]


def check_function(oracle: Oracle, images: jax.Array, what: str = "the model") -> None:
  """Asks about a few images alone, in company and twice; they must be answered alike.

  Args:
    oracle: of a classifier; one that says it is random is asked for the same key only.
    images: float32 [N, H, W, C] in [0, 1]; of no trace.
    what: whose answers they are, for the error.

  Raises:
    ValueError: the answers depend on the company of an image, as with batch normalisation left
      in training mode; on the key, though the oracle does not say that it is random; or on
      when they were traced, as with NumPy's randomness.
  """
  some = images[:8]
  batch = jnp.concatenate([some, 1 - some])
  first = lambda: jax.random.key(0)
  ask = jax.jit(oracle.query)
  there = np.asarray(ask(first(), batch))
  if not np.isfinite(there).all():
    return  # what attacks it will say so
  # Where probabilities are near 0 and 1 only their logarithms tell them apart.
  is_log = bool((there >= 0).all())
  view = lambda x: np.log(np.maximum(x, 0) + LOG_FLOOR) if is_log else np.asarray(x)
  off = lambda other: float(np.abs(view(np.asarray(other)) - view(there)[: len(other)]).max())
  small, unit = 1e-3 * max(1.0, float(np.abs(view(there)).max())), " in log p" if is_log else ""
  if not oracle.random:
    if (other := off(ask(jax.random.key(1), batch))) > 0:
      raise ValueError(
        f"{what} answers the same images differently with another key (by up to "
        f"{other:.2g}{unit}): take the randomness out, or declare it with "
        f"oracles.from_random_predict or Oracle(..., random=True)"
      )
    turned = ask(first(), batch[::-1])[::-1]
    alone = ask(first(), jnp.repeat(batch[:1], len(batch), 0))[:1]
    if (other := max(off(turned), off(alone))) > small:
      raise ValueError(
        f"{what} answers an image differently in other company (by up to {other:.2g}{unit}): put "
        f"its batch normalisation and dropout in evaluation mode"
      )
  ask_again = jax.jit(lambda key, images: oracle.query(key, images))
  if (other := off(ask_again(first(), batch))) > small:
    raise ValueError(
      f"{what} answers differently when it is traced again (by up to {other:.2g}{unit}): "
      f"NumPy's or Python's randomness is drawn once and then stays the same; draw from the key "
      f"instead, with oracles.from_random_predict"
    )


def _told(value):
  shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
  return repr(value)[:60] if shape is None else f"{dtype} of shape {shape}"
