"""PopSkipJump: HopSkipJump for labels that are noisy: long probes and a patient bisection."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(objective, *, num_iterations=32, cells, lead=4, num_rows=1):
  """The attack of the flags."""
  return attacks.pop_skip_jump(
    objective, num_iterations=num_iterations, cells=cells, lead=lead, num_rows=num_rows
  )


SPEC = AttackSpec(build, shared.in_a_ball(presets.POP_SKIP_JUMP), check=shared.check_comes_from_far)
