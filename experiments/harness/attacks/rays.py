"""RayS: the nearest boundary along vectors of signs, by labels alone."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks

_RADII = {"digits": 0.3, "mnist": 0.3, "cifar10": 8 / 255, "imagenet2012": 0.05, None: 8 / 255}


def build(objective, *, radius=0.05, lead=1, num_rows=1):
  """The attack of the flags; what it finds beyond the radius is brought back into the ball."""
  attack = attacks.rays(objective, radius=radius, lead=lead, num_rows=num_rows)
  return attacks.within(attack, radius)


SPEC = AttackSpec(build, {(k, None): {**shared.IN_A_BALL, "radius": x} for k, x in _RADII.items()})
