"""Bandits with time and data priors."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks

# Ilyas et al. (2018b) for ImageNet; for small images the SignHunter repository, whose
# prior steps are not multiplied by the exploration (so its rates are divided by it).
_NUMBERS = {
  ("digits", "linf"): {
    "radius": 0.3,
    "step_size": 0.03,
    "spacing": 0.1,
    "prior_size": 4,
    "prior_learning_rate": 0.1,
    "exploration": 0.01,
  },
  ("mnist", "linf"): {
    "radius": 0.3,
    "step_size": 0.03,
    "spacing": 0.1,
    "prior_size": 8,
    "prior_learning_rate": 0.1,
    "exploration": 0.01,
  },
  ("cifar10", "linf"): {
    "radius": 12 / 255,
    "step_size": 5 / 255,
    "spacing": 2.55 / 255,
    "prior_size": 20,
    "prior_learning_rate": 1e-3 / 255,
    "exploration": 0.1,
  },
  ("imagenet2012", "linf"): {
    "radius": 0.05,
    "step_size": 0.01,
    "spacing": 0.1,
    "prior_size": 50,
    "prior_learning_rate": 100.0,
    "exploration": 1.0,
  },
  ("digits", "l2"): {
    "radius": 1.5,
    "step_size": 0.1,
    "spacing": 0.1,
    "prior_size": 4,
    "prior_learning_rate": 1e-3,
    "exploration": 0.1,
  },
  ("mnist", "l2"): {
    "radius": 3.0,
    "step_size": 0.01,
    "spacing": 0.1,
    "prior_size": 10,
    "prior_learning_rate": 1e-3,
    "exploration": 0.1,
  },
  ("cifar10", "l2"): {
    "radius": 127 / 255,
    "step_size": 12 / 255,
    "spacing": 2.55 / 255,
    "prior_size": 20,
    "prior_learning_rate": 1e-4 / 255,
    "exploration": 0.1,
  },
  ("imagenet2012", "l2"): {
    "radius": 5.0,
    "step_size": 0.5,
    "spacing": 0.01,
    "prior_size": 50,
    "prior_learning_rate": 0.1,
    "exploration": 0.01,
  },
  (None, "linf"): {
    "radius": 12 / 255,
    "step_size": 2 / 255,
    "spacing": 0.1,
    "prior_size": 0,
    "prior_learning_rate": 0.1,
    "exploration": 0.01,
  },
  (None, "l2"): {
    "radius": 1.5,
    "step_size": 0.1,
    "spacing": 0.1,
    "prior_size": 0,
    "prior_learning_rate": 1e-3,
    "exploration": 0.1,
  },
}


def build(
  objective,
  *,
  radius=0.05,
  norm="linf",
  step_size=0.01,
  prior_learning_rate=100.0,
  exploration=1.0,
  spacing=0.1,
  prior_size=50,
  confirmations=0,
):
  """The attack of the flags."""
  return attacks.bandits(
    objective,
    radius=radius,
    norm=norm,
    step_size=step_size,
    prior_learning_rate=prior_learning_rate,
    exploration=exploration,
    spacing=spacing,
    prior_size=prior_size or None,
    confirmations=confirmations,
  )


SPEC = AttackSpec(
  build,
  {
    key: {**(shared.IN_A_BALL_IMAGENET if key[0] == "imagenet2012" else shared.IN_A_BALL), **found}
    for key, found in _NUMBERS.items()
  },
  swept=("spacing",),
)
