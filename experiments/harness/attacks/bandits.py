"""Bandits with time and data priors."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(
  objective,
  *,
  radius,
  norm="linf",
  step_size,
  prior_learning_rate,
  exploration,
  spacing,
  prior_size,
  confirmations=0,
):
  """The attack of the flags."""
  return attacks.bandits(
    objective,
    radius=radius,
    norm=norm,
    step_size=step_size,
    prior_learning_rate=prior_learning_rate,
    exploration=exploration,
    spacing=spacing,
    prior_size=prior_size or None,
    confirmations=confirmations,
  )


SPEC = AttackSpec(
  build, shared.in_a_ball(presets.BANDITS, imagenet="cross_entropy"), swept=("spacing",)
)
