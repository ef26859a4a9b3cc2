"""Square: random search in a ball by the loss of whole windows."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, norm="linf", comparison="cached", lead=1):
  """The attack of the flags."""
  numbers = {**presets.square(norm=norm), "radius": radius}
  return attacks.square(objective, **numbers, comparison=comparison, lead=lead)


SPEC = AttackSpec(build, shared.in_a_ball(presets.SQUARE))
