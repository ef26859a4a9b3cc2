"""What an attacker makes of an oracle before any attack asks it."""

import math

import jax
import jax.numpy as jnp

from orjax import factories
from orjax.types import clamped_log
from orjax.types import Oracle


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
  factories.check_number("num_samples", num_samples, factories.LIMITS["num_samples"])
  if num_samples == 1:
    return Oracle(oracle.query, oracle.queries_per_row)

  def query(key, images):
    keys = jax.random.split(key, num_samples)
    return jax.vmap(oracle.query, in_axes=(0, None))(keys, images).mean(0)

  return Oracle(query, num_samples * oracle.queries_per_row)


def log_answers(oracle: Oracle) -> Oracle:
  """Takes the logarithms of probabilities: to a constant an image, the logits behind them.

  What an attack on logits makes of a server that answers probabilities. The logarithm's
  argument is clamped as in `objectives.log_margin`: one below 0 has no slope, and differences
  end at 69, where a probability is 1e-30.

  Args:
    oracle: what is asked, for probabilities.

  Returns:
    An `Oracle` that charges as much.
  """

  def query(key, images):
    return clamped_log(oracle.query(key, images))

  return Oracle(query, oracle.queries_per_row)


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
