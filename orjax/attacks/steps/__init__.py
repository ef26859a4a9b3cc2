"""Iterations of attacks: each an `Attack` that never finishes."""

from orjax.attacks.steps.coarse_to_fine import coarse_to_fine_descent
from orjax.attacks.steps.coarse_to_fine import CoarseToFine
from orjax.attacks.steps.coordinate_descent import coordinate_descent
from orjax.attacks.steps.descent import descent
from orjax.attacks.steps.pgd import pgd
from orjax.attacks.steps.pgd import Plateau

__all__ = [
  "CoarseToFine",
  "Plateau",
  "coarse_to_fine_descent",
  "coordinate_descent",
  "descent",
  "pgd",
]
