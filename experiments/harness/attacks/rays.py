"""RayS: the nearest boundary along vectors of signs, by labels alone."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, lead=1, num_rows=1):
  """The attack of the flags; what it finds beyond the radius is brought back into the ball."""
  attack = attacks.rays(objective, radius=radius, lead=lead, num_rows=num_rows)
  return attacks.within(attack, radius)


SPEC = AttackSpec(build, shared.in_a_ball(presets.LINF_BALLS))
