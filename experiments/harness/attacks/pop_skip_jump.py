"""PopSkipJump: HopSkipJump for labels that are noisy: long probes and a patient bisection."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks


def build(objective, *, num_iterations=32, cells=100, lead=4, num_rows=1):
  """The attack of the flags."""
  return attacks.pop_skip_jump(
    objective, num_iterations=num_iterations, cells=cells, lead=lead, num_rows=num_rows
  )


# As published, a line of CIFAR10 is searched in more cells than one of MNIST.
_NUMBERS = {(None, None): shared.IN_A_BALL, ("cifar10", None): {**shared.IN_A_BALL, "cells": 300}}

SPEC = AttackSpec(build, _NUMBERS, check=shared.check_comes_from_far)
