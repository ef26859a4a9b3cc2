"""The closest success is what an attack hands in."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.factories import factory
from orjax.types import Attack


class KeepBestState(NamedTuple):
  """The closest success so far, if `found`, and its distance."""

  inner: Any
  distance: jax.Array
  found: jax.Array
  adversarial: jax.Array


@factory
def keep_best(attack: Attack, distance=geometry.l2) -> Attack:
  """Hands in the closest image that the attack judged a success.

  Args:
    attack: what is wrapped; its `adversarial` must be the image it judged.
    distance: of a perturbation.

  Returns:
    An `Attack`; while nothing was found it would hand in the last image judged.
  """

  def init(key, example):
    inner = attack.init(key, example)
    return KeepBestState(
      inner, jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), bool), inner.adversarial
    )

  def step(key, oracle, example, state):
    inner, info = attack.step(key, oracle, example, state.inner)
    reached = distance(inner.adversarial - example.image)
    better = info.success & (reached < state.distance)
    found = state.found | info.success
    return KeepBestState(
      inner,
      jnp.where(better, reached, state.distance),
      found,
      jnp.where(better | ~found, inner.adversarial, state.adversarial),
    ), info

  return Attack(init, step)
