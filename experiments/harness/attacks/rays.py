"""RayS: the nearest boundary along vectors of signs, by labels alone."""

import functools

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, lead=1, num_rows=1, stop_at_success=True):
  """The attack of the flags.

  What it finds beyond the radius is brought back into the ball; unless it stops at a success in
  there, it has none, and goes on to the nearest boundary that its queries find.
  """
  search = functools.partial(attacks.rays, objective, lead=lead, num_rows=num_rows)
  return attacks.within(search(radius=radius), radius) if stop_at_success else search()


def _check(numbers, given, targeted):
  del targeted
  if numbers["stop_at_success"]:
    return
  if "radius" in given:
    raise ValueError("--radius is where RayS stops: leave it or --nostop_at_success out")
  numbers["radius"] = None


SPEC = AttackSpec(build, shared.in_a_ball(presets.LINF_BALLS), check=_check)
