"""An iteration in two halves: what it asks, and what it makes of the answers.

Attacks of many phases (start, bisect, probe, vote) ask the same number of rows in each.
Written this way they can be made to ask something else in between, at no waste.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.types import StepInfo


class AskTell(NamedTuple):
  """An attack that asks once a step; every state has `adversarial` [H, W, C].

  Attributes:
    init: `init(key, example) -> state`; asks nothing.
    ask: `ask(key, example, state) -> (images [R, H, W, C], notes)`: the rows of this step
      and whatever `tell` must know of them.
    tell: `tell(example, state, notes, rows [R, K]) -> (state, StepInfo)`, from `report`.
  """

  init: Callable[[Key, Example], Any]
  ask: Callable[[Key, Example, Any], tuple[jax.Array, Any]]
  tell: Callable[[Example, Any, Any, jax.Array], tuple[Any, StepInfo]]


def report(loss, success, finished: Any = False, learnt: Any = True) -> StepInfo:
  """What `tell` found; the queries are filled in by `from_ask_tell`."""
  flags = (jnp.asarray(flag, bool) for flag in (success, finished, learnt))
  success, finished, learnt = flags
  return StepInfo(loss, success, finished, jnp.int32(0), learnt)


def from_ask_tell(search: AskTell) -> Attack:
  """The `Attack` that asks the oracle what `search` wants to know, one query a step."""

  def step(key, oracle, example, state):
    ask_key, query_key = jax.random.split(key)
    images, notes = search.ask(ask_key, example, state)
    rows = oracle.query(query_key, images)
    state, info = search.tell(example, state, notes, rows)
    return state, info._replace(num_queries=jnp.int32(len(images) * oracle.queries_per_row))

  return Attack(search.init, step)


def losses(objective: Objective, rows: jax.Array, label: jax.Array) -> jax.Array:
  """The loss [R] of every row [R, K]."""
  return jax.vmap(objective.loss, in_axes=(0, None))(rows, label)


def achieved(objective: Objective, rows: jax.Array, label: jax.Array) -> jax.Array:
  """Whether each row [R, K] looks like a success, bool [R]; one that is no number does not."""
  found = jax.vmap(objective.achieved, in_axes=(0, None))(rows, label)
  return found & jnp.isfinite(rows).all(-1)


def known(loss: jax.Array, rows: jax.Array) -> jax.Array:
  """`loss` [], or NaN where an answer is no number, which ends the trial as broken."""
  return jnp.where(jnp.isfinite(rows).all(), loss, jnp.nan)


def select(condition: jax.Array, new: Any, old: Any) -> Any:
  """One of two states, leaf by leaf."""
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
