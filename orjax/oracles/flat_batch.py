"""Networks on one flat batch axis: under any vmap, a few rows at a time, differentiable.

A plain vmap would turn a network's convolutions into batched ones, several times slower.
"""

import jax
import jax.numpy as jnp

from orjax import border
from orjax import factories
from orjax.host.jax_internals import custom_vmap
from orjax.precision import full_precision

# Rows of a network call are padded to a multiple of this: at ragged shapes the bits of
# an answer may depend on the row's position in the batch (XLA's CPU backend).
_ROW_MULTIPLE = 32


def on_rows(predict, rows_per_call):
  """Makes `predict` run on one flat axis of rows, in full float32, whatever vmaps surround it.

  Args:
    predict: `predict(variables, *rows [B, ...]) -> answers [B, K]`; the last of `rows` are
      the images.
    rows_per_call: rows it sees at a time; None means all.

  Returns:
    A function of the same arguments, differentiable once, in reverse, with respect to the
    images.

  Raises:
    ValueError: `rows_per_call` is below 1.
  """
  factories.check_number("rows_per_call", rows_per_call, factories.LIMITS["rows_per_call"])
  # Made for each question: JAX would keep what it once traced of a function, though the
  # model that the function closes over was trained on since.
  return lambda variables, *rows: _on_rows(predict, rows_per_call)(variables, *rows)


def _on_rows(predict, rows_per_call):
  def call(variables, *rows):
    with full_precision():
      num_rows = len(rows[0])
      size = _next_multiple(num_rows, _ROW_MULTIPLE)
      size = min(size, rows_per_call or size)
      found = predict(variables, *(_pad_rows(x, size) for x in rows))
      return border.answers(found, size, rows[-1].dtype)[:num_rows]

  def pull_back(variables, *rows_and_cotangents):
    # The forward pass in here is the one of the answers again: XLA merges the two.
    *rows, images, cotangents = rows_and_cotangents
    with full_precision():
      return jax.vjp(lambda images: call(variables, *rows, images), images)[1](cotangents)[0]

  flat_call, flat_pull_back = (
    _on_one_axis(_a_few_at_a_time(function, rows_per_call)) for function in (call, pull_back)
  )

  @jax.custom_vjp
  def ask(variables, *rows):
    return flat_call(variables, *rows)

  ask.defvjp(
    lambda variables, *rows: (flat_call(variables, *rows), (variables, *rows)),
    lambda asked, cotangents: (*(None for _ in asked[:-1]), flat_pull_back(*asked, cotangents)),
  )
  return ask


def _pad_rows(rows, size):
  return jnp.pad(rows, ((0, size - len(rows)),) + ((0, 0),) * (rows.ndim - 1))


def _next_multiple(number, divisor):
  return number + -number % divisor


def _a_few_at_a_time(function, rows_per_call):
  """`function(variables, *rows [B, ...])`, called with `rows_per_call` rows at a time."""

  def in_turn(variables, *rows):
    num_rows = len(rows[0])
    if rows_per_call is None or num_rows <= rows_per_call:
      return function(variables, *rows)
    size = _next_multiple(num_rows, rows_per_call)
    parts = [_pad_rows(x, size).reshape(-1, rows_per_call, *x.shape[1:]) for x in rows]
    answers = jax.lax.map(lambda part: function(variables, *part), parts)
    return answers.reshape(-1, *answers.shape[2:])[:num_rows]

  return in_turn


def _on_one_axis(function):
  """Under vmap, `function(variables, *rows [B, ...])` still runs on one axis of rows."""
  flat = custom_vmap(function)

  @flat.def_vmap
  def rule(axis_size, in_batched, variables, *rows):
    variables_batched, *rows_batched = in_batched
    if any(jax.tree.leaves(variables_batched)):
      raise NotImplementedError("vmap over model variables: query the models in turn")
    if not any(rows_batched):
      return flat(variables, *rows), False
    rows = [
      x if batched else jnp.broadcast_to(x[None], (axis_size, *x.shape))
      for x, batched in zip(rows, rows_batched)
    ]
    answers = flat(variables, *(x.reshape(-1, *x.shape[2:]) for x in rows))
    return answers.reshape(axis_size, -1, *answers.shape[1:]), True

  return flat
