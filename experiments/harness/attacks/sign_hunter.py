"""SignHunter: the signs of the gradient, chunk by chunk."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, norm="linf", comparison="cached", lead=1):
  """The attack of the flags."""
  return attacks.sign_hunter(objective, radius=radius, norm=norm, comparison=comparison, lead=lead)


SPEC = AttackSpec(build, shared.in_a_ball(presets.SIGN_HUNTER))
