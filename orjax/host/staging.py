"""Models outside JAX, asked between compiled programs and never inside one.

A callback inside a compiled program may be dropped or repeated; a paid or counted endpoint
must be asked once for each row. So a query is a primitive that no compiler knows: `staged`
cuts a function at its queries, compiles the pieces and asks in between.
"""

from collections.abc import Callable
import contextlib
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax.host import jax_internals
from orjax.host.endpoint import Endpoint

_BYTES_PER_CALL = 2**28  # of images that are asked several times: see `_ask_wanted`


def ask(endpoint: Endpoint, key: jax.Array, images: jax.Array) -> jax.Array:
  """Asks an endpoint: answers [B, K], at once or, when traced, for `staged` to do.

  The key only says what is a new question: under a vmap over keys the same images are
  asked again for each.
  """
  return _ask_p.bind(jax.random.key_data(key), images, endpoint=endpoint, num_repeats=1)[0]


def _answer(tag, images, *, endpoint, num_repeats):
  del tag
  return jnp.asarray(_ask_wanted(endpoint, images, num_repeats, None))


def _shape(tag, images, *, endpoint, num_repeats):
  del tag
  return (num_repeats, images.shape[0], endpoint.num_classes), np.dtype("float32")


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


_ask_p = jax_internals.primitive(
  "ask_host",
  jax_internals.Rules(
    _answer,
    _shape,
    _batch,
    not_compiled="a model outside JAX cannot be asked from inside a compiled function or a "
    "loop of JAX's: ask it outside of jit, and bound its calls with "
    "from_host(rows_per_call=), not in_chunks",
    no_gradient="a model outside JAX has no gradient: choose an attack that only asks, such as "
    "zoo, ql or bandits, or pass the network itself to from_predict",
  ),
)


def endpoints(function: Callable, *arguments) -> tuple[Endpoint, ...]:
  """The endpoints that a function asks, in places where `staged` can."""
  jaxpr, *_ = jax_internals.traced(function, *arguments)
  return _endpoints(jaxpr)


def _endpoints(jaxpr):
  return tuple(dict.fromkeys(eqn.params["endpoint"] for eqn in jaxpr.eqns if _asks(eqn)))


def _asks(eqn):
  return eqn.primitive is _ask_p


def asks(function: Callable, *arguments) -> bool:
  """Whether a function asks an endpoint, in a place where `staged` can."""
  return bool(endpoints(function, *arguments))


def rows_asked(function: Callable, *arguments) -> tuple[int, Any]:
  """How many rows a function asks of endpoints, in vmaps, loops and branches, too.

  Args:
    function: of arrays, in trees; nothing is asked.
    *arguments: it is called with.

  Returns:
    The rows; of branches those of the one that asks the most. And what the function returns,
    a number that depends on no answer.

  Raises:
    ValueError: it asks in a loop of unknown length, or returns what depends on answers.
  """
  jaxpr, constants, _ = jax_internals.traced(function, *arguments)
  leaves = jax.tree.leaves(arguments)
  values = dict(zip(jaxpr.constvars, constants)) | dict(zip(jaxpr.invars, leaves))
  (out,) = jaxpr.outvars
  needed, eqns = _variables([out]), []
  for eqn in reversed(jaxpr.eqns):
    if any(v in needed for v in eqn.outvars):
      eqns.insert(0, eqn)
      needed |= _variables(eqn.invars)
  num_rows = _rows_asked(jaxpr)
  if any(_asks(eqn) or any(map(_rows_asked, jax_internals.inner(eqn))) for eqn in eqns):
    raise ValueError("the number of queries that a step reports must not depend on answers")
  inputs = [v for v in values if v in needed]
  program = jax_internals.part(jaxpr, eqns, inputs, [out])
  with jax.ensure_compile_time_eval():  # also where the caller is being traced
    return num_rows, program(*(_some(values[v]) for v in inputs))[0]


def _some(value):
  return np.zeros(value.shape, value.dtype) if jax_internals.is_traced(value) else value


def _rows_asked(jaxpr) -> int:
  return sum(map(_rows_of, jaxpr.eqns))


def _rows_of(eqn):
  if _asks(eqn):
    return eqn.params["num_repeats"] * eqn.invars[1].aval.shape[0]
  rows = [_rows_asked(inner) for inner in jax_internals.inner(eqn)]
  if eqn.primitive.name == "while" and any(rows):
    raise ValueError(
      "a step asks its oracle in a loop of unknown length: every step must ask the same number "
      "of rows, so use jax.lax.scan"
    )
  if eqn.primitive.name == "cond":
    return max(rows)
  return sum(rows) * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)


def staged(function: Callable) -> Callable:
  """`jax.jit`, for functions that may ask endpoints.

  Args:
    function: of arrays, in trees.

  Returns:
    `call(*arguments, wanted=None)`. If `wanted`, bool [S], is given, queries that are
    vmapped over S things are asked for the wanted ones only; the others are answered 0.
    A call that fails leaves the answers that it had to the endpoints, for the next one.
  """
  compiled = {}

  def call(*arguments, wanted: np.ndarray | None = None):
    leaves, structure = jax.tree.flatten(arguments)
    if jax_internals.is_traced(*leaves):
      return function(*arguments)
    signature = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
    if signature not in compiled:
      compiled[signature] = _cut(function, arguments)
    return compiled[signature](leaves, wanted)

  return call


def _cut(function, arguments):
  """Compiled pieces of a function, and what asks between them."""
  jaxpr, constants, structure = jax_internals.traced(function, *arguments)
  asked, pieces = _endpoints(jaxpr), _pieces(jaxpr)

  def call(leaves, wanted):
    values = dict(zip(jaxpr.constvars, constants)) | dict(zip(jaxpr.invars, leaves))
    with contextlib.ExitStack() as together:
      for endpoint in asked:
        together.enter_context(endpoint.together())
      for piece, question in pieces:
        read = lambda atom: (jax_internals.constant(atom) or (values[atom],))[0]
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
  """The variables among atoms, each once and in order: a set's order changes with every run."""
  return dict.fromkeys(atom for atom in atoms if jax_internals.constant(atom) is None)


def _pieces(jaxpr):
  """Pairs of a piece and the question behind it, None behind the last."""
  cuts = [i for i, eqn in enumerate(jaxpr.eqns) if _asks(eqn)]
  needed = _variables(jaxpr.outvars)
  pieces = []
  # From the end to the beginning: a piece makes what is needed behind it.
  for begin, end in reversed(list(zip([-1, *cuts], [*cuts, len(jaxpr.eqns)]))):
    question = jaxpr.eqns[end] if end < len(jaxpr.eqns) else None
    if question is not None:
      needed = _without(needed, question.outvars) | _variables(question.invars)
    eqns = jaxpr.eqns[begin + 1 : end]
    made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
    used = _without(_variables(v for eqn in eqns for v in eqn.invars), made)
    inputs, outputs = list(used), [v for v in made if v in needed]
    program = jax_internals.part(jaxpr, eqns, inputs, outputs)
    pieces.insert(0, (_Piece(inputs, outputs, program), question))
    needed = _without(needed, made) | used
  return pieces


def _without(variables, others):
  return {v: None for v in variables if v not in others}


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
