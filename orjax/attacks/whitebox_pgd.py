"""PGD through exact gradients: the white-box attack."""

from orjax import estimators
from orjax.attacks import starts
from orjax.attacks import wrappers
from orjax.attacks.steps.pgd import pgd
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


@factory
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
  attack = wrappers.in_rounds(
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
  return wrappers.until_success(attack) if stop_at_success else attack
