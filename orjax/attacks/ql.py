"""QL: projected gradient descent on antithetic estimates, until the first success."""

from orjax import estimators
from orjax.attacks import wrappers
from orjax.attacks.steps.pgd import pgd
from orjax.attacks.steps.pgd import Plateau
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


@factory
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
    attack = wrappers.confirmed(attack, objective, num_queries=confirmations)
  return wrappers.until_success(attack)
