"""The attacks by name: flags, and the numbers each data set comes with."""

import math

from absl import flags
import classifiers
import common
import jax.numpy as jnp
import presets

from orjax import attacks
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax import trials
from orjax.attacks import coarse_to_fine
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective

TARGETED = flags.DEFINE_bool("targeted", False, "Whether the attacker wants a given class.")
MAX_QUERIES = flags.DEFINE_integer(
  "max_queries", None, "Queries per trial, never exceeded (default: per data set).", lower_bound=1
)
OBJECTIVE = flags.DEFINE_enum(
  "objective",
  None,
  ("log_margin", "margin", "cross_entropy"),
  "Difference of log probabilities, of probabilities, or the cross-entropy (default: the "
  "first; of QL and Bandits on ImageNet the last).",
)
CONFIDENCE = flags.DEFINE_float(
  "confidence",
  0.0,
  "--objective=margin: the lead at which the loss stays flat; 1 never.",
  lower_bound=0.0,
  upper_bound=1.0,
)
NON_POSITIVE = flags.DEFINE_enum(
  "non_positive",
  "clamp",
  objectives.NON_POSITIVE,
  "What the log margin does with a negative noisy probability: clamp it at 1e-30, take "
  "the loss for zero (the official code on a GPU), or discard the answer.",
)
SPACING = flags.DEFINE_multi_float(
  "spacing",
  None,
  "ZOO: step h of the central differences; Bandits: length of a probe; "
  "repeat the flag for a sweep.",
)
NUM_COORDINATES = flags.DEFINE_integer(
  "num_coordinates", None, "ZOO: coordinates per step.", lower_bound=1
)
SOLVER = flags.DEFINE_enum(
  "solver", None, ("adam", "newton", "adam_newton"), "ZOO: how a coordinate moves."
)
SIZES = flags.DEFINE_multi_integer(
  "sizes",
  None,
  "ZOO: side of a coarse modifier, and of the finer ones that follow it; "
  "repeat the flag; 0 for a modifier as fine as the image.",
  lower_bound=0,
)
RESIZE_AT = flags.DEFINE_multi_integer(
  "resize_at", None, "ZOO: steps at which --sizes after the first begin.", lower_bound=1
)
IMPORTANCE = flags.DEFINE_enum(
  "importance",
  None,
  coarse_to_fine.IMPORTANCE,
  "ZOO with --sizes: draw coordinates by the "
  "size of the modifier, as of every step, of the last resizing (the official code's "
  "behaviour), or not.",
)
RESET_ADAM = flags.DEFINE_bool(
  "reset_adam", None, "ZOO with --sizes: start Adam anew after the first success."
)
NUM_PAIRS = flags.DEFINE_integer(
  "num_pairs", None, "NES, QL: antithetic pairs per step.", lower_bound=1
)
SMOOTHING = flags.DEFINE_float("smoothing", None, "NES, QL: scale of the search directions.")
LEARNING_RATE = flags.DEFINE_float("learning_rate", None, "Of Adam and Newton.")
TRADE_OFF = flags.DEFINE_float("trade_off", None, "First trade-off c.", lower_bound=0.0)
BINARY_SEARCH_STEPS = flags.DEFINE_integer(
  "binary_search_steps", None, "Values of c tried.", lower_bound=1
)
MAX_STEPS = flags.DEFINE_integer(
  "max_steps", None, "Iterations per value of c; PGD: steps per start.", lower_bound=1
)
CHECK_EVERY = flags.DEFINE_integer(
  "check_every",
  None,
  "Iterations between checks for progress; 0 never gives up "
  "(default: 100; C&W: a tenth of --max_steps).",
  lower_bound=0,
)
CHECK_AVERAGE = flags.DEFINE_bool(
  "check_average", False, "Check the mean of all losses since the check before, not one."
)
START = flags.DEFINE_enum(
  "start",
  "image",
  ("image", "far"),
  "Where a descent begins: at the image, or far away "
  "at random, from where it comes back along the boundary.",
)
NORM = flags.DEFINE_enum(
  "norm", "linf", geometry.NORMS, "QL, Bandits: of the ball around the image."
)
RADIUS = flags.DEFINE_float("radius", None, "QL, Bandits, PGD: of the ball, in units of [0, 1].")
STEP_SIZE = flags.DEFINE_float("step_size", None, "QL, Bandits, PGD: length of a step.")
MOMENTUM = flags.DEFINE_float(
  "momentum", None, "QL: share of the gradient that is kept, below 1.", lower_bound=0.0
)
PLATEAU = flags.DEFINE_integer(
  "plateau",
  None,
  "QL: steps without progress after which they are halved; 0 for never.",
  lower_bound=0,
)
REVERSED_PLATEAU = flags.DEFINE_bool(
  "reversed_plateau",
  False,
  "QL: halve the steps after progress, as the official code does when it is untargeted.",
)
PRIOR_SIZE = flags.DEFINE_integer(
  "prior_size",
  None,
  "Bandits: tiles along each side of the prior; 0 for one a pixel.",
  lower_bound=0,
)
PRIOR_LEARNING_RATE = flags.DEFINE_float("prior_learning_rate", None, "Bandits: of the prior.")
EXPLORATION = flags.DEFINE_float(
  "exploration", None, "Bandits: length of the random part of a probe's direction."
)
NUM_SAMPLES = flags.DEFINE_multi_integer(
  "num_samples",
  [1],
  "Answers that the attacker averages per query; repeat the flag for a sweep.",
  lower_bound=1,
)
RESTARTS = flags.DEFINE_integer("restarts", None, "PGD: random starts (default: 1).")
CONFIRMATIONS = flags.DEFINE_integer(
  "confirmations",
  0,
  "Fresh answers per step, most of which must agree with a success.",
  lower_bound=0,
)

# Each overrides the number of its name in `presets`, if the attack has it.
_NUMBERS = (
  MAX_QUERIES,
  OBJECTIVE,
  NUM_COORDINATES,
  SOLVER,
  SIZES,
  RESIZE_AT,
  IMPORTANCE,
  RESET_ADAM,
  NUM_PAIRS,
  SMOOTHING,
  LEARNING_RATE,
  TRADE_OFF,
  BINARY_SEARCH_STEPS,
  MAX_STEPS,
  CHECK_EVERY,
  RADIUS,
  STEP_SIZE,
  MOMENTUM,
  PLATEAU,
  PRIOR_SIZE,
  PRIOR_LEARNING_RATE,
  EXPLORATION,
  RESTARTS,
)
_IN_A_BALL = ("ql", "bandits")
# Flags of some attacks only that stand for no number of theirs.
_ONLY = {
  "norm": _IN_A_BALL,
  "reversed_plateau": ("ql",),
  "spacing": ("zoo", "bandits"),
  "start": ("zoo", "nes", "carlini_wagner"),
  "check_average": ("zoo", "nes", "carlini_wagner"),
  "confidence": ("zoo", "nes", "carlini_wagner", "ql", "bandits"),
  "non_positive": ("zoo", "nes", "carlini_wagner", "ql", "bandits"),
  "confirmations": ("zoo", "nes", "carlini_wagner", "ql", "bandits"),
}


def define_attack(*names: str) -> None:
  """Defines --attack with the names a main offers; the first is its default."""
  flags.DEFINE_enum("attack", names[0], names, "Attack.")


def resolved() -> dict:
  """The attack's numbers: the data set's, overridden by flags that were given."""
  name = flags.FLAGS.attack
  norm = NORM.value if name in _IN_A_BALL else None
  numbers = presets.numbers(name, common.DATASET.value, norm)
  given = {flag.name for flag in _NUMBERS if flag.value is not None}
  wrong = given - numbers.keys() | {
    flag
    for flag, attacks_of in _ONLY.items()
    if name not in attacks_of and flags.FLAGS[flag].present
  }
  wrong -= {"check_every"} if name == "carlini_wagner" else set()
  if name == "ql" and REVERSED_PLATEAU.value:
    if TARGETED.value or not (numbers["plateau"] if PLATEAU.value is None else PLATEAU.value):
      raise ValueError(
        "--reversed_plateau is what the official code does untargeted with a "
        "plateau: leave it out, or pass --plateau and no --targeted"
      )
  if wrong:
    raise ValueError(f"--{min(wrong)} is not for --attack={name}: leave it out")
  if SIZES.value:  # they come with steps of their own, and 0 stands for none
    numbers["resize_at"] = []
  numbers |= {flag.name: flag.value for flag in _NUMBERS if flag.value is not None}
  if numbers.get("sizes") == [0]:
    numbers["sizes"] = []
  if name == "carlini_wagner":
    numbers.setdefault("check_every", max(1, numbers["max_steps"] // 10))
  return numbers


def spacings() -> list[float | None]:
  """The values of h that are swept; one, None, for attacks without."""
  numbers = resolved()
  return SPACING.value or [numbers.get("spacing")]


def _objective(name):
  if name != "log_margin" and flags.FLAGS["non_positive"].present:
    raise ValueError("--non_positive is for --objective=log_margin: leave it out")
  if name == "margin":
    if math.isnan(CONFIDENCE.value):
      raise ValueError("--confidence=nan must be between 0 and 1")
    return objectives.margin(targeted=TARGETED.value, confidence=CONFIDENCE.value)
  if CONFIDENCE.value:
    raise ValueError("--confidence needs --objective=margin: log losses have none")
  if name == "log_margin":
    return objectives.log_margin(targeted=TARGETED.value, non_positive=NON_POSITIVE.value)
  return objectives.cross_entropy(targeted=TARGETED.value)


def _coarse(numbers):
  """ZOO's coarse modifier, if it has one."""
  if not numbers["sizes"]:
    for name in ("resize_at", "importance", "reset_adam"):
      if flags.FLAGS[name].present:
        raise ValueError(f"--{name} needs --sizes: a modifier as fine as the image does not grow")
    return None
  if not numbers["tanh_space"] or START.value == "far":
    raise ValueError(
      "--sizes are for CIFAR10 and ImageNet, where ZOO works in tanh space, and "
      "begin at the image: leave them out, or pass --sizes=0"
    )
  return attacks.CoarseToFine(
    tuple(numbers["sizes"]),
    tuple(numbers["resize_at"]),
    numbers["importance"],
    numbers["reset_adam"],
  )


def build(spacing: float | None) -> tuple[Attack, Objective]:
  """The attack that the flags describe, and what it wants.

  Raises:
    ValueError: a number that no attack can use.
  """
  name, numbers = flags.FLAGS.attack, {**resolved(), "spacing": spacing}
  for number in (
    "spacing",
    "smoothing",
    "trade_off",
    "learning_rate",
    "radius",
    "step_size",
    "prior_learning_rate",
    "exploration",
  ):
    value = numbers.get(number)
    if value is not None and not 0 < value < math.inf:
      raise ValueError(f"--{number}={value:g} must be above 0 and finite")
  if not numbers.get("momentum", 0) < 1:
    raise ValueError(f"--momentum={numbers['momentum']:g} must be below 1")
  if numbers.get("plateau") == 1:
    raise ValueError("--plateau=1 compares a loss with itself: pass 0 for never, or 2 or more")
  if START.value == "far" and TARGETED.value:
    raise ValueError(
      "--start=far is for untargeted attacks: noise is hardly ever of the target's class"
    )
  objective = _objective(numbers["objective"])
  take = lambda *names: {n: numbers[n] for n in names}
  if name == "ql":
    plateau = numbers["plateau"] and attacks.Plateau(
      numbers["plateau"], reversed=REVERSED_PLATEAU.value
    )
    return attacks.ql(
      objective,
      plateau=plateau or None,
      confirmations=CONFIRMATIONS.value,
      **take("num_pairs", "smoothing", "radius", "norm", "step_size", "momentum"),
    ), objective
  if name == "bandits":
    return attacks.bandits(
      objective,
      prior_size=numbers["prior_size"] or None,
      confirmations=CONFIRMATIONS.value,
      **take("radius", "norm", "step_size", "prior_learning_rate", "exploration", "spacing"),
    ), objective
  shared = {
    "initial_trade_off": numbers["trade_off"],
    **take("max_steps", "binary_search_steps"),
    "check_average": CHECK_AVERAGE.value,
    "confirmations": CONFIRMATIONS.value,
    "check_every": numbers["check_every"] or None,
    "start": attacks.low_frequency_noise() if START.value == "far" else None,
  }
  rate = numbers["learning_rate"]
  if name == "zoo":
    solver = getattr(attacks, numbers["solver"])(learning_rate=rate)
    return attacks.zoo(
      objective,
      solver=solver,
      coarse=_coarse(numbers),
      **shared,
      **take("num_coordinates", "spacing", "tanh_space"),
    ), objective
  estimator = (
    estimators.nes(**take("num_pairs", "smoothing")) if name == "nes" else estimators.autodiff()
  )
  return attacks.carlini_wagner(objective, estimator, learning_rate=rate, **shared), objective


def check(attack: Attack, num_samples: int) -> None:
  """Raises ValueError if one step does not fit the image or the budget; asks nothing."""
  image_shape, num_classes = classifiers.shapes(common.DATASET.value)
  oracle = oracles.averaged(
    oracles.from_predict(lambda images: jnp.zeros((len(images), num_classes))), num_samples
  )
  example = Example(jnp.zeros(image_shape), jnp.int32(0))
  trials.check_budget(trials.queries_per_step(attack, oracle, example), resolved()["max_queries"])
