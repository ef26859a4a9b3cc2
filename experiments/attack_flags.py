"""The black-box attacks by name: flags, and the numbers each data set comes with."""

import math

from absl import flags
import jax.numpy as jnp

import common
from orjax import attacks
from orjax import models
from orjax import objectives
from orjax import oracles
from orjax import trials
from orjax.types import Attack
from orjax.types import Example
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


# What the official ZOO scripts pass for a data set; a flag overrides its number.
_ZOO = {
    # Half of an image of 64 pixels a step; budgets that two cores afford in a minute.
    "digits": {"num_coordinates": 32, "tanh_space": False, "trade_off": 0.1,
               "binary_search_steps": 3, "max_steps": 500, "max_queries": 100_000},
    "mnist": {"num_coordinates": 128, "tanh_space": False, "trade_off": 0.01,
              "binary_search_steps": 9, "max_steps": 3000, "max_queries": 10_000_000},
    "cifar10": {"num_coordinates": 128, "tanh_space": True, "trade_off": 0.01,
                "binary_search_steps": 9, "max_steps": 1000, "max_queries": 10_000_000},
}


def resolved() -> dict:
  """The attack's numbers: the data set's, overridden by flags that were given."""
  given = {flag.name: flag.value for flag in (
      MAX_QUERIES, SPACING, NUM_COORDINATES, TRADE_OFF, BINARY_SEARCH_STEPS, MAX_STEPS,
      CHECK_EVERY) if flag.value is not None}
  return {**_ZOO[common.DATASET.value], **given}


def build() -> tuple[Attack, Objective]:
  """The attack that the flags describe, and what it wants.

  Raises:
    ValueError: a number that no attack can use.
  """
  numbers = resolved()
  for name in ("spacing", "trade_off"):
    if not 0 < numbers[name] < math.inf:
      raise ValueError(f"--{name}={numbers[name]:g} must be above 0 and finite")
  objective = objectives.log_margin(
      targeted=TARGETED.value, non_positive=NON_POSITIVE.value)
  attack = attacks.zoo(
      objective, spacing=numbers["spacing"], tanh_space=numbers["tanh_space"],
      num_coordinates=numbers["num_coordinates"], initial_trade_off=numbers["trade_off"],
      binary_search_steps=numbers["binary_search_steps"], max_steps=numbers["max_steps"],
      check_every=numbers["check_every"] or None)
  return attack, objective


def check(attack: Attack, num_samples: int) -> None:
  """Raises ValueError if one step does not fit the image or the budget; asks nothing."""
  classifier = models.build(f"convnet_{common.DATASET.value}")
  oracle = oracles.averaged(oracles.from_predict(
      lambda images: jnp.zeros((len(images), classifier.num_classes))), num_samples)
  example = Example(jnp.zeros(classifier.image_shape), jnp.int32(0))
  trials.check_budget(trials.queries_per_step(attack, oracle, example),
                      resolved()["max_queries"])
