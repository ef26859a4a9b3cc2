"""Factories whose products compare by their arguments and say them, and the numbers they take.

Two attacks made with the same numbers are one attack: a program compiled for the one serves
the other, and a ledger can tell that it was made by another. The limits below are those of the
library and of the flags of the mains. No JAX.
"""

from collections.abc import Callable
import functools
import inspect
import math
import types
from typing import Any
from typing import NamedTuple
from typing import ParamSpec
from typing import TypeVar
import zlib

import numpy as np

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Limit(NamedTuple):
  """What a number may be.

  Attributes:
    low: the smallest.
    above: what it must exceed, instead of `low`.
    high: the largest.
    below: what it must stay below, instead of `high`.
    whole: whether it is a count.
    infinite: whether it may be infinite.
  """

  low: float | None = None
  above: float | None = None
  high: float | None = None
  below: float | None = None
  whole: bool = False
  infinite: bool = False

  def __str__(self):
    bounds = [
      words
      for words in (
        self.low is not None and f"at least {self.low:.10g}",
        self.above is not None and f"above {self.above:.10g}",
        self.high is not None and f"at most {self.high:.10g}",
        self.below is not None and f"below {self.below:.10g}",
      )
      if words
    ]
    kind = "a whole number" if self.whole else "" if self.infinite else "finite"
    return " and ".join(filter(None, [*bounds, kind]))

  def bounds(self) -> dict[str, float]:
    """Those of the bounds that there are, by name."""
    return {k: v for k, v in self._asdict().items() if k in _BOUNDS and v is not None}


_BOUNDS = ("low", "above", "high", "below")
_LARGEST = 2**31 - 1
_POSITIVE = Limit(above=0)
_COUNT = Limit(low=1, high=_LARGEST, whole=True)

# Of the arguments of attacks, estimators and objectives, by their names.
LIMITS = {
  "b1": Limit(low=0, below=1),
  "b2": Limit(low=0, below=1),
  "binary_search_steps": Limit(low=1, high=1000, whole=True),
  "cells": Limit(low=2, high=10**6, whole=True),
  "check_every": _COUNT,
  "confidence": Limit(low=0, infinite=True),
  "confirmations": Limit(low=0, high=10**6, whole=True),
  "decay": Limit(low=0),
  "diversity": Limit(low=0, high=1),
  "divisor": _POSITIVE,
  "epsilon": Limit(low=0),
  "exploration": _POSITIVE,
  "factor": Limit(low=1),
  "first_probes": _COUNT,
  "floor": _POSITIVE,
  "horizon": _COUNT,
  "initial": _POSITIVE,
  "initial_trade_off": _POSITIVE,
  "lead": _COUNT,
  "learning_rate": _POSITIVE,
  "max_probes": _COUNT,
  "max_queries": Limit(low=1, whole=True),
  "max_steps": _COUNT,
  "momentum": Limit(low=0, below=1),
  "num_coordinates": _COUNT,
  "num_draws": _COUNT,
  "num_frequencies": Limit(low=1, high=10**6, whole=True),
  "num_iterations": _COUNT,
  "num_pairs": Limit(low=1, high=10**7, whole=True),
  "num_proxies": _COUNT,
  "num_queries": _COUNT,
  "num_restarts": Limit(low=1, high=10**6, whole=True),
  "num_rounds": _COUNT,
  "num_rows": _COUNT,
  "num_samples": _COUNT,
  "num_steps": _COUNT,
  "num_targets": _COUNT,
  "population_size": Limit(low=2, high=10**7, whole=True),
  "prior_learning_rate": _POSITIVE,
  "prior_size": _COUNT,
  "proxy_radius": _POSITIVE,
  "radius": _POSITIVE,
  "rows_per_call": _COUNT,
  "scale": _POSITIVE,
  "smoothing": _POSITIVE,
  "spacing": _POSITIVE,
  "step_size": _POSITIVE,
  "tolerance": _POSITIVE,
  "trade_off": _POSITIVE,
  "window_share": Limit(above=0, high=1),
}


def check_number(name: str, value: Any, limit: Limit) -> None:
  """Raises ValueError for a number outside its limit, as float32 has it.

  None and traced numbers pass: the first says that there is no such number.
  """
  if value is None:
    return
  if isinstance(value, str | bytes) or np.ndim(value) > 0:
    raise ValueError(f"{name} must be a number {limit}, not {value!r}")
  if limit.whole and not hasattr(value, "__index__"):
    raise ValueError(f"{name} must be {limit}, not {value}")
  try:
    number = float(value)
  except TypeError:  # of a trace
    return
  with np.errstate(over="ignore", under="ignore"):
    used = number if limit.whole else float(np.float32(number))
  outside = (
    math.isnan(used)
    or (math.isinf(used) and not (limit.infinite and math.isinf(number)))
    or (limit.low is not None and used < limit.low)
    or (limit.above is not None and used <= limit.above)
    or (limit.high is not None and used > limit.high)
    or (limit.below is not None and used >= limit.below)
  )
  if outside:
    rounded = f", which is {used:g} in float32" if math.isfinite(number) and used != number else ""
    raise ValueError(f"{name} must be {limit}, not {value}{rounded}")


def check_numbers(name: str, values: Any, limit: Limit) -> None:
  """As `check_number`, for an array of them: none may be outside."""
  try:
    array = np.asarray(values)
  except TypeError:  # of a trace
    return
  for value in array[np.isnan(array)][:1] if array.dtype.kind == "f" else ():
    check_number(name, value, limit)
  if values is not None and array.size:
    check_number(name, array.min(), limit)
    check_number(name, array.max(), limit)


class _Call:
  """A factory and the arguments it was called with: what its products compare by."""

  def __init__(self, make, arguments):
    self._make, self._arguments = make, arguments

  def __eq__(self, other):
    return (
      isinstance(other, _Call)
      and self._make is other._make
      and all(map(_same, self._arguments.values(), other._arguments.values()))
    )

  def __hash__(self):
    return hash((self._make, *map(_hash, self._arguments.values())))

  def __repr__(self):
    told = (f"{name}={_told(value)}" for name, value in self._arguments.items())
    return f"{self._make.__name__}({', '.join(told)})"


def _hash(value):
  try:
    return hash(value)
  except TypeError:  # an array, a list
    return id(value)


def _same(one, other):
  if one is other:
    return True
  try:
    hash(one)
  except TypeError:
    return False
  return type(one) is type(other) and one == other


def _told(value):
  """As `repr`, without addresses: the same in every process."""
  if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
    return f"{value.__module__}.{value.__qualname__}"
  if isinstance(value, np.ndarray):
    return f"{value.dtype}{list(value.shape)}#{zlib.crc32(np.ascontiguousarray(value)):08x}"
  if type(value) is tuple and any(map(callable, value)):
    return f"({', '.join(map(_told, value))})"
  return repr(value)


class Made:
  """A function of a factory's, which compares by how it was made."""

  def __init__(self, function, call, field):
    functools.update_wrapper(self, function)  # copies what an inner factory's product holds
    self._function, self._call, self._field = function, call, field

  def __call__(self, *args, **kwargs):
    return self._function(*args, **kwargs)

  def __eq__(self, other):
    return isinstance(other, Made) and self._field == other._field and self._call == other._call

  def __hash__(self):
    return hash((self._field, self._call))

  def __repr__(self):
    return f"{self._call!r}{self._field}"


def told(product: Any) -> str:
  """What a product of a factory is: the call that makes it; of others their fields."""
  calls = [x._call if isinstance(x, Made) else None for x in product if callable(x)]
  if calls and calls[0] is not None and all(call == calls[0] for call in calls):
    return repr(calls[0])
  fields = (f"{name}={_told(value)}" for name, value in zip(product._fields, product))
  return f"{type(product).__name__}({', '.join(fields)})"


def factory(make: Callable[_P, _T]) -> Callable[_P, _T]:
  """Makes a factory check its numbers by `LIMITS`, and its products compare by its arguments.

  Args:
    make: returns a function, or a NamedTuple of functions.

  Returns:
    The same factory. Products of equal arguments are equal and hash alike; their `repr` says
    the arguments. An argument that has no hash, such as an array, is equal to itself only.
  """
  signature = inspect.signature(make)

  @functools.wraps(make)
  def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    for name, value in bound.arguments.items():
      if name in LIMITS:
        check_number(name, value, LIMITS[name])
    call = _Call(make, dict(bound.arguments))
    product: Any = make(*args, **kwargs)
    if not isinstance(product, tuple):
      return Made(product, call, "")  # type: ignore[return-value]
    fields = zip(product._fields, product)  # type: ignore[attr-defined]
    made = {name: Made(x, call, f".{name}") for name, x in fields if callable(x)}
    return product._replace(**made)  # type: ignore[attr-defined]

  return checked
