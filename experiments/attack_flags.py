"""The black-box attacks by name: flags, and the numbers each data set comes with."""

from typing import NamedTuple

from absl import flags

import common
from orjax import attacks
from orjax import objectives
from orjax.types import Attack
from orjax.types import Objective

ATTACK = flags.DEFINE_enum("attack", "zoo", ("zoo",), "Attack.")
TARGETED = flags.DEFINE_bool("targeted", False, "Whether the attacker wants a given class.")
MAX_QUERIES = flags.DEFINE_integer(
    "max_queries", None, "Queries per trial, never exceeded (default: per data set).",
    lower_bound=1)
NON_POSITIVE = flags.DEFINE_enum(
    "non_positive", "clamp", objectives.NON_POSITIVE,
    "What the log loss does with a negative noisy probability: clamp it at 1e-30, take "
    "the loss for zero (the official code on a GPU), or discard the answer.")
SPACING = flags.DEFINE_float(
    "spacing", 1e-4, "ZOO: step h of the central differences.", lower_bound=1e-12)
NUM_COORDINATES = flags.DEFINE_integer(
    "num_coordinates", None, "ZOO: coordinates per step (default: 128; digits: 32).",
    lower_bound=1)
TRADE_OFF = flags.DEFINE_float(
    "trade_off", None, "ZOO: first trade-off c (default: per data set).", lower_bound=0.0)
BINARY_SEARCH_STEPS = flags.DEFINE_integer(
    "binary_search_steps", None, "ZOO: values of c tried (default: per data set).",
    lower_bound=1)
MAX_STEPS = flags.DEFINE_integer(
    "max_steps", None, "ZOO: iterations per value of c (default: per data set).",
    lower_bound=1)
CHECK_EVERY = flags.DEFINE_integer(
    "check_every", 100, "ZOO: iterations between checks for progress; 0 never gives up.",
    lower_bound=0)


class ZooPreset(NamedTuple):
  """What the official ZOO scripts pass for a data set."""

  num_coordinates: int
  tanh_space: bool
  trade_off: float
  binary_search_steps: int
  max_steps: int
  max_queries: int


_ZOO = {
    # Half of an image of 64 pixels a step; budgets that two cores afford in a minute.
    "digits": ZooPreset(32, False, 0.1, 3, 500, 100_000),
    "mnist": ZooPreset(128, False, 0.01, 9, 3000, 10_000_000),
    "cifar10": ZooPreset(128, True, 0.01, 9, 1000, 10_000_000),
}


def max_queries() -> int:
  """The budget per trial."""
  return MAX_QUERIES.value or _ZOO[common.DATASET.value].max_queries


def build() -> tuple[Attack, Objective]:
  """The attack that the flags describe, and what it wants."""
  preset = _ZOO[common.DATASET.value]
  objective = objectives.log_margin(
      targeted=TARGETED.value, non_positive=NON_POSITIVE.value)
  attack = attacks.zoo(
      objective, spacing=SPACING.value, tanh_space=preset.tanh_space,
      num_coordinates=NUM_COORDINATES.value or preset.num_coordinates,
      initial_trade_off=preset.trade_off if TRADE_OFF.value is None else TRADE_OFF.value,
      binary_search_steps=BINARY_SEARCH_STEPS.value or preset.binary_search_steps,
      max_steps=MAX_STEPS.value or preset.max_steps,
      check_every=CHECK_EVERY.value or None)
  return attack, objective
