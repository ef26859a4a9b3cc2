"""Models outside JAX, asked between compiled programs and never inside one.

A callback inside a compiled program may be dropped or repeated; a paid or counted endpoint
must be asked once for each row. So a query is a primitive that no compiler knows: `staged`
cuts a function at its queries, compiles the pieces and asks in between.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
from jax.extend import core
from jax.interpreters import batching
from jax.interpreters import mlir
import jax.numpy as jnp
import numpy as np

from orjax.host.endpoint import Endpoint

_BYTES_PER_CALL = 2**28  # of images that are asked several times: see `_ask_wanted`


_ask_p = core.Primitive("ask_host")


def ask(endpoint: Endpoint, key: jax.Array, images: jax.Array) -> jax.Array:
  """Asks an endpoint: answers [B, K], at once or, when traced, for `staged` to do.

  The key only says what is a new question: under a vmap over keys the same images are
  asked again for each.
  """
  return _ask_p.bind(jax.random.key_data(key), images, endpoint=endpoint, num_repeats=1)[0]


@_ask_p.def_impl
def _impl(tag, images, *, endpoint, num_repeats):
  del tag
  return jnp.asarray(_ask_wanted(endpoint, images, num_repeats, None))


@_ask_p.def_abstract_eval
def _abstract(tag, images, *, endpoint, num_repeats):
  del tag
  return jax.core.ShapedArray(
    (num_repeats, images.shape[0], endpoint.num_classes), np.dtype("float32")
  )


def _batch(arguments, axes, *, endpoint, num_repeats):
  """Under vmap the rows still stand on one axis, the outermost vmap's first.

  Under a vmap over keys alone they are not copied but asked several times.
  """
  (tag, images), (tag_axis, axis) = arguments, axes
  if axis is None:
    size = tag.shape[tag_axis]
    answers = _ask_p.bind(tag, images, endpoint=endpoint, num_repeats=size * num_repeats)
    return answers.reshape(size, num_repeats, *answers.shape[1:]), 0
  images = jnp.moveaxis(images, axis, 0)
  size = len(images)
  answers = _ask_p.bind(
    tag, images.reshape(-1, *images.shape[2:]), endpoint=endpoint, num_repeats=num_repeats
  )
  return answers.reshape(num_repeats, size, -1, endpoint.num_classes), 1


batching.primitive_batchers[_ask_p] = _batch


def _lowering(*unused, **unused_too):
  del unused, unused_too
  raise ValueError(
    "a model outside JAX cannot be asked from inside a compiled function or a "
    "loop of JAX's: ask it outside of jit, and bound its calls with "
    "from_host(rows_per_call=), not in_chunks"
  )


mlir.register_lowering(_ask_p, _lowering)


def asks(function: Callable, *arguments) -> bool:
  """Whether a function asks an endpoint, in a place where `staged` can."""
  jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
  return any(eqn.primitive is _ask_p for eqn in jaxpr.eqns)


def staged(function: Callable) -> Callable:
  """`jax.jit`, for functions that may ask endpoints.

  Args:
    function: of arrays, in trees.

  Returns:
    `call(*arguments, wanted=None)`. If `wanted`, bool [S], is given, queries that are
    vmapped over S things are asked for the wanted ones only; the others are answered 0.
  """
  compiled = {}

  def call(*arguments, wanted: np.ndarray | None = None):
    leaves, structure = jax.tree.flatten(arguments)
    if any(isinstance(x, jax.core.Tracer) for x in leaves):
      return function(*arguments)
    signature = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
    if signature not in compiled:
      compiled[signature] = _cut(function, arguments)
    return compiled[signature](leaves, wanted)

  return call


def _cut(function, arguments):
  """Compiled pieces of a function, and what asks between them."""
  closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
  jaxpr, structure = closed.jaxpr, jax.tree.structure(shape)
  if not any(eqn.primitive is _ask_p for eqn in jaxpr.eqns):
    whole = jax.jit(core.jaxpr_as_fun(closed))
    return lambda leaves, wanted: jax.tree.unflatten(structure, whole(*leaves))
  pieces = _pieces(jaxpr)

  def call(leaves, wanted):
    values = dict(zip(jaxpr.constvars, closed.consts)) | dict(zip(jaxpr.invars, leaves))
    read = lambda x: x.val if isinstance(x, core.Literal) else values[x]
    for piece, question in pieces:
      values.update(zip(piece.outputs, piece.program(*map(read, piece.inputs))))
      if question is not None:
        answers = _ask_wanted(**question.params, images=read(question.invars[1]), wanted=wanted)
        values[question.outvars[0]] = jnp.asarray(answers)
    return jax.tree.unflatten(structure, list(map(read, jaxpr.outvars)))

  return call


class _Piece(NamedTuple):
  """A compiled part of a function, and the variables it reads and makes."""

  inputs: list[Any]
  outputs: list[Any]
  program: Callable


def _variables(atoms):
  return [x for x in atoms if not isinstance(x, core.Literal)]


def _pieces(jaxpr):
  """Pairs of a piece and the question behind it, None behind the last."""
  cuts = [i for i, eqn in enumerate(jaxpr.eqns) if eqn.primitive is _ask_p]
  needed = set(_variables(jaxpr.outvars))
  pieces = []
  # From the end to the beginning: a piece makes what is needed behind it.
  for begin, end in reversed(list(zip([-1, *cuts], [*cuts, len(jaxpr.eqns)]))):
    question = jaxpr.eqns[end] if end < len(jaxpr.eqns) else None
    if question is not None:
      needed = needed - set(question.outvars) | set(_variables(question.invars))
    eqns = jaxpr.eqns[begin + 1 : end]
    made = {v for eqn in eqns for v in eqn.outvars}
    used = {v for eqn in eqns for v in _variables(eqn.invars)} - made
    inputs, outputs = list(used), list(needed & made)
    part = jaxpr.replace(
      constvars=[],
      invars=inputs,
      outvars=outputs,
      eqns=eqns,
      debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    program = jax.jit(core.jaxpr_as_fun(core.ClosedJaxpr(part, [])))
    pieces.insert(0, (_Piece(inputs, outputs, program), question))
    needed = needed - made | used
  return pieces


def _ask_wanted(endpoint, images, num_repeats, wanted):
  """Answers [num_repeats, N, K], 0 where not wanted; bounded copies of the images."""
  images = np.asarray(images)
  rows = (
    np.ones(len(images), bool) if wanted is None else np.repeat(wanted, len(images) // len(wanted))
  )
  asked = images[rows]
  answers = np.zeros((num_repeats, len(images), endpoint.num_classes), np.float32)
  at_once = max(1, _BYTES_PER_CALL // max(asked.nbytes, 1))
  for start in range(0, num_repeats, at_once):
    count = min(at_once, num_repeats - start)
    found = endpoint.ask(np.tile(asked, (count, *[1] * (images.ndim - 1))))
    answers[start : start + count, rows] = found.reshape(count, len(asked), -1)
  return answers
