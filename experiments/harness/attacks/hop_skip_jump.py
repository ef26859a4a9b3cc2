"""HopSkipJump: the smallest l2 distance by labels alone, as published."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks


def build(objective, *, num_iterations=40, num_rows=1):
  """The attack of the flags."""
  return attacks.hop_skip_jump(objective, num_iterations=num_iterations, num_rows=num_rows)


SPEC = AttackSpec(build, {(None, None): shared.IN_A_BALL}, check=shared.check_comes_from_far)
