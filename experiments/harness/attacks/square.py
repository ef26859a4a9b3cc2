"""Square: random search in a ball by the loss of whole windows."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, window_share, norm="linf", comparison="cached", lead=1):
  """The attack of the flags."""
  return attacks.square(
    objective, radius=radius, window_share=window_share, norm=norm, comparison=comparison, lead=lead
  )


SPEC = AttackSpec(build, shared.in_a_ball(presets.SQUARE))
