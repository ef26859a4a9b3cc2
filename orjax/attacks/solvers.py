"""How ZOO moves the coordinates it asked about."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.factories import factory


class Solver(NamedTuple):
  """How a coordinate moves.

  Attributes:
    init: `init(size) -> state`.
    update: `update(state, coordinates, slopes, curvatures) -> (moves [B], state)`.
  """

  init: Callable[[int], Any]
  update: Callable[..., tuple[jax.Array, Any]]


class AdamState(NamedTuple):
  """Per coordinate [D]: both moments and how often it was updated, plus 1."""

  first_moment: jax.Array
  second_moment: jax.Array
  count: jax.Array


@factory
def adam(
  *, learning_rate: float = 0.01, b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> Solver:
  """Adam with its own step counter for every coordinate; only the chosen ones advance."""

  def init(size):
    return AdamState(jnp.zeros(size), jnp.zeros(size), jnp.ones(size, jnp.int32))

  def update(state, coordinates, slopes, curvatures):
    del curvatures
    first = b1 * state.first_moment[coordinates] + (1 - b1) * slopes
    second = b2 * state.second_moment[coordinates] + (1 - b2) * slopes**2
    count = state.count[coordinates]
    power = count.astype(jnp.float32)
    rate = learning_rate * jnp.sqrt(1 - b2**power) / (1 - b1**power)
    # A slope that is no number says nothing: its coordinate stays as it is.
    usable = jnp.isfinite(slopes)
    keep = lambda new, old: old.at[coordinates].set(jnp.where(usable, new, old[coordinates]))
    state = AdamState(
      keep(first, state.first_moment),
      keep(second, state.second_moment),
      keep(count + 1, state.count),
    )
    return jnp.where(usable, -rate * first / (jnp.sqrt(second) + epsilon), 0), state

  return Solver(init, update)


@factory
def newton(*, learning_rate: float = 0.01, floor: float = 0.1) -> Solver:
  """ZOO's Newton step: slope over curvature, with curvatures below `floor` raised.

  A negative curvature counts as 1, as in the official code; then every one below `floor`
  as `floor`. At h = 1e-4 a curvature in float32 is mostly rounding noise.
  """

  def update(state, coordinates, slopes, curvatures):
    del coordinates
    curvatures = jnp.maximum(jnp.where(curvatures < 0, 1, curvatures), floor)
    moves = -learning_rate * slopes / curvatures
    return jnp.where(jnp.isfinite(moves), moves, 0), state

  return Solver(lambda size: (), update)


@factory
def adam_newton(*, learning_rate: float = 0.01, floor: float = 0.1) -> Solver:
  """The hybrid of ZOO's code: Newton where the curvature is not negative, Adam elsewhere.

  Adam's moments follow all coordinates that were asked.
  """
  first, second = (
    adam(learning_rate=learning_rate),
    newton(learning_rate=learning_rate, floor=floor),
  )

  def update(state, coordinates, slopes, curvatures):
    adam_moves, state = first.update(state, coordinates, slopes, curvatures)
    newton_moves, _ = second.update((), coordinates, slopes, curvatures)
    return jnp.where(curvatures < 0, adam_moves, newton_moves), state

  return Solver(first.init, update)
