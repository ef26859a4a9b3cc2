"""Attacks: pairs of pure functions that see an oracle and an example, nothing else."""

from orjax.attacks.bandits import bandits
from orjax.attacks.carlini_wagner import carlini_wagner
from orjax.attacks.ql import ql
from orjax.attacks.solvers import adam
from orjax.attacks.solvers import adam_newton
from orjax.attacks.solvers import newton
from orjax.attacks.solvers import Solver
from orjax.attacks.starts import low_frequency_noise
from orjax.attacks.starts import uniform
from orjax.attacks.steps import coarse_to_fine_descent
from orjax.attacks.steps import CoarseToFine
from orjax.attacks.steps import coordinate_descent
from orjax.attacks.steps import descent
from orjax.attacks.steps import pgd
from orjax.attacks.steps import Plateau
from orjax.attacks.whitebox_pgd import whitebox_pgd
from orjax.attacks.wrappers import binary_search
from orjax.attacks.wrappers import confirmed
from orjax.attacks.wrappers import in_rounds
from orjax.attacks.wrappers import keep_best
from orjax.attacks.wrappers import patience
from orjax.attacks.wrappers import until_outside
from orjax.attacks.wrappers import until_success
from orjax.attacks.zoo import zoo

__all__ = [
  "CoarseToFine",
  "Plateau",
  "Solver",
  "adam",
  "adam_newton",
  "bandits",
  "binary_search",
  "carlini_wagner",
  "coarse_to_fine_descent",
  "confirmed",
  "coordinate_descent",
  "descent",
  "in_rounds",
  "keep_best",
  "low_frequency_noise",
  "newton",
  "patience",
  "pgd",
  "ql",
  "uniform",
  "until_outside",
  "until_success",
  "whitebox_pgd",
  "zoo",
]
