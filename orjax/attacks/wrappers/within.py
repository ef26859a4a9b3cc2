"""What an attack on the distance is worth in a ball: the nearest image inside."""

from typing import Any
from typing import NamedTuple

import jax

from orjax import geometry
from orjax.factories import factory
from orjax.types import Attack


class WithinState(NamedTuple):
  """The wrapped state, and its image brought into the ball."""

  inner: Any
  adversarial: jax.Array


@factory
def within(attack: Attack, radius: float, norm: str = "linf") -> Attack:
  """Hands in the nearest image of the ball: an attack on the distance may be beyond it.

  Args:
    attack: what is wrapped.
    radius: of the ball, in units of [0, 1].
    norm: `linf` or `l2`.

  Returns:
    An `Attack` that asks and claims what `attack` does.

  Raises:
    ValueError: the norm is unknown, or the radius not above 0.
  """
  geometry.check_norm(norm)

  def state_of(inner, example):
    image = geometry.project(inner.adversarial, example.image, radius, norm)
    return WithinState(inner, image)

  def init(key, example):
    return state_of(attack.init(key, example), example)

  def step(key, oracle, example, state):
    inner, info = attack.step(key, oracle, example, state.inner)
    return state_of(inner, example), info

  return Attack(init, step)
