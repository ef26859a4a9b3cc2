"""Attacks: pairs of pure functions that see an oracle and an example, nothing else."""

from orjax.attacks import presets
from orjax.attacks.apgd import apgd
from orjax.attacks.apgd import apgd_targeted
from orjax.attacks.bandits import bandits
from orjax.attacks.carlini_wagner import carlini_wagner
from orjax.attacks.evolution import evolution
from orjax.attacks.hop_skip_jump import hop_skip_jump
from orjax.attacks.informed import informed_nes
from orjax.attacks.informed import informed_zoo
from orjax.attacks.label_only import label_only
from orjax.attacks.label_only import partial_information
from orjax.attacks.pop_skip_jump import pop_skip_jump
from orjax.attacks.ql import ql
from orjax.attacks.rays import rays
from orjax.attacks.sign_hunter import sign_hunter
from orjax.attacks.solvers import adam
from orjax.attacks.solvers import adam_newton
from orjax.attacks.solvers import newton
from orjax.attacks.solvers import Solver
from orjax.attacks.spsa import spsa
from orjax.attacks.square import square
from orjax.attacks.starts import low_frequency_noise
from orjax.attacks.starts import uniform
from orjax.attacks.steps import coarse_to_fine_descent
from orjax.attacks.steps import CoarseToFine
from orjax.attacks.steps import coordinate_descent
from orjax.attacks.steps import descent
from orjax.attacks.steps import pgd
from orjax.attacks.steps import Plateau
from orjax.attacks.transfer import transferred
from orjax.attacks.whitebox_pgd import whitebox_pgd
from orjax.attacks.wrappers import binary_search
from orjax.attacks.wrappers import Choice
from orjax.attacks.wrappers import confirmed
from orjax.attacks.wrappers import in_blocks
from orjax.attacks.wrappers import in_rounds
from orjax.attacks.wrappers import informed
from orjax.attacks.wrappers import keep_best
from orjax.attacks.wrappers import patience
from orjax.attacks.wrappers import Pilot
from orjax.attacks.wrappers import until_outside
from orjax.attacks.wrappers import until_success
from orjax.attacks.wrappers import within
from orjax.attacks.wrappers.votes import better
from orjax.attacks.wrappers.votes import vote
from orjax.attacks.wrappers.votes import voted
from orjax.attacks.zoo import zoo

__all__ = [
  "Choice",
  "CoarseToFine",
  "Pilot",
  "Plateau",
  "Solver",
  "adam",
  "adam_newton",
  "apgd",
  "apgd_targeted",
  "bandits",
  "better",
  "binary_search",
  "carlini_wagner",
  "coarse_to_fine_descent",
  "confirmed",
  "coordinate_descent",
  "descent",
  "evolution",
  "hop_skip_jump",
  "in_blocks",
  "in_rounds",
  "informed",
  "informed_nes",
  "informed_zoo",
  "keep_best",
  "label_only",
  "low_frequency_noise",
  "newton",
  "partial_information",
  "patience",
  "pgd",
  "pop_skip_jump",
  "presets",
  "ql",
  "rays",
  "sign_hunter",
  "spsa",
  "square",
  "transferred",
  "uniform",
  "until_outside",
  "until_success",
  "vote",
  "voted",
  "whitebox_pgd",
  "within",
  "zoo",
]
