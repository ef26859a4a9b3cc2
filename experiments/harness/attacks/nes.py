"""C&W's search for the smallest l2 distance on NES gradients: orjax's own, not QL."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax import estimators
from orjax.attacks import presets


def build(
  objective,
  *,
  num_pairs,
  smoothing,
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
    estimators.nes(num_pairs=num_pairs, smoothing=smoothing),
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


SPEC = AttackSpec(build, shared.searches(presets.NES), check=shared.check_search)
