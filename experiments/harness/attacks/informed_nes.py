"""The search for the smallest l2 distance on NES gradients, by who measures the noise first."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks


def build(
  objective,
  *,
  num_pairs=118,
  learning_rate=0.05,
  trade_off=4.0,
  binary_search_steps=3,
  max_steps=400,
  confirmations=20,
):
  """The attack of the flags; of the objective it takes the test of success alone."""
  return attacks.informed_nes(
    objective,
    num_pairs=num_pairs,
    learning_rate=learning_rate,
    trade_off=trade_off,
    binary_search_steps=binary_search_steps,
    max_steps=max_steps,
    confirmations=confirmations,
  )


SPEC = AttackSpec(build, shared.measured(num_pairs=24), check=shared.check_measured)
