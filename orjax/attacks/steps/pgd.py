"""One step of projected gradient descent on any gradient: exact or estimated."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax import objectives
from orjax.attacks.starts import Start
from orjax.factories import check_number
from orjax.factories import factory
from orjax.factories import Limit
from orjax.types import Attack
from orjax.types import Estimator
from orjax.types import judged
from orjax.types import Objective


class Plateau(NamedTuple):
  """When to shorten the steps.

  Attributes:
    length: losses remembered; once there are as many, the last is compared with the first.
    factor: what the step is divided by if the loss did not fall; the memory is emptied.
    min_step_size: of the steps.
    reversed: divide if the loss fell, as the official code does when it is untargeted: it
      compares the cross-entropy, which an untargeted attacker raises.
  """

  length: int = 5
  factor: float = 2.0
  min_step_size: float = 5e-5
  reversed: bool = False

  def check(self) -> None:
    """Raises ValueError for numbers that shorten no step."""
    check_number("the length of a plateau", self.length, Limit(low=2, whole=True))
    check_number("the factor of a plateau", self.factor, Limit(above=1))
    check_number("min_step_size", self.min_step_size, Limit(above=0))


class PgdState(NamedTuple):
  """Where it is [H, W, C], the averaged gradient, the step, the losses, the image judged.

  `losses` [length] are the last means, the newest last, `num_losses` of them valid.
  """

  image: jax.Array
  gradient: jax.Array
  step_size: jax.Array
  losses: jax.Array
  num_losses: jax.Array
  adversarial: jax.Array


@factory
def pgd(
  objective: Objective,
  estimator: Estimator,
  *,
  radius: float = 0.05,
  norm: str = "linf",
  step_size: float = 1e-2,
  momentum: float = 0.0,
  plateau: Plateau | None = None,
  start: Start | None = None,
) -> Attack:
  """One projected step along the steepest direction a step.

  Args:
    objective: what the attacker wants.
    estimator: how it gets the gradient; the answer at the image is the success test.
    radius: of the ball around the image, in units of [0, 1].
    norm: `linf` (sign steps) or `l2` (steps of the gradient's direction).
    step_size: length of a step in that norm.
    momentum: share of the averaged gradient that is kept at each step.
    plateau: how the step is shortened; None for never.
    start: where it begins; None means at the image.

  Returns:
    An `Attack` that never finishes; `adversarial` is the image judged by the step, from
    before its move.

  Raises:
    ValueError: the norm is unknown.
  """
  geometry.check_norm(norm)
  if plateau is not None:
    plateau.check()
  length = plateau.length if plateau else 1

  def init(key, example):
    image = example.image if start is None else start(key, example.image)
    return PgdState(
      image,
      jnp.zeros_like(image),
      jnp.full((), step_size, image.dtype),
      jnp.zeros(length, image.dtype),
      jnp.zeros((), jnp.int32),
      image,
    )

  def shortened(state, loss):
    losses = jnp.concatenate([state.losses[1:], loss[None]])
    num_losses = jnp.minimum(state.num_losses + 1, length)
    if plateau is None:
      return state.step_size, losses, num_losses
    rose = losses[0] > losses[-1] if plateau.reversed else losses[-1] > losses[0]
    stuck = (num_losses == length) & rose
    shorter = jnp.minimum(
      state.step_size, jnp.maximum(state.step_size / plateau.factor, plateau.min_step_size)
    )
    return (jnp.where(stuck, shorter, state.step_size), losses, jnp.where(stuck, 0, num_losses))

  def step(key, oracle, example, state):
    found = estimator.estimate(key, objectives.asked(objective, oracle, example.label), state.image)
    # A direction that is no number says nothing.
    slope = jnp.where(jnp.isfinite(found.gradient), found.gradient, 0)
    gradient = momentum * state.gradient + (1 - momentum) * slope
    rate, losses, num_losses = shortened(state, found.mean)
    image = geometry.project(
      state.image - rate * geometry.steepest(gradient, norm), example.image, radius, norm
    )
    achieved = objective.achieved(found.answer, example.label)
    info = judged(
      oracle, estimator.num_points, loss=found.value, achieved=achieved, gradient=found.gradient
    )
    return PgdState(image, gradient, rate, losses, num_losses, state.image), info

  return Attack(init, step)
