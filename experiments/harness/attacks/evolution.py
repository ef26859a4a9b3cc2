"""An evolution strategy of evosax's on the low frequencies of an image."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, radius, norm="linf", population_size=32, num_frequencies=14, lead=1):
  """The attack of the flags."""
  try:
    return attacks.evolution(
      objective,
      radius=radius,
      norm=norm,
      population_size=population_size,
      num_frequencies=num_frequencies,
      lead=lead,
    )
  except ImportError as error:
    raise ValueError(f"--attack=evolution: {error}") from error


SPEC = AttackSpec(build, shared.in_a_ball(presets.BALLS))
