"""Several steps as one: for an attack of one row a step, where a step must ask more."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks.steps import ask_tell
from orjax.factories import factory
from orjax.types import Attack


class InBlocksState(NamedTuple):
  """The wrapped state, and the image of the block's last success; if none, the last image."""

  inner: Any
  adversarial: jax.Array


@factory
def in_blocks(attack: Attack, *, num_steps: int) -> Attack:
  """Makes one step of `num_steps` steps.

  A block that finishes stands still to its end, while it asks, and pays, as much as any other.
  Of several successes in a block the last one is reported: what chooses among them, such as
  `keep_best`, belongs inside. All steps are traced one by one, so that many compile for long.

  Args:
    attack: what is wrapped; its `adversarial` must be the image it judged.
    num_steps: steps a block.

  Returns:
    An `Attack` that asks num_steps times as many rows a step; with one step, `attack` itself.

  Raises:
    ValueError: `num_steps` is below 1.
  """
  if num_steps == 1:
    return attack

  def init(key, example):
    inner = attack.init(key, example)
    return InBlocksState(inner, inner.adversarial)

  def step(key, oracle, example, state):
    inner, success, finished = state.inner, jnp.zeros((), bool), jnp.zeros((), bool)
    learnt, adversarial, loss, num_queries = success, state.adversarial, jnp.float32(0), 0
    for step_key in jax.random.split(key, num_steps):
      moved, info = attack.step(step_key, oracle, example, inner)
      seen = info.success & ~finished
      shown = seen | ~(success | finished)
      adversarial = jnp.where(shown, moved.adversarial, adversarial)
      # An answer that is no number ends a trial, wherever in the block it came.
      broken = jnp.isnan(loss) | (~finished & jnp.isnan(info.loss))
      loss = jnp.where(broken, jnp.nan, jnp.where(shown, info.loss, loss))
      success, learnt = success | seen, learnt | (info.learnt & ~finished)
      inner = ask_tell.select(finished, inner, moved)
      finished, num_queries = finished | info.finished, num_queries + info.num_queries
    told = info._replace(
      loss=loss, success=success, finished=finished, learnt=learnt, num_queries=num_queries
    )
    return InBlocksState(inner, adversarial), told

  return Attack(init, step)
