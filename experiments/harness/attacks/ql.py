"""QL, the query-limited attack: projected gradient descent on NES gradients."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(
  objective,
  *,
  num_pairs,
  smoothing,
  radius,
  norm="linf",
  step_size,
  momentum,
  plateau,
  reversed_plateau=False,
  confirmations=0,
):
  """The attack of the flags."""
  return attacks.ql(
    objective,
    num_pairs=num_pairs,
    smoothing=smoothing,
    radius=radius,
    norm=norm,
    step_size=step_size,
    momentum=momentum,
    plateau=attacks.Plateau(plateau, reversed=reversed_plateau) if plateau else None,
    confirmations=confirmations,
  )


def _check(numbers, given, targeted):
  del given
  if numbers["plateau"] == 1:
    raise ValueError("--plateau=1 compares a loss with itself: pass 0 for never, or 2 or more")
  if numbers["reversed_plateau"] and (targeted or not numbers["plateau"]):
    raise ValueError(
      "--reversed_plateau is what the official code does untargeted with a plateau: leave it "
      "out, or pass --plateau and no --targeted"
    )


SPEC = AttackSpec(build, shared.in_a_ball(presets.QL, imagenet="cross_entropy"), check=_check)
