"""Projected gradient descent on any gradient: exact (PGD) or estimated (QL)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax.attacks import starts
from orjax.attacks import successes
from orjax.attacks.starts import Start
from orjax.types import Attack
from orjax.types import Estimator
from orjax.types import Objective
from orjax.types import StepInfo


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
    info = StepInfo(
      found.value,
      achieved,
      jnp.zeros((), bool),
      jnp.int32(estimator.num_points * oracle.queries_per_row),
      ~achieved & (found.gradient == 0).all(),
    )
    return PgdState(image, gradient, rate, losses, num_losses, state.image), info

  return Attack(init, step)


def ql(
  objective: Objective,
  *,
  num_pairs: int = 25,
  smoothing: float = 1e-3,
  radius: float = 0.05,
  norm: str = "linf",
  step_size: float = 1e-2,
  momentum: float = 0.9,
  plateau: Plateau | None = Plateau(),
  confirmations: int = 0,
) -> Attack:
  """The query-limited attack (QL), whole: `pgd` on `nes` until the first success.

  The defaults are the official ones for ImageNet. The reference does not count the query
  that tests for success; here it is charged.

  Args:
    objective: `objectives.cross_entropy` in the reference.
    num_pairs: antithetic pairs of points a step.
    smoothing: scale of the search directions, in units of [0, 1].
    radius: of the ball.
    norm: of the ball: `linf` or `l2`.
    step_size: the first.
    momentum: 0.9 in the reference.
    plateau: when the steps are shortened; None for never.
    confirmations: fresh answers a step, most of which must agree with a success.

  Returns:
    An `Attack` that asks 2 num_pairs + 1 + confirmations rows a step.

  References:
    Ilyas et al. (2018a), algorithm 1 and `attacks.py` of their code.
  """
  attack = pgd(
    objective,
    estimators.nes(num_pairs=num_pairs, smoothing=smoothing),
    radius=radius,
    norm=norm,
    step_size=step_size,
    momentum=momentum,
    plateau=plateau,
  )
  if confirmations:
    attack = successes.confirmed(attack, objective, num_queries=confirmations)
  return successes.until_success(attack)


def whitebox_pgd(
  objective: Objective,
  *,
  radius: float = 8 / 255,
  step_size: float = 2 / 255,
  num_steps: int = 10,
  num_restarts: int = 1,
  stop_at_success: bool = True,
) -> Attack:
  """The PGD attack of Madry et al. (2017), whole, through exact gradients in an l_inf ball.

  A random start, `num_steps` steps of the gradient's sign, and one more forward pass that
  judges where they led. The defaults are those of the CIFAR10 challenge (8, 2 and 10 on
  0..255); the paper prints a radius of 0.8, which is 0.8 / 255 there and no attack at all.

  PGD(Xent) is `objectives.logit_cross_entropy`, PGD(CW) is `objectives.margin` with
  confidence 50, both on an oracle that answers logits.

  Args:
    objective: what the attacker wants.
    radius: of the ball, in units of [0, 1].
    step_size: of a step, likewise.
    num_steps: steps from each start.
    num_restarts: starts, each drawn anew.
    stop_at_success: hand in the first success, at any iterate; otherwise the last iterate
      whatever it is, as the reference does and a transfer attack should.

  Returns:
    An `Attack` that asks one row a step, num_restarts (num_steps + 1) in all.

  Raises:
    ValueError: a number that no attack can use.

  References:
    `pgd_attack.py` of the CIFAR10 challenge; section 7.2 of the paper.
  """
  if num_steps < 1 or num_restarts < 1:
    raise ValueError(
      f"num_steps and num_restarts must be at least 1, not {num_steps} and {num_restarts}"
    )
  if not (radius > 0 and step_size > 0):
    raise ValueError(f"radius and step_size must be above 0, not {radius} and {step_size}")
  attack = successes.in_rounds(
    pgd(
      objective,
      estimators.autodiff(),
      radius=radius,
      step_size=step_size,
      start=starts.uniform(radius),
    ),
    num_steps=num_steps + 1,
    num_rounds=num_restarts,
  )
  return successes.until_success(attack) if stop_at_success else attack
