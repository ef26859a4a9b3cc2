"""Square: random search in a ball by the loss of whole windows."""

from harness.attacks import shared
from harness.attacks.spec import AttackSpec
from orjax import attacks

# Andriushchenko et al. (2020): 0.05 for ImageNet; windows of 0.3 for small networks.
_RADII = {
  ("digits", "linf"): 0.3,
  ("mnist", "linf"): 0.3,
  ("cifar10", "linf"): 8 / 255,
  ("imagenet2012", "linf"): 0.05,
  (None, "linf"): 8 / 255,
  ("mnist", "l2"): 3.0,
  ("cifar10", "l2"): 0.5,
  ("imagenet2012", "l2"): 5.0,
  (None, "l2"): 1.5,
}


def build(objective, *, radius=0.05, norm="linf", comparison="cached", lead=1):
  """The attack of the flags."""
  return attacks.square(
    objective,
    radius=radius,
    norm=norm,
    window_share=0.3 if norm == "linf" else None,
    comparison=comparison,
    lead=lead,
  )


SPEC = AttackSpec(build, {k: {**shared.IN_A_BALL, "radius": x} for k, x in _RADII.items()})
