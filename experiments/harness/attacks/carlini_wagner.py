"""Carlini and Wagner's l2 attack, through the gradients of the noisy answers."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks


def build(
  objective,
  *,
  learning_rate=0.01,
  trade_off=1e-3,
  binary_search_steps=9,
  max_steps=10_000,
  check_every=None,
  check_average=False,
  start="image",
  confirmations=0,
):
  """The attack of the flags; it checks for progress ten times unless told otherwise."""
  check_every = max(1, max_steps // 10) if check_every is None else check_every
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


SPEC = AttackSpec(build, {}, access="gradients", check=shared.check_search)
