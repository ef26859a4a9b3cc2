"""Which successes are believed."""

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


@factory
def confirmed(
  attack: Attack, objective: Objective, *, num_queries: int, agreement: jax.typing.ArrayLike = 0.5
) -> Attack:
  """Believes a success only if most of `num_queries` fresh answers agree.

  Otherwise a lucky answer about a harmless image ends the search, at distance 0. Every
  step asks them, as every step of an attack costs the same.

  Args:
    attack: what is wrapped; its `adversarial` must be the image it judged.
    objective: whose `achieved` is the test.
    num_queries: fresh rows a step.
    agreement: more than this share of them must agree; may be traced.

  Returns:
    An `Attack` with the state of `attack`.

  Raises:
    ValueError: `num_queries` is below 1.
  """

  def step(key, oracle, example, state):
    step_key, query_key = jax.random.split(key)
    state, info = attack.step(step_key, oracle, example, state)
    image = state.adversarial
    rows = oracle.query(query_key, jnp.broadcast_to(image[None], (num_queries, *image.shape)))
    agreed = jax.vmap(objective.achieved, in_axes=(0, None))(rows, example.label)
    return state, info._replace(
      success=info.success & (agreed.mean() > agreement),
      num_queries=info.num_queries + num_queries * oracle.queries_per_row,
    )

  return Attack(attack.init, step)
