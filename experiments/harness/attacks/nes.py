"""C&W's search for the smallest l2 distance on NES gradients: orjax's own, not QL."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax import estimators

# As many points a step as ZOO.
_NUM_PAIRS = {"digits": 32, "mnist": 128, "cifar10": 128, "imagenet2012": 128, None: 32}


def build(
  objective,
  *,
  num_pairs=128,
  smoothing=0.1,
  learning_rate=0.05,
  trade_off=0.01,
  binary_search_steps=9,
  max_steps=3000,
  check_every=100,
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


SPEC = AttackSpec(
  build,
  {(name, None): {**shared.SEARCH[name], "num_pairs": n} for name, n in _NUM_PAIRS.items()},
  check=shared.check_search,
)
