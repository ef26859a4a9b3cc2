"""NES on the top class and its probability."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, num_pairs=50, smoothing=1e-5, step_size=1e-2, lead=1):
  """The attack of the flags, from low-frequency noise, and what it has inside the ball."""
  attack = attacks.partial_information(
    objective,
    radius=radius,
    num_pairs=num_pairs,
    smoothing=smoothing,
    step_size=step_size,
    lead=lead,
  )
  return attacks.within(attack, radius)


SPEC = AttackSpec(
  build,
  shared.in_a_ball(presets.LINF_BALLS, max_queries=100_000),
  check=shared.check_comes_from_far,
)
