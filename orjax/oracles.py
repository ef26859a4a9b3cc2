"""What the attacker may ask: the classifier, what the server adds, what the attacker does.

Read from the inside out, a composition is the threat model:

    averaged(with_output_noise(from_predict(predict), stddev), num_samples)
"""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from orjax import host
from orjax import rows as rows_lib
from orjax.rows import full_precision
from orjax.types import Oracle

_DRAW_MULTIPLE = 128


def from_predict(
  predict: Callable, variables: Any = None, *, rows_per_call: int | None = None
) -> Oracle:
  """Asks a classifier, in full float32.

  Whatever vmaps stand around a query, the network runs on one flat batch axis: a plain
  vmap would turn its convolutions into batched ones, several times slower.

  Args:
    predict: `predict(images [B, H, W, C]) -> answers [B, K]`, or
      `predict(variables, images)` when `variables` is given.
    variables: the model's parameters; pass them here, not in a closure, where they are
      traced.
    rows_per_call: rows the network sees at a time, of all vmapped queries together, which
      bounds memory; None means all.

  Returns:
    An `Oracle` without randomness, one query a row; differentiable once, in reverse, with
    respect to the images.

  Raises:
    ValueError: `rows_per_call` is below 1.
  """

  def answer(variables, images):
    return predict(images) if variables is None else predict(variables, images)

  ask = rows_lib.on_rows(answer, rows_per_call)
  return Oracle(lambda key, images: ask(variables, images))


def from_random_predict(
  predict: Callable, variables: Any, *, rows_per_call: int | None = None
) -> Oracle:
  """Asks a classifier that is random itself, such as one with noise inside the network.

  Args:
    predict: `predict(variables, keys [B], images [B, H, W, C]) -> answers [B, K]`, which
      draws whatever is random in a row from the key of that row.
    variables: the model's parameters.
    rows_per_call: as in `from_predict`.

  Returns:
    An `Oracle`, one query a row; a pure function of the key, differentiable as
    `from_predict` is.

  Raises:
    ValueError: `rows_per_call` is below 1.
  """

  def answer(variables, key_data, images):
    return predict(variables, jax.random.wrap_key_data(key_data), images)

  ask = rows_lib.on_rows(answer, rows_per_call)

  def query(key, images):
    return ask(variables, jax.random.key_data(jax.random.split(key, len(images))), images)

  return Oracle(query)


def from_host(
  fn: Callable,
  num_classes: int,
  *,
  rows_per_call: int | None = None,
  max_rows: int | None = None,
  attempts: int = 5,
  first_wait: float = 1.0,
) -> Oracle:
  """Asks any Python callable: a model of another framework, a remote endpoint.

  Works in `orjax.attack_batch` and the runner, with every attack that takes no gradient.
  All trials' rows of one query go into one call, from outside of compiled code, so that
  every row is sent once: the callable sees as many as the trials report in `num_queries`,
  plus what the verdict asks. `averaged` really asks it again. Only a step that needs several
  calls (`confirmed`, `rows_per_call`) and fails for good between them is asked anew when the
  run is resumed.

  Args:
    fn: from a float32 array [B, H, W, C] to answers [B, K], any B. What may pass is retried:
      an `OSError` (a lost connection, a timeout; raise a `ConnectionError` for a client with
      errors of its own) or an `HTTPException`, but no HTTP status below 500 other than 408
      and 429. Any other error ends the run.
    num_classes: K.
    rows_per_call: rows a call at most; None for no limit.
    max_rows: rows sent in the life of this oracle, never exceeded; failed calls count.
    attempts: calls for the same rows before giving up with a `ConnectionError`.
    first_wait: seconds before the second attempt, doubled for each further one.

  Returns:
    An `Oracle`, one query a row.

  Raises:
    ValueError: a number below 1 (`max_rows`, `first_wait`: below 0).
  """
  for name, value, least in (
    ("num_classes", num_classes, 2),
    ("attempts", attempts, 1),
    ("rows_per_call", rows_per_call, 1),
    ("max_rows", max_rows, 0),
    ("first_wait", first_wait, 0),
  ):
    if value is not None and value < least:
      raise ValueError(f"{name} must be at least {least}, not {value}")
  endpoint = host.Endpoint(
    fn,
    num_classes,
    rows_per_call=rows_per_call,
    max_rows=max_rows,
    attempts=attempts,
    first_wait=first_wait,
  )
  return Oracle(lambda key, images: host.ask(endpoint, key, images))


def with_output_noise(oracle: Oracle, stddev: jax.Array, *, mean: jax.Array = 0.0) -> Oracle:
  """Adds Gaussian noise to every answer: the paper's defense (section 5).

  d(p) = p + eps, eps ~ N(mean, Sigma), drawn anew for every row of every query. As in
  the paper the answer is neither clipped nor renormalised.

  Args:
    oracle: what is defended.
    stddev: scalar; or one per class [K]; or a factor L [K, K] of the covariance
      Sigma = L L^T. May be traced.
    mean: scalar or [K].

  Returns:
    An `Oracle`, a pure function of the key; with stddev and mean 0 it answers exactly
    what `oracle` does.

  Raises:
    ValueError: `stddev` has more than two axes.
  """
  stddev = jnp.asarray(stddev, jnp.float32)
  if stddev.ndim > 2:
    raise ValueError(f"stddev must be [], [K] or [K, K], not of shape {stddev.shape}")

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    answers = oracle.query(inner_key, images)
    # Drawn flat, which is several times faster under vmap, and padded: an odd size may
    # round its last entries differently.
    size = answers.size + -answers.size % _DRAW_MULTIPLE
    noise = jax.random.normal(noise_key, (size,), jnp.float32)[: answers.size]
    noise = noise.reshape(answers.shape)
    with full_precision():
      noise = (
        noise @ stddev.T if stddev.ndim == 2 else noise * jnp.broadcast_to(stddev, noise.shape)
      )
    shift = jnp.broadcast_to(jnp.asarray(mean, jnp.float32), noise.shape)
    return answers + (noise + shift).astype(answers.dtype)

  return Oracle(query, oracle.queries_per_row)


def averaged(oracle: Oracle, num_samples: int) -> Oracle:
  """Asks every row `num_samples` times and averages the answers: an adaptive attacker.

  Answers are averaged before any loss or log is taken of them. The samples differ in
  their key only, so what does not depend on the key (the network, under output noise)
  is computed once, while every sample is charged.

  Args:
    oracle: what is asked.
    num_samples: answers per row.

  Returns:
    An `Oracle` that charges `num_samples` times as much.

  Raises:
    ValueError: `num_samples` is below 1.
  """
  if num_samples < 1:
    raise ValueError(f"num_samples must be at least 1, not {num_samples}")
  if num_samples == 1:
    return oracle

  def query(key, images):
    keys = jax.random.split(key, num_samples)
    return jax.vmap(oracle.query, in_axes=(0, None))(keys, images).mean(0)

  return Oracle(query, num_samples * oracle.queries_per_row)


def in_chunks(oracle: Oracle, rows: int) -> Oracle:
  """Asks at most `rows` rows of a query at a time, to bound memory.

  Under `vmap` that is `rows` of each: there, `from_predict(rows_per_call=)` bounds it.

  Args:
    oracle: what is asked.
    rows: rows a call; the last call is padded by asking its first row again, which is
      computed but not charged.

  Returns:
    An `Oracle`.

  Raises:
    ValueError: `rows` is below 1.
  """
  if rows < 1:
    raise ValueError(f"rows must be at least 1, not {rows}")

  def query(key, images):
    num_rows = len(images)
    if num_rows <= rows:
      return oracle.query(key, images)
    num_chunks = math.ceil(num_rows / rows)
    padding = jnp.broadcast_to(images[:1], (num_chunks * rows - num_rows, *images.shape[1:]))
    chunks = jnp.concatenate([images, padding]).reshape(num_chunks, rows, *images.shape[1:])
    keys = jax.random.split(key, num_chunks)
    answers = jax.lax.map(lambda chunk: oracle.query(*chunk), (keys, chunks))
    return answers.reshape(-1, *answers.shape[2:])[:num_rows]

  return Oracle(query, oracle.queries_per_row)
