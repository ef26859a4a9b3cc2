"""NES on the probability of the true class, or of a target, where the top class is a success."""

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


def _check(numbers, given, targeted):
  shared.check_comes_from_far(numbers, given, targeted)
  if numbers["objective"] != "cross_entropy":
    raise ValueError(
      "--attack=partial_information needs --objective=cross_entropy: it learns where another class "
      "leads, and there the other losses are 0"
    )


_NUMBERS = {
  key: {**found, "objective": "cross_entropy"}
  for key, found in shared.in_a_ball(presets.LINF_BALLS, max_queries=100_000).items()
}
SPEC = AttackSpec(build, _NUMBERS, check=_check)
