"""Numbers of the attacks, by data set and norm: published ones, unless the table says otherwise.

Each function returns keywords of the factory of its name:
`attacks.ql(objective, **presets.ql("mnist"))`. Without a data set they are numbers for any
small images, which are no one's: at least the radius is yours to say. The tables have the
numbers under the names of the mains' flags, whose defaults they are.
"""

from collections.abc import Mapping
import math
from typing import Any

from orjax import estimators
from orjax.attacks import solvers
from orjax.attacks.steps import CoarseToFine
from orjax.attacks.steps import Plateau

DATASETS = ("digits", "mnist", "cifar10", "imagenet2012")
NORMS = ("linf", "l2")

Table = Mapping[tuple[str | None, str | None], Mapping[str, Any]]

# What ZOO's scripts pass for a data set, for every attack that searches for the smallest l2
# distance. Half of an image of 64 pixels a step; budgets that two cores afford in a minute.
_SMALL_SEARCH = {"trade_off": 0.1, "binary_search_steps": 3, "max_steps": 500, "check_every": 100}
_SEARCH = {
  "digits": _SMALL_SEARCH,
  "mnist": {"trade_off": 0.01, "binary_search_steps": 9, "max_steps": 3000, "check_every": 100},
  "cifar10": {"trade_off": 0.01, "binary_search_steps": 9, "max_steps": 1000, "check_every": 100},
  # The untargeted command of the official README; its targeted one takes 20,000 steps.
  "imagenet2012": {
    "trade_off": 10.0,
    "binary_search_steps": 1,
    "max_steps": 1500,
    "check_every": 100,
  },
  None: _SMALL_SEARCH,
}

# Chen et al. (2017), `test_all.py` of their code.
_ZOO = {"spacing": 1e-4, "learning_rate": 0.01, "tanh_space": False, "sizes": (), "resize_at": ()}
ZOO: Table = {
  ("digits", None): {**_SEARCH["digits"], **_ZOO, "num_coordinates": 32},
  ("mnist", None): {**_SEARCH["mnist"], **_ZOO, "num_coordinates": 128},
  ("cifar10", None): {**_SEARCH["cifar10"], **_ZOO, "num_coordinates": 128, "tanh_space": True},
  ("imagenet2012", None): {
    **_SEARCH["imagenet2012"],
    **_ZOO,
    "num_coordinates": 128,
    "tanh_space": True,
    "learning_rate": 0.002,
    "sizes": (32, 64, 128),
    "resize_at": (2000, 10_000),
  },
  (None, None): {**_SEARCH[None], **_ZOO, "num_coordinates": 32},
}

# orjax's own: C&W's search on NES gradients, with as many points a step as ZOO.
_NES = {"smoothing": 0.1, "learning_rate": 0.05}
NES: Table = {
  ("digits", None): {**_SEARCH["digits"], **_NES, "num_pairs": 32},
  ("mnist", None): {**_SEARCH["mnist"], **_NES, "num_pairs": 128},
  ("cifar10", None): {**_SEARCH["cifar10"], **_NES, "num_pairs": 128},
  ("imagenet2012", None): {**_SEARCH["imagenet2012"], **_NES, "num_pairs": 128},
  (None, None): {**_SEARCH[None], **_NES, "num_pairs": 32},
}

# Carlini and Wagner (2017), `l2_attack.py` of their code, for any data.
CARLINI_WAGNER: Table = {
  (None, None): {
    "learning_rate": 0.01,
    "trade_off": 1e-3,
    "binary_search_steps": 9,
    "max_steps": 10_000,
    "check_every": 1000,
  }
}

# Ilyas et al. (2018a) for ImageNet; for CIFAR10 and l2 the NES of the SignHunter repository,
# which divides its directions by the root of the number of entries. Its numbers for MNIST
# and l_inf (flagfiles/ql_mnist_linf.flags) reached half of 20 images with the log margin;
# these reach all.
_SMALL_QL = {
  "radius": 0.3,
  "step_size": 0.03,
  "num_pairs": 25,
  "smoothing": 0.01,
  "momentum": 0.9,
  "plateau": 5,
}
_PLAIN = {"momentum": 0.0, "plateau": 0}
QL: Table = {
  ("digits", "linf"): _SMALL_QL,
  ("mnist", "linf"): _SMALL_QL,
  ("cifar10", "linf"): {
    "radius": 12 / 255,
    "step_size": 2 / 255,
    "num_pairs": 20,
    "smoothing": 2.55 / 255 / math.sqrt(3072),
    **_PLAIN,
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
    **_PLAIN,
  },
  ("mnist", "l2"): {
    "radius": 3.0,
    "step_size": 1.0,
    "num_pairs": 20,
    "smoothing": 0.1 / math.sqrt(784),
    **_PLAIN,
  },
  ("cifar10", "l2"): {
    "radius": 127 / 255,
    "step_size": 64 / 255,
    "num_pairs": 4,
    "smoothing": 2.55 / 255 / math.sqrt(3072),
    **_PLAIN,
  },
  ("imagenet2012", "l2"): {
    "radius": 5.0,
    "step_size": 2.0,
    "num_pairs": 50,
    "smoothing": 0.1 / math.sqrt(150_528),
    **_PLAIN,
  },
  (None, "linf"): {**_SMALL_QL, "radius": 12 / 255, "step_size": 2 / 255},
  (None, "l2"): {"radius": 1.5, "step_size": 0.5, "num_pairs": 20, "smoothing": 0.01, **_PLAIN},
}

# Ilyas et al. (2018b) for ImageNet; for small images the SignHunter repository, whose
# prior steps are not multiplied by the exploration (so its rates are divided by it).
_SMALL_BANDITS = {"spacing": 0.1, "prior_learning_rate": 0.1, "exploration": 0.01}
_SMALL_BANDITS_L2 = {"spacing": 0.1, "prior_learning_rate": 1e-3, "exploration": 0.1}
BANDITS: Table = {
  ("digits", "linf"): {"radius": 0.3, "step_size": 0.03, "prior_size": 4, **_SMALL_BANDITS},
  ("mnist", "linf"): {"radius": 0.3, "step_size": 0.03, "prior_size": 8, **_SMALL_BANDITS},
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
  ("digits", "l2"): {"radius": 1.5, "step_size": 0.1, "prior_size": 4, **_SMALL_BANDITS_L2},
  ("mnist", "l2"): {"radius": 3.0, "step_size": 0.01, "prior_size": 10, **_SMALL_BANDITS_L2},
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
  (None, "linf"): {"radius": 12 / 255, "step_size": 2 / 255, "prior_size": 0, **_SMALL_BANDITS},
  (None, "l2"): {"radius": 1.5, "step_size": 0.1, "prior_size": 0, **_SMALL_BANDITS_L2},
}

# Andriushchenko et al. (2020): 0.05 and 5 for ImageNet. Windows that begin at 0.05 of an image are
# theirs for ImageNet; 0.3 in l_inf are for small images.
_SMALL_SQUARE, _SQUARE_L2 = {"window_share": 0.3}, {"window_share": 0.1}
SQUARE: Table = {
  ("digits", "linf"): {"radius": 0.3, **_SMALL_SQUARE},
  ("mnist", "linf"): {"radius": 0.3, **_SMALL_SQUARE},
  ("cifar10", "linf"): {"radius": 8 / 255, **_SMALL_SQUARE},
  ("imagenet2012", "linf"): {"radius": 0.05, "window_share": 0.05},
  (None, "linf"): {"radius": 8 / 255, **_SMALL_SQUARE},
  ("mnist", "l2"): {"radius": 3.0, **_SQUARE_L2},
  ("cifar10", "l2"): {"radius": 0.5, **_SQUARE_L2},
  ("imagenet2012", "l2"): {"radius": 5.0, **_SQUARE_L2},
  (None, "l2"): {"radius": 1.5, **_SQUARE_L2},
}

# Al-Dujaili and O'Reilly (2020), the radii of their code.
SIGN_HUNTER: Table = {
  ("digits", "linf"): {"radius": 0.3},
  ("mnist", "linf"): {"radius": 0.3},
  ("cifar10", "linf"): {"radius": 12 / 255},
  ("imagenet2012", "linf"): {"radius": 0.05},
  (None, "linf"): {"radius": 12 / 255},
  ("mnist", "l2"): {"radius": 3.0},
  ("cifar10", "l2"): {"radius": 127 / 255},
  ("imagenet2012", "l2"): {"radius": 5.0},
  (None, "l2"): {"radius": 1.5},
}

# The radii of the other attacks in an l_inf ball: RayS, SPSA, NES on little information.
LINF_BALLS: Table = {
  ("digits", None): {"radius": 0.3},
  ("mnist", None): {"radius": 0.3},
  ("cifar10", None): {"radius": 8 / 255},
  ("imagenet2012", None): {"radius": 0.05},
  (None, None): {"radius": 8 / 255},
}

# Simon-Gabriel et al. (2021): the grid of the line that is searched.
POP_SKIP_JUMP: Table = {("cifar10", None): {"cells": 300}, (None, None): {"cells": 100}}

# Madry et al.'s CIFAR10 and MNIST challenges; as many steps of as many pixels for digits.
WHITEBOX_PGD: Table = {
  ("digits", None): {"radius": 0.2, "step_size": 0.05, "max_steps": 10},
  ("mnist", None): {"radius": 0.3, "step_size": 0.01, "max_steps": 40},
  (None, None): {"radius": 8 / 255, "step_size": 2 / 255, "max_steps": 10},
}

# The balls of what takes no other numbers.
BALLS: Table = {key: {"radius": found["radius"]} for key, found in SQUARE.items()}


def _numbers(table: Table, dataset, norm=None) -> dict[str, Any]:
  if dataset is not None and dataset not in DATASETS:
    raise ValueError(
      f"there are no published numbers for {dataset!r}: pass one of {', '.join(DATASETS)}, or "
      "None for any small images"
    )
  if norm is not None and norm not in NORMS:
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
  return dict(table.get((dataset, norm), table[None, norm]))


def _renamed(numbers: dict[str, Any], **names: str) -> dict[str, Any]:
  return {names.get(name, name): value for name, value in numbers.items()}


def zoo(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.zoo`: what the official scripts pass (Chen et al., 2017).

  Args:
    dataset: one of `DATASETS`, or None for any small images.

  Raises:
    ValueError: there are no numbers for the data set.
  """
  found = _renamed(_numbers(ZOO, dataset), trade_off="initial_trade_off")
  sizes, resize_at = found.pop("sizes"), found.pop("resize_at")
  coarse = CoarseToFine(sizes, resize_at) if sizes else None
  solver = solvers.adam(learning_rate=found.pop("learning_rate"))
  return {**found, "solver": solver, "coarse": coarse}


def nes(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.carlini_wagner` on NES gradients, of orjax: see `zoo`."""
  found = _renamed(_numbers(NES, dataset), trade_off="initial_trade_off")
  estimator = estimators.nes(num_pairs=found.pop("num_pairs"), smoothing=found.pop("smoothing"))
  return {"estimator": estimator, **found}


def carlini_wagner(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.carlini_wagner` (Carlini and Wagner, 2017): see `zoo`."""
  return _renamed(_numbers(CARLINI_WAGNER, dataset), trade_off="initial_trade_off")


def ql(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.ql`: of Ilyas et al. (2018a), SignHunter's code, and in l_inf ours.

  Args:
    dataset: one of `DATASETS`, or None for any small images.
    norm: of the ball: `linf` or `l2`.

  Raises:
    ValueError: there are no numbers for the data set, or the norm is unknown.
  """
  found = _numbers(QL, dataset, norm)
  plateau = found.pop("plateau")
  return {**found, "norm": norm, "plateau": Plateau(plateau) if plateau else None}


def bandits(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.bandits`, of Ilyas et al. (2018b) and SignHunter's: see `ql`."""
  found = _numbers(BANDITS, dataset, norm)
  return {**found, "norm": norm, "prior_size": found["prior_size"] or None}


def square(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.square` (Andriushchenko et al., 2020): see `ql`."""
  return {**_numbers(SQUARE, dataset, norm), "norm": norm}


def sign_hunter(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.sign_hunter` (Al-Dujaili and O'Reilly, 2020): see `ql`."""
  return {**_numbers(SIGN_HUNTER, dataset, norm), "norm": norm}


def rays(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.rays`, the radius at which it stops: see `zoo`."""
  return _numbers(LINF_BALLS, dataset)


def pop_skip_jump(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.pop_skip_jump`, the cells of a line: see `zoo`."""
  return _numbers(POP_SKIP_JUMP, dataset)


def spsa(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.spsa`, its radius: see `zoo`."""
  return _numbers(LINF_BALLS, dataset)


def label_only(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.label_only`, its radius: see `zoo`."""
  return _numbers(LINF_BALLS, dataset)


def partial_information(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.partial_information`, its radius: see `zoo`."""
  return _numbers(LINF_BALLS, dataset)


def apgd(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.apgd`, Square's ball: see `ql`."""
  return {**_numbers(BALLS, dataset, norm), "norm": norm}


def evolution(dataset: str | None = None, norm: str = "linf") -> dict[str, Any]:
  """Keywords of `attacks.evolution`, Square's ball: see `ql`."""
  return {**_numbers(BALLS, dataset, norm), "norm": norm}


def whitebox_pgd(dataset: str | None = None) -> dict[str, Any]:
  """Keywords of `attacks.whitebox_pgd`, of Madry et al.'s challenges: see `zoo`."""
  return _renamed(_numbers(WHITEBOX_PGD, dataset), max_steps="num_steps")
