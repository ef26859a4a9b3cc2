"""Carlini and Wagner's l2 attack, through the gradients of the noisy answers."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(
  objective,
  *,
  learning_rate,
  trade_off,
  binary_search_steps,
  max_steps,
  check_every,
  check_average=False,
  start="image",
  confirmations=0,
):
  """The attack of the flags."""
  return attacks.carlini_wagner(
    objective,
    learning_rate=learning_rate,
    **shared.search(
      trade_off=trade_off,
      binary_search_steps=binary_search_steps,
      max_steps=max_steps,
      check_every=check_every,
      check_average=check_average,
      start=start,
      confirmations=confirmations,
    ),
  )


def _check(numbers, given, targeted):
  shared.check_search(numbers, given, targeted)
  if "check_every" not in given:  # the reference checks for progress ten times
    numbers["check_every"] = max(1, numbers["max_steps"] // 10)


SPEC = AttackSpec(build, presets.CARLINI_WAGNER, access="gradients", check=_check)
