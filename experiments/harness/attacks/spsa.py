"""SPSA: Adam on differences along random signs."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(
  objective, *, radius, num_pairs=128, spacing=0.01, learning_rate=0.01, max_steps=100, lead=1
):
  """The attack of the flags."""
  return attacks.spsa(
    objective,
    radius=radius,
    num_pairs=num_pairs,
    spacing=spacing,
    learning_rate=learning_rate,
    num_steps=max_steps,
    lead=lead,
  )


# All of its 100 steps.
SPEC = AttackSpec(
  build, shared.in_a_ball(presets.LINF_BALLS, max_queries=25_700), swept=("spacing",)
)
