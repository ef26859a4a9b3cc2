"""All of JAX that orjax uses without a promise that it stays, in one place.

`jax.core`, `jax.custom_batching`, `jax.extend` and `jax.interpreters` change with JAX; so do
the fields of a `Jaxpr`. A test uses each piece on the oldest and on the newest JAX known.
"""

from collections.abc import Callable
import contextlib
from typing import Any
from typing import NamedTuple

import jax

_WORKS_WITH = "jax>=0.10,<0.13"


@contextlib.contextmanager
def _known():
  """Says which JAX is wanted where this one lacks something."""
  try:
    yield
  except (ImportError, AttributeError) as e:
    raise ImportError(
      f"orjax uses parts of JAX that JAX {jax.__version__} does not have ({e}): "
      f"pip install '{_WORKS_WITH}'"
    ) from e


with _known():
  from jax.core import ShapedArray
  from jax.core import Tracer
  from jax.custom_batching import custom_vmap
  from jax.extend import core
  from jax.interpreters import ad
  from jax.interpreters import batching
  from jax.interpreters import mlir

__all__ = ["Rules", "constant", "custom_vmap", "inner", "is_traced", "part", "primitive", "traced"]


def is_traced(*values: Any) -> bool:
  """Whether one of the values is abstract, as inside of `jax.jit` and `jax.vmap`."""
  return any(isinstance(value, Tracer) for value in values)


class Rules(NamedTuple):
  """What an operation of our own does.

  Attributes:
    answer: `answer(*arrays, **parameters) -> array`, where nothing is traced.
    shape: `shape(*avals, **parameters) -> (shape, dtype)` of that array.
    batch: `batch(arrays, axes, **parameters) -> (array, axis)`, under a vmap.
    not_compiled: what is said where a compiler meets it.
    no_gradient: what is said where its derivative is wanted.
  """

  answer: Callable
  shape: Callable
  batch: Callable
  not_compiled: str
  no_gradient: str


def primitive(name: str, rules: Rules) -> Any:
  """An operation that JAX traces and maps, but knows not how to compile or differentiate."""

  def refuse(message):
    def rule(*unused, **unused_too):
      del unused, unused_too
      raise ValueError(message)

    return rule

  with _known():
    made = core.Primitive(name)
    made.def_impl(rules.answer)
    made.def_abstract_eval(
      lambda *avals, **parameters: ShapedArray(*rules.shape(*avals, **parameters))
    )
    batching.primitive_batchers[made] = rules.batch
    ad.primitive_jvps[made] = refuse(rules.no_gradient)
    mlir.register_lowering(made, refuse(rules.not_compiled))
  return made


def traced(function: Callable, *arguments: Any) -> tuple[Any, list[Any], Any]:
  """A function as a list of operations.

  Returns:
    The jaxpr; the values of its constants; the structure of what the function returns.
  """
  closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
  return closed.jaxpr, closed.consts, jax.tree.structure(shape)


def constant(atom: Any) -> tuple[Any] | None:
  """The value of a literal in a jaxpr, in a tuple; None where the atom is a variable."""
  return (atom.val,) if isinstance(atom, core.Literal) else None


def inner(eqn: Any) -> list[Any]:
  """The jaxprs within an operation: of a loop, of branches, of a compiled function."""
  found = []
  for value in eqn.params.values():
    for some in value if isinstance(value, tuple | list) else (value,):
      jaxpr = getattr(some, "jaxpr", some)
      if hasattr(jaxpr, "eqns"):
        found.append(jaxpr)
  return found


def part(jaxpr: Any, eqns: list[Any], inputs: list[Any], outputs: list[Any]) -> Callable:
  """Some operations of a jaxpr, compiled: from values of `inputs` to those of `outputs`."""
  with _known():
    cut = jaxpr.replace(
      constvars=[],
      invars=inputs,
      outvars=outputs,
      eqns=eqns,
      debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    closed = core.ClosedJaxpr(cut, [])  # type: ignore[reportPrivateImportUsage]
    return jax.jit(core.jaxpr_as_fun(closed))
