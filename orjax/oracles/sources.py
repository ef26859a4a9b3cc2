"""Where answers come from: a classifier in JAX, a random one, any callable."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

from orjax import host
from orjax.oracles.flat_batch import on_rows
from orjax.types import Oracle


def from_predict(
  predict: Callable,
  variables: Any = None,
  *,
  rows_per_call: int | None = None,
  noisy: Callable | None = None,
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
    noisy: `noisy(variables, keys [B], images, stddevs [B]) -> answers [B, K]`: the same
      classifier with noise inside the network, drawn for each row from its key and with
      its stddev, such as `models.Classifier.apply_noisy` with a softmax; what `inside` of
      the oracle asks. None where the network has no place for noise.

  Returns:
    An `Oracle` without randomness, one query a row; differentiable once, in reverse, with
    respect to the images. Its `inside`, where it has one, is as `from_random_predict`.

  Raises:
    ValueError: `rows_per_call` is below 1; when asked, `predict` returned no array [B, K].
  """

  def answer(variables, images):
    return predict(images) if variables is None else predict(variables, images)

  ask = on_rows(answer, rows_per_call)
  query = lambda key, images: ask(variables, images)
  if noisy is None:
    return Oracle(query)

  def noisy_answer(variables, key_data, stddevs, images):
    return noisy(variables, jax.random.wrap_key_data(key_data), images, stddevs)

  ask_noisy = on_rows(noisy_answer, rows_per_call)

  def inside(stddev):
    def noisy_query(key, images):
      stddevs = jnp.broadcast_to(jnp.asarray(stddev, jnp.float32), (len(images),))
      return ask_noisy(variables, _row_keys(key, images), stddevs, images)

    return Oracle(noisy_query, random=True)

  return Oracle(query, inside=inside)


def _row_keys(key, images):
  """The data of a key for each row: arrays, which pad and reshape like the rows."""
  return jax.random.key_data(jax.random.split(key, len(images)))


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

  ask = on_rows(answer, rows_per_call)

  def query(key, images):
    return ask(variables, _row_keys(key, images), images)

  return Oracle(query, random=True)


def from_host(
  fn: Callable,
  num_classes: int,
  *,
  rows_per_call: int | None = None,
  max_rows: int | None = None,
  attempts: int = 5,
  first_wait: float = 1.0,
  longest_wait: float = 60.0,
) -> Oracle:
  """Asks any Python callable: a model of another framework, a remote endpoint.

  Works in `orjax.attack_batch` and the runner, with every attack that takes no gradient.
  All trials' rows of one query go into one call, from outside of compiled code, so that
  every row is sent once: the callable sees as many as the trials report in `num_queries`,
  plus what the verdict asks. `averaged` really asks it again. Only a step that needs several
  calls (`confirmed`, `rows_per_call`) and fails for good between them is asked anew when the
  run is resumed.

  Args:
    fn: from a float32 array [B, H, W, C], which is its own to change, to finite numbers
      [B, K], any B. What may pass is retried: a lost connection or a timeout (an `OSError` or
      `HTTPException`, or what httpx has for it; raise a `ConnectionError` for a client with
      errors of its own) and the HTTP statuses 408, 429 and from 500 on, as urllib, requests
      and httpx tell them. Any other error ends the run.
    num_classes: K.
    rows_per_call: rows a call at most; None for no limit.
    max_rows: rows sent in the life of this oracle, never exceeded; failed calls count.
    attempts: calls for the same rows before giving up with a `ConnectionError`.
    first_wait: seconds before the second attempt, doubled for each further one; each wait is
      up to half as long again, at random.
    longest_wait: of these seconds, also where the server's `Retry-After`, which is
      respected, wants more.

  Returns:
    An `Oracle`, one query a row.

  Raises:
    ValueError: a number below 1 (`num_classes`: 2; `max_rows` and waits: 0).
  """
  patience = host.Patience(attempts, first_wait, longest_wait)
  return from_endpoint(
    host.Endpoint(
      fn, num_classes, rows_per_call=rows_per_call, max_rows=max_rows, patience=patience
    )
  )


def from_endpoint(endpoint: host.Endpoint) -> Oracle:
  """Asks what `from_host` does, of an endpoint that counts in the sight of its owner.

  Args:
    endpoint: a callable and how it is asked.

  Returns:
    An `Oracle`, one query a row.

  Example:
    endpoint = host.Endpoint(fn, 10, rows_per_call=64)
    result = orjax.attack_batch(key, attack, oracles.from_endpoint(endpoint), images, labels, ...)
    print(endpoint.num_rows, "rows in", endpoint.num_requests, "requests")
  """
  return Oracle(functools.partial(host.ask, endpoint))
