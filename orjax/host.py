"""Models outside JAX, asked between compiled programs and never inside one.

A callback inside a compiled program may be dropped or repeated; a paid or counted endpoint
must be asked once for each row. So a query is a primitive that no compiler knows: `staged`
cuts a function at its queries, compiles the pieces and asks in between.
"""

import logging
import time
from typing import Any, Callable

import jax
from jax.extend import core
from jax.interpreters import batching
from jax.interpreters import mlir
import jax.numpy as jnp
import numpy as np

_LOG = logging.getLogger("orjax")


class Endpoint:
  """A Python callable that answers a batch of rows, with retries and a count.

  Attributes:
    num_rows: rows sent so far, those of failed calls included.
  """

  def __init__(self, fn: Callable, num_classes: int, *, rows_per_call: int | None,
               max_rows: int | None, attempts: int, first_wait: float):
    self.fn, self.num_classes = fn, num_classes
    self.rows_per_call, self.max_rows = rows_per_call, max_rows
    self.attempts, self.first_wait = attempts, first_wait
    self.num_rows = 0

  def ask(self, images: np.ndarray) -> np.ndarray:
    """Answers float32 [B, K] to images [B, H, W, C], in as few calls as allowed."""
    size = self.rows_per_call or len(images)
    parts = [self._ask(images[i:i + size]) for i in range(0, len(images), size or 1)]
    return np.concatenate([np.zeros((0, self.num_classes), np.float32), *parts])

  def _ask(self, images):
    for attempt in range(1, self.attempts + 1):
      if self.max_rows is not None and self.num_rows + len(images) > self.max_rows:
        raise ValueError(
            f"the limit of max_rows={self.max_rows} does not allow {len(images)} more rows "
            f"after {self.num_rows}: raise it, or ask for less")
      self.num_rows += len(images)
      try:
        answers = np.asarray(self.fn(images))
        break
      except OSError as e:  # what sockets, timeouts and urllib raise
        if attempt == self.attempts:
          raise ConnectionError(
              f"the model did not answer {len(images)} rows in {attempt} attempts ({e}): run "
              f"again when it does, and an interrupted run goes on") from e
        wait = self.first_wait * 2**(attempt - 1)
        _LOG.warning("the model did not answer (%s): asking again in %g s", e, wait)
        time.sleep(wait)
    if answers.shape != (len(images), self.num_classes):
      raise ValueError(f"the model must answer {len(images)} rows with an array of shape "
                       f"({len(images)}, {self.num_classes}), not {answers.shape}")
    return answers.astype(np.float32)


_ask_p = core.Primitive("ask_host")


def ask(endpoint: Endpoint, key: jax.Array, images: jax.Array) -> jax.Array:
  """Asks an endpoint: answers [B, K], at once or, when traced, for `staged` to do.

  The key only says what is a new question: under a vmap over keys the same images are
  asked again for each.
  """
  return _ask_p.bind(jax.random.key_data(key), images, endpoint=endpoint)


@_ask_p.def_impl
def _impl(tag, images, *, endpoint):
  del tag
  return jnp.asarray(endpoint.ask(np.asarray(images)))


@_ask_p.def_abstract_eval
def _abstract(tag, images, *, endpoint):
  del tag
  return jax.core.ShapedArray((images.shape[0], endpoint.num_classes), np.dtype("float32"))


def _batch(arguments, axes, *, endpoint):
  """Under vmap the rows still stand on one axis, the outermost vmap's first."""
  size = next(x.shape[axis] for x, axis in zip(arguments, axes)
              if axis is not None)
  tag, images = (
      jnp.broadcast_to(x[None], (size, *x.shape)) if axis is None
      else jnp.moveaxis(x, axis, 0) for x, axis in zip(arguments, axes))
  answers = _ask_p.bind(tag, images.reshape(-1, *images.shape[2:]), endpoint=endpoint)
  return answers.reshape(size, -1, endpoint.num_classes), 0


batching.primitive_batchers[_ask_p] = _batch


def _lowering(*unused, **unused_too):
  del unused, unused_too
  raise ValueError("a model outside JAX cannot be asked from inside a compiled function or a "
                   "loop of JAX's: ask it outside of jit, and bound its calls with "
                   "from_host(rows_per_call=), not in_chunks")


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
    signature = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
    if signature not in compiled:
      compiled[signature] = _cut(function, arguments)
    return compiled[signature](leaves, wanted)

  return call


def _cut(function, arguments):
  """Compiled pieces of a function, and what asks between them."""
  closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
  jaxpr, structure = closed.jaxpr, jax.tree.structure(shape)
  cuts = [i for i, eqn in enumerate(jaxpr.eqns) if eqn.primitive is _ask_p]
  if not cuts:
    whole = jax.jit(core.jaxpr_as_fun(closed))
    return lambda leaves, wanted: jax.tree.unflatten(structure, whole(*leaves))
  variables = lambda atoms: [x for x in atoms if not isinstance(x, core.Literal)]
  needed = set(variables(jaxpr.outvars))
  pieces: list[Any] = []
  for begin, end in reversed(list(zip([-1, *cuts], [*cuts, len(jaxpr.eqns)]))):
    eqns = jaxpr.eqns[begin + 1:end]
    if end < len(jaxpr.eqns):
      question = jaxpr.eqns[end]
      needed -= set(question.outvars)
      needed |= set(variables(question.invars))
      pieces.insert(0, question)
    made = {v for eqn in eqns for v in eqn.outvars}
    outputs = sorted(needed & made, key=lambda v: v.count if hasattr(v, "count") else id(v))
    used = {v for eqn in eqns for v in variables(eqn.invars)} - made
    inputs = sorted(used, key=id)
    piece = jaxpr.replace(
        constvars=[], invars=inputs, outvars=outputs, eqns=eqns,
        debug_info=jaxpr.debug_info.with_unknown_names())
    pieces.insert(0, (inputs, outputs, jax.jit(core.jaxpr_as_fun(core.ClosedJaxpr(piece, [])))))
    needed = (needed - made) | used

  def call(leaves, wanted):
    values = dict(zip(jaxpr.constvars, closed.consts)) | dict(zip(jaxpr.invars, leaves))
    read = lambda x: x.val if isinstance(x, core.Literal) else values[x]
    for piece in pieces:
      if isinstance(piece, tuple):
        inputs, outputs, program = piece
        values.update(zip(outputs, program(*map(values.__getitem__, inputs))))
      else:
        answers = _ask_wanted(piece.params["endpoint"], read(piece.invars[1]), wanted)
        values[piece.outvars[0]] = jnp.asarray(answers)
    return jax.tree.unflatten(structure, list(map(read, jaxpr.outvars)))

  return call


def _ask_wanted(endpoint, images, wanted):
  images = np.asarray(images)
  if wanted is None:
    return endpoint.ask(images)
  rows = np.repeat(wanted, len(images) // len(wanted))
  answers = np.zeros((len(images), endpoint.num_classes), np.float32)
  answers[rows] = endpoint.ask(images[rows])
  return answers
