"""ZOO: coordinate descent on central differences, for the smallest l2 distance."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks
from orjax.attacks import presets


def build(
  objective,
  *,
  num_coordinates,
  spacing,
  solver="adam",
  learning_rate,
  tanh_space,
  sizes,
  resize_at,
  importance="refreshed",
  reset_adam=True,
  trade_off,
  binary_search_steps,
  max_steps,
  check_every,
  check_average=False,
  start="image",
  confirmations=0,
):
  """The attack of the flags."""
  sizes = [] if list(sizes) == [0] else sizes
  coarse = None
  if sizes:
    coarse = attacks.CoarseToFine(tuple(sizes), tuple(resize_at), importance, reset_adam)
  return attacks.zoo(
    objective,
    solver=getattr(attacks, solver)(learning_rate=learning_rate),
    coarse=coarse,
    num_coordinates=num_coordinates,
    spacing=spacing,
    tanh_space=tanh_space,
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
  if "sizes" in given and "resize_at" not in given:
    numbers["resize_at"] = []  # the published steps are of the published sizes
  if numbers["sizes"] in ([], [0], ()):
    for name in ("resize_at", "importance", "reset_adam"):
      if name in given:
        raise ValueError(f"--{name} needs --sizes: a modifier as fine as the image does not grow")
  elif not numbers["tanh_space"] or numbers["start"] == "far":
    raise ValueError(
      "--sizes are for CIFAR10 and ImageNet, where ZOO works in tanh space, and begin at the "
      "image: leave them out, or pass --sizes=0"
    )


SPEC = AttackSpec(build, shared.searches(presets.ZOO), check=_check, swept=("spacing",))
