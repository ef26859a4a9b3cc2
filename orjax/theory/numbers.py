"""What the arguments of a formula may be: outside, it would give a number all the same."""

from collections.abc import Callable
import functools
import inspect
from typing import ParamSpec
from typing import TypeVar

import jax.numpy as jnp
import numpy as np

from orjax import factories
from orjax.factories import Limit

_P = ParamSpec("_P")
_T = TypeVar("_T")
_AT_LEAST_0 = Limit(low=0, infinite=True)
_POSITIVE = Limit(above=0)
_RATE = Limit(low=0, high=1)
_AT_LEAST_1 = Limit(low=1)

_LIMITS = {
  "error": Limit(above=0, below=1),
  "error_rate": _RATE,
  "flip_rate": _RATE,
  "gradient_norm": _AT_LEAST_0,
  "l2_norm": _AT_LEAST_0,
  "loss_stddev": _AT_LEAST_0,
  "misclassification_rate": Limit(above=0, below=1),
  "noise_stddev": _AT_LEAST_0,
  "num_answers": _AT_LEAST_1,
  "num_classes": Limit(low=2, whole=True),
  "num_digits": Limit(low=0),
  "num_pairs": _AT_LEAST_1,
  "num_pixels": _AT_LEAST_1,
  "num_probes": _AT_LEAST_1,
  "num_queries": _AT_LEAST_1,
  "num_tries": _AT_LEAST_1,
  "probe_length": _POSITIVE,
  "radius": _POSITIVE,
  "rival_stddev": _AT_LEAST_0,
  "smoothing": _POSITIVE,
  "spacing": _POSITIVE,
  "stddev": _AT_LEAST_0,
  "success_rate": _RATE,
}


def checked(formula: Callable[_P, _T]) -> Callable[_P, _T]:
  """Makes a formula raise ValueError for numbers that it is not about; traced ones pass."""
  signature = inspect.signature(formula)

  @functools.wraps(formula)
  def with_numbers(*args: _P.args, **kwargs: _P.kwargs) -> _T:
    for name, value in signature.bind(*args, **kwargs).arguments.items():
      if name in _LIMITS:
        factories.check_numbers(name, value, _LIMITS[name])
    return formula(*args, **kwargs)

  return with_numbers


def answers(probs):
  """Answers [..., K] as an array of floats.

  Raises:
    ValueError: there are none, K is below 2, or one is no finite number.
  """
  found = jnp.asarray(probs)
  if not jnp.issubdtype(found.dtype, jnp.floating):
    found = found.astype(jnp.float32)
  if found.ndim < 1 or found.shape[-1] < 2 or not found.size:
    raise ValueError(
      f"probs must be [..., K] with K >= 2 and not empty, not of shape {found.shape}"
    )
  try:
    finite = np.isfinite(np.asarray(found)).all()
  except TypeError:  # of a trace
    return found
  if not finite:
    raise ValueError("probs must be finite numbers, not NaN or infinite")
  return found
