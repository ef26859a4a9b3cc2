"""Programs compiled once, kept, and never used for what they were not made of.

A compiled program holds what its functions closed over when they were traced. A caller who
trains the network on, or assigns a global array anew, must not get the answers of before: what
the functions can see is part of a program's name.
"""

import collections
from collections.abc import Callable
import functools
import types
from typing import Any
from typing import TypeVar
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from orjax.host import jax_internals

_T = TypeVar("_T")
_KEPT = 32  # programs
_LIBRARIES = frozenset(("flax", "jax", "jaxlib", "numpy", "optax", "orjax"))
_OPAQUE = frozenset(("jax", "jaxlib", "numpy", "orjax"))  # whose objects are not looked into
_DEPTH = 8  # of objects within objects
_LENGTH = 1000  # of lists and dictionaries that are looked into
_programs: collections.OrderedDict[Any, tuple[Any, Any]] = collections.OrderedDict()


def kept(make: Callable[..., _T], statics: tuple, *arguments: Any) -> _T | None:
  """What `make(*statics, *arguments)` gives, made once for equal statics and shapes.

  Args:
    make: makes compiled functions; `arguments` are examples of what they are called with.
    statics: hashable values, such as an attack and an oracle.
    *arguments: arrays in trees.

  Returns:
    What `make` gave, now or when it was asked before; None where something is traced: then
    nothing may be kept.
  """
  leaves, structure = jax.tree.flatten(arguments)
  seen = _seen(statics)
  if jax_internals.is_traced(*leaves, *seen.values()):
    return None
  shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
  name = (make, statics, tuple(map(_token, seen.values())), structure, shapes)
  if name not in _programs:
    _programs[name] = (make(*statics, *arguments), seen)  # `seen` keeps its arrays alive
    while len(_programs) > _KEPT:
      _programs.popitem(last=False)
  _programs.move_to_end(name)
  return _programs[name][0]


def whole(function: Callable, *arguments: Any) -> Callable:
  """`jax.jit(function)` for such arguments, with arrays that it closes over as inputs.

  As constants they would be folded into the program, and round differently.
  """
  jaxpr, constants, structure = jax_internals.traced(function, *arguments)
  inputs = [*jaxpr.constvars, *jaxpr.invars]
  program = jax_internals.part(jaxpr, jaxpr.eqns, inputs, jaxpr.outvars)

  def call(*arguments):
    return jax.tree.unflatten(structure, program(*constants, *jax.tree.leaves(arguments)))

  return call


def _token(value):
  """What tells a value from another of the same place."""
  if isinstance(value, np.ndarray):  # may change in place
    return id(value), zlib.crc32(np.ascontiguousarray(value).view(np.uint8))
  return id(value) if isinstance(value, jax.Array) else value


def _seen(values) -> dict[tuple, Any]:
  """Arrays and numbers that functions close over or find among their globals, by where."""
  found, visited = {}, {}
  todo = [((), 0, value) for value in values]
  while todo:
    where, depth, value = todo.pop()
    if isinstance(value, jax.Array | np.ndarray | bool | int | float | str | None):
      found[where] = value
    elif id(value) not in visited and depth < _DEPTH:
      visited[id(value)] = value
      depth += not isinstance(value, types.FunctionType)
      todo += [((*where, name), depth, inner) for name, inner in _within(value)]
  return found


def _within(value):
  """What a value consists of, with names."""
  if isinstance(value, types.FunctionType):
    return _of_function(value)
  if isinstance(value, types.ModuleType | type):
    return []
  if isinstance(value, types.MethodType):
    return [("self", value.__self__), ("function", value.__func__)]
  if isinstance(value, functools.partial):
    return [("function", value.func), ("arguments", value.args), ("named", value.keywords)]
  if isinstance(value, list | tuple | dict):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return list(items) if len(value) <= _LENGTH else []
  wrapped = getattr(value, "__wrapped__", None)
  if wrapped is not None:
    return [("wrapped", wrapped)]
  is_opaque = type(value).__module__.partition(".")[0] in _OPAQUE
  return [] if is_opaque or not hasattr(value, "__dict__") else list(vars(value).items())


def _of_function(value):
  cells = zip(value.__code__.co_freevars, value.__closure__ or ())
  own = [(name, cell.cell_contents) for name, cell in cells if _is_filled(cell)]
  if (value.__module__ or "").partition(".")[0] in _LIBRARIES:
    return own
  names = _names(value.__code__)
  return own + [(name, value.__globals__[name]) for name in names if name in value.__globals__]


def _names(code):
  """Names that a function, or one within it, may look up among its globals."""
  inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
  return dict.fromkeys([*code.co_names, *(name for names in inner for name in names)])


def _is_filled(cell):
  try:
    _ = cell.cell_contents
  except ValueError:
    return False
  return True
