"""A server that asks its own random classifier several times for one answer."""

import jax
import jax.numpy as jnp

from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import one_hot
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def _gathered(oracle, num_answers, gather):
  """`gather(answers [num_answers, K]) -> [K]` of answers that are charged as one."""
  if num_answers < 1:
    raise ValueError(f"the number of answers must be at least 1, not {num_answers}")

  def query(key, images):
    keys = jax.random.split(key, num_answers)
    answers = jax.vmap(oracle.query, in_axes=(0, None))(keys, images)
    return on_each_row(gather, jnp.moveaxis(answers, 0, 1))

  return Oracle(query, oracle.queries_per_row)


def with_vote(oracle: Oracle, num_votes: int) -> Oracle:
  """Answers the label that most of `num_votes` answers name, as a one-hot row.

  Of equally many votes the first class has it. The server asks its classifier `num_votes`
  times, with a key for each; the attacker pays once.

  The user gets the label that the noise takes away least often: if a vote is right with p >
  1/2 the majority is wrong with the tail of a binomial. An attacker sees a sharper, nearly
  deterministic boundary, the one of the classifier under its noise: it takes back what noise
  did to him as well as to the user, and attacks on decisions need no more.

  Args:
    oracle: what is defended, random.
    num_votes: at least 1.

  Returns:
    An `Oracle` that charges as `oracle` does.

  Raises:
    ValueError: `num_votes` is below 1.

  References:
    The majority vote of Kassis et al. (2025), DiffBreak.
  """

  def gather(answers):
    votes = jax.vmap(lambda row: one_hot(row.argmax(-1), row))(answers).sum(0)
    return one_hot(votes.argmax(-1), votes)

  return _gathered(oracle, num_votes, gather)


def with_mean(oracle: Oracle, num_answers: int) -> Oracle:
  """Answers the mean of several answers, as random self-ensembles do.

  The server asks its classifier `num_answers` times, with a key for each; the attacker
  pays once. It is `oracles.averaged` on the other side of the counter: an attacker who
  averages finds that the server has done it for him.

  Args:
    oracle: what is defended, random.
    num_answers: at least 1.

  Returns:
    An `Oracle` that charges as `oracle` does.

  Raises:
    ValueError: `num_answers` is below 1.

  References:
    Liu et al. (2018), Random Self-Ensemble; Xie et al. (2018), with 30 answers.
  """
  return _gathered(oracle, num_answers, lambda answers: answers.mean(0))


@factory
def majority_vote(defense: Defense, num_votes: int) -> Defense:
  """Another defense, of which the server takes a majority vote; swept as that is.

  Args:
    defense: a random one, such as `output_noise()`.
    num_votes: at least 1.

  Returns:
    A `Defense` named after the other, such as "output_noise_vote25".
  """
  return defense._replace(
    name=f"{defense.name}_vote{num_votes}",
    wrap=lambda oracle, setting: with_vote(defense.wrap(oracle, setting), num_votes),
  )


@factory
def mean_answer(defense: Defense, num_answers: int) -> Defense:
  """Another defense, of which the server answers the mean; swept as that is.

  Args:
    defense: a random one, such as `resize_pad(flip=True)`.
    num_answers: at least 1.

  Returns:
    A `Defense` named after the other, such as "resize_pad_mean30".
  """
  return defense._replace(
    name=f"{defense.name}_mean{num_answers}",
    wrap=lambda oracle, setting: with_mean(defense.wrap(oracle, setting), num_answers),
  )
