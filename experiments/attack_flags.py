"""The attacks by name: flags, and the numbers each data set comes with."""

import math

from absl import flags
import jax.numpy as jnp

import common
from orjax import attacks
from orjax import estimators
from orjax import models
from orjax import objectives
from orjax import oracles
from orjax import trials
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective

TARGETED = flags.DEFINE_bool("targeted", False, "Whether the attacker wants a given class.")
MAX_QUERIES = flags.DEFINE_integer(
    "max_queries", None, "Queries per trial, never exceeded (default: per data set).",
    lower_bound=1)
OBJECTIVE = flags.DEFINE_enum(
    "objective", "log_margin", ("log_margin", "margin"),
    "Difference of log probabilities (the paper's), or of probabilities.")
CONFIDENCE = flags.DEFINE_float(
    "confidence", 0.0, "--objective=margin: the lead at which the loss stays flat; 1 never.",
    lower_bound=0.0, upper_bound=1.0)
NON_POSITIVE = flags.DEFINE_enum(
    "non_positive", "clamp", objectives.NON_POSITIVE,
    "What the log loss does with a negative noisy probability: clamp it at 1e-30, take "
    "the loss for zero (the official code on a GPU), or discard the answer.")
SPACING = flags.DEFINE_multi_float(
    "spacing", [1e-4], "ZOO: step h of the central differences; repeat the flag for a sweep.")
NUM_COORDINATES = flags.DEFINE_integer(
    "num_coordinates", None, "ZOO: coordinates per step (default: 128; digits: 32).",
    lower_bound=1)
SOLVER = flags.DEFINE_enum(
    "solver", "adam", ("adam", "newton", "adam_newton"), "ZOO: how a coordinate moves.")
NUM_PAIRS = flags.DEFINE_integer(
    "num_pairs", None, "NES: antithetic pairs per step (default: 128; digits: 32).",
    lower_bound=1)
SMOOTHING = flags.DEFINE_float("smoothing", 0.1, "NES: scale of the search directions.")
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", None, "Of the attack (default: 0.01; NES: 0.05).")
TRADE_OFF = flags.DEFINE_float(
    "trade_off", None, "First trade-off c (default: per data set).", lower_bound=0.0)
BINARY_SEARCH_STEPS = flags.DEFINE_integer(
    "binary_search_steps", None, "Values of c tried (default: per data set).",
    lower_bound=1)
MAX_STEPS = flags.DEFINE_integer(
    "max_steps", None, "Iterations per value of c (default: per data set).",
    lower_bound=1)
CHECK_EVERY = flags.DEFINE_integer(
    "check_every", None, "Iterations between checks for progress; 0 never gives up "
    "(default: 100; C&W: a tenth of --max_steps).", lower_bound=0)
CHECK_AVERAGE = flags.DEFINE_bool(
    "check_average", False, "Check the mean of all losses since the check before, not one.")
START = flags.DEFINE_enum(
    "start", "image", ("image", "far"), "Where a descent begins: at the image, or far away "
    "at random, from where it comes back along the boundary.")
CONFIRMATIONS = flags.DEFINE_integer(
    "confirmations", 0, "Fresh answers per step, most of which must agree with a success.",
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
# Its own numbers on top of ZOO's; Carlini and Wagner's are those of their code.
_OTHERS = {
    "zoo": {"learning_rate": 0.01, "check_every": 100},
    "nes": {"learning_rate": 0.05, "check_every": 100},
    "carlini_wagner": {"learning_rate": 0.01, "trade_off": 1e-3, "binary_search_steps": 9,
                       "max_steps": 10_000, "max_queries": 10_000_000},
}
# What only one attack has.
_OWN = {"zoo": ("num_coordinates", "tanh_space", "spacing", "solver"),
        "nes": ("num_pairs", "smoothing"), "carlini_wagner": ()}


def define_attack(*names: str) -> None:
  """Defines --attack with the names a main offers; the first is its default."""
  flags.DEFINE_enum("attack", names[0], names, "Attack.")


def resolved() -> dict:
  """The attack's numbers: the data set's, overridden by flags that were given."""
  name = flags.FLAGS.attack
  numbers = {**_ZOO[common.DATASET.value], **_OTHERS[name]}
  numbers["num_pairs"] = numbers["num_coordinates"]
  unused = {n for names in _OWN.values() for n in names} - set(_OWN[name])
  given = {flag for flag in unused if flag in flags.FLAGS and flags.FLAGS[flag].present}
  if given:
    raise ValueError(f"--{min(given)} is not for --attack={name}: leave it out")
  for flag in (MAX_QUERIES, NUM_COORDINATES, NUM_PAIRS, LEARNING_RATE, TRADE_OFF,
               BINARY_SEARCH_STEPS, MAX_STEPS, CHECK_EVERY):
    if flag.value is not None:
      numbers[flag.name] = flag.value
  numbers.setdefault("check_every", max(1, numbers["max_steps"] // 10))
  return {key: value for key, value in numbers.items() if key not in unused}


def spacings() -> list[float]:
  """The values of h that are swept; one, unused, for attacks without."""
  return SPACING.value if flags.FLAGS.attack == "zoo" else SPACING.value[:1]


def build(spacing: float) -> tuple[Attack, Objective]:
  """The attack that the flags describe, and what it wants.

  Raises:
    ValueError: a number that no attack can use.
  """
  numbers = resolved()
  for name, value in (("spacing", spacing), ("smoothing", SMOOTHING.value),
                      ("trade_off", numbers["trade_off"]),
                      ("learning_rate", numbers["learning_rate"])):
    if not 0 < value < math.inf:
      raise ValueError(f"--{name}={value:g} must be above 0 and finite")
  if START.value == "far" and TARGETED.value:
    raise ValueError("--start=far is for untargeted attacks: noise is hardly ever of the "
                     "target's class")
  if OBJECTIVE.value == "margin":
    if flags.FLAGS["non_positive"].present:
      raise ValueError("--non_positive is for --objective=log_margin: leave it out")
    if math.isnan(CONFIDENCE.value):
      raise ValueError("--confidence=nan must be between 0 and 1")
    objective = objectives.margin(targeted=TARGETED.value, confidence=CONFIDENCE.value)
  elif CONFIDENCE.value:
    raise ValueError("--confidence needs --objective=margin: ZOO's log loss has none")
  else:
    objective = objectives.log_margin(
        targeted=TARGETED.value, non_positive=NON_POSITIVE.value)
  shared = {
      "initial_trade_off": numbers["trade_off"], "max_steps": numbers["max_steps"],
      "binary_search_steps": numbers["binary_search_steps"],
      "check_average": CHECK_AVERAGE.value, "confirmations": CONFIRMATIONS.value,
      "check_every": numbers["check_every"] or None,
      "start": attacks.low_frequency_noise() if START.value == "far" else None}
  rate = numbers["learning_rate"]
  if flags.FLAGS.attack == "zoo":
    solver = getattr(attacks, SOLVER.value)(learning_rate=rate)
    return attacks.zoo(
        objective, solver=solver, spacing=spacing, tanh_space=numbers["tanh_space"],
        num_coordinates=numbers["num_coordinates"], **shared), objective
  estimator = estimators.autodiff()
  if flags.FLAGS.attack == "nes":
    estimator = estimators.nes(num_pairs=numbers["num_pairs"], smoothing=SMOOTHING.value)
  return attacks.carlini_wagner(
      objective, estimator, learning_rate=rate, **shared), objective


def check(attack: Attack, num_samples: int) -> None:
  """Raises ValueError if one step does not fit the image or the budget; asks nothing."""
  classifier = models.build(f"convnet_{common.DATASET.value}")
  oracle = oracles.averaged(oracles.from_predict(
      lambda images: jnp.zeros((len(images), classifier.num_classes))), num_samples)
  example = Example(jnp.zeros(classifier.image_shape), jnp.int32(0))
  trials.check_budget(trials.queries_per_step(attack, oracle, example),
                      resolved()["max_queries"])
