"""QL, the query-limited attack: projected gradient descent on NES gradients."""

import math

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks

# Ilyas et al. (2018a) for ImageNet; for CIFAR10 and l2 the NES of the SignHunter repository,
# which divides its directions by the root of the number of entries. Its numbers for MNIST
# and l_inf (flagfiles/ql_mnist_linf.flags) reached half of 20 images with the log margin;
# these reach all.
_SMALL = {
  "radius": 0.3,
  "step_size": 0.03,
  "num_pairs": 25,
  "smoothing": 0.01,
  "momentum": 0.9,
  "plateau": 5,
}
_NUMBERS = {
  ("digits", "linf"): _SMALL,
  ("mnist", "linf"): _SMALL,
  ("cifar10", "linf"): {
    "radius": 12 / 255,
    "step_size": 2 / 255,
    "num_pairs": 20,
    "smoothing": 2.55 / 255 / math.sqrt(3072),
  },
  ("imagenet2012", "linf"): {
    "radius": 0.05,
    "step_size": 0.01,
    "num_pairs": 25,
    "smoothing": 1e-3,
    "momentum": 0.9,
    "plateau": 5,
  },
  ("digits", "l2"): {
    "radius": 1.5,
    "step_size": 0.5,
    "num_pairs": 20,
    "smoothing": 0.1 / math.sqrt(64),
  },
  ("mnist", "l2"): {
    "radius": 3.0,
    "step_size": 1.0,
    "num_pairs": 20,
    "smoothing": 0.1 / math.sqrt(784),
  },
  ("cifar10", "l2"): {
    "radius": 127 / 255,
    "step_size": 64 / 255,
    "num_pairs": 4,
    "smoothing": 2.55 / 255 / math.sqrt(3072),
  },
  ("imagenet2012", "l2"): {
    "radius": 5.0,
    "step_size": 2.0,
    "num_pairs": 50,
    "smoothing": 0.1 / math.sqrt(150_528),
  },
  (None, "linf"): {**_SMALL, "radius": 12 / 255, "step_size": 2 / 255},
  (None, "l2"): {"radius": 1.5, "step_size": 0.5, "num_pairs": 20, "smoothing": 0.01},
}


def build(
  objective,
  *,
  num_pairs=25,
  smoothing=1e-3,
  radius=0.05,
  norm="linf",
  step_size=0.01,
  momentum=0.0,
  plateau=0,
  reversed_plateau=False,
  confirmations=0,
):
  """The attack of the flags."""
  return attacks.ql(
    objective,
    num_pairs=num_pairs,
    smoothing=smoothing,
    radius=radius,
    norm=norm,
    step_size=step_size,
    momentum=momentum,
    plateau=attacks.Plateau(plateau, reversed=reversed_plateau) if plateau else None,
    confirmations=confirmations,
  )


def _check(numbers, given, targeted):
  del given
  if numbers["plateau"] == 1:
    raise ValueError("--plateau=1 compares a loss with itself: pass 0 for never, or 2 or more")
  if numbers["reversed_plateau"] and (targeted or not numbers["plateau"]):
    raise ValueError(
      "--reversed_plateau is what the official code does untargeted with a plateau: leave it "
      "out, or pass --plateau and no --targeted"
    )


SPEC = AttackSpec(
  build,
  {
    key: {**(shared.IN_A_BALL_IMAGENET if key[0] == "imagenet2012" else shared.IN_A_BALL), **found}
    for key, found in _NUMBERS.items()
  },
  check=_check,
)
