"""PopSkipJump: HopSkipJump for labels that are noisy: long probes and a patient bisection."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks


def build(objective, *, num_iterations=32, lead=4, num_rows=1):
  """The attack of the flags."""
  return attacks.pop_skip_jump(
    objective, num_iterations=num_iterations, lead=lead, num_rows=num_rows
  )


SPEC = AttackSpec(build, {(None, None): shared.IN_A_BALL}, check=shared.check_comes_from_far)
