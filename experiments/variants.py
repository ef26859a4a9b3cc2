"""What a main sweeps: attacks with their settings; and what --diagnose tries.

Of PGD that is losses, steps and restarts, float64, and whose gradients are followed: the
network's own, or a substitute's in a transfer attack.
"""

import itertools
import math
from typing import Any
from typing import NamedTuple

from absl import flags
import attack_flags
import common
import own_models
import recipes

from orjax import attacks
from orjax import objectives
from orjax.types import Attack
from orjax.types import Objective

# Both of the paper's, and what tells whether the first is masked.
LOSSES = ("xent", "cw", "cw_unbounded", "dlr", "xent_by_stddev", "xent_by_margin")

LOSS = flags.DEFINE_multi_enum(
  "loss",
  ["xent", "cw"],
  LOSSES,
  "PGD, on logits: cross-entropy, the margin of C&W "
  "up to a lead of 50 or without bound, the difference of logits ratio, or cross-entropy of "
  "logits divided by --stddev or by each image's own margin; repeat the flag for several.",
)
FLOAT64 = flags.DEFINE_bool("float64", False, "PGD: attack in float64.")
STOP_AT_SUCCESS = flags.DEFINE_bool(
  "stop_at_success",
  True,
  "PGD: hand in the first success, not the last iterate; never of "
  "transfers, nor where the network is random.",
)
SUBSTITUTE_STDDEV = flags.DEFINE_multi_float(
  "substitute_stddev",
  None,
  "PGD: transfer attacks, from the same network trained from "
  "another seed with this noise on its logits (0: undefended); repeat the flag.",
)
DIAGNOSE = flags.DEFINE_bool(
  "diagnose", False, "PGD: is its cross-entropy masked? Tries all that could tell, and says."
)

# Answers that --diagnose averages at every step where the network itself is random.
_AVERAGED = 20

_PGD_ONLY = (LOSS, FLOAT64, STOP_AT_SUCCESS, SUBSTITUTE_STDDEV, DIAGNOSE)


class Variant(NamedTuple):
  """One attack of a sweep.

  Attributes:
    num_samples: answers the attacker averages.
    setting: the record's, what the sweep varies.
    attack: what attacks.
    objective: what it wants.
    float64: whether all of it is computed in float64.
    substitute: whose gradients are followed; None means the attacked network's.
  """

  num_samples: int
  setting: dict[str, Any]
  attack: Attack
  objective: Objective
  float64: bool = False
  substitute: recipes.Recipe | None = None


def planned() -> list[Variant]:
  """All attacks that the flags describe.

  Raises:
    ValueError: flags that no attack can use, or that do not go together.
  """
  if flags.FLAGS.attack == "pgd":
    return _pgd()
  for flag in _PGD_ONLY:
    if flag.present:
      raise ValueError(f"--{flag.name} is for --attack=pgd: leave it out")
  return [
    Variant(
      num_samples, {} if spacing is None else {"spacing": spacing}, *attack_flags.build(spacing)
    )
    for num_samples, spacing in itertools.product(
      attack_flags.NUM_SAMPLES.value, attack_flags.spacings()
    )
  ]


def objective(loss: str, stddev: float) -> Objective:
  """What PGD minimises."""
  targeted = attack_flags.TARGETED.value
  if loss in ("cw", "cw_unbounded"):
    return objectives.margin(targeted=targeted, confidence=50.0 if loss == "cw" else math.inf)
  if loss == "dlr":
    if targeted:
      raise ValueError("--loss=dlr is untargeted: leave --targeted out")
    return objectives.dlr()
  return objectives.logit_cross_entropy(
    targeted=targeted,
    by_margin=loss == "xent_by_margin",
    divisor=stddev if loss == "xent_by_stddev" else 1.0,
  )


def _pgd():
  for flag in (LOSS, SUBSTITUTE_STDDEV):
    if flag.value and len(set(flag.value)) < len(flag.value):
      raise ValueError(f"--{flag.name} names a value twice: pass each once")
  recipe, numbers = recipes.from_flags(), attack_flags.resolved()
  for name in ("max_steps", "restarts"):
    if numbers[name] < 1:
      raise ValueError(f"--{name}={numbers[name]} must be at least 1")
  for name in ("radius", "step_size"):
    if not 0 < numbers[name] < math.inf:
      raise ValueError(f"--{name}={numbers[name]:g} must be above 0 and finite")
  random = recipe.inside and recipes.TEST_NOISE.value and not own_models.MODEL.value
  stops = STOP_AT_SUCCESS.value and not random
  if numbers["restarts"] > 1 and not stops:
    raise ValueError(
      "--restarts need --stop_at_success and a network without noise inside: "
      "otherwise only the last start would count"
    )
  plain = {"steps": numbers["max_steps"], "restarts": numbers["restarts"], "float64": FLOAT64.value}
  if DIAGNOSE.value:
    wanted = _diagnosis(recipe, plain, random)
  else:
    wanted = [
      (num_samples, {"loss": loss, **plain}, substitute)
      for num_samples, loss, substitute in itertools.product(
        attack_flags.NUM_SAMPLES.value, LOSS.value, _substitutes(recipe)
      )
    ]
  return [_variant(numbers, recipe, stops, *each) for each in wanted]


def _substitutes(recipe):
  stddevs = SUBSTITUTE_STDDEV.value
  if stddevs is None:
    return [None]
  if own_models.MODEL.value:
    raise ValueError("--substitute_stddev is for networks that orjax trains: leave it out")
  for stddev in stddevs:
    if not 0 <= stddev < math.inf:
      raise ValueError(f"--substitute_stddev={stddev:g} must be 0 or more and finite")
  return [recipes.substitute(recipe, stddev) for stddev in stddevs]


def _diagnosis(recipe, plain, random):
  """The published attack first, then what would succeed where it is only blinded."""
  for flag in (
    LOSS,
    FLOAT64,
    attack_flags.RESTARTS,
    attack_flags.NUM_SAMPLES,
    SUBSTITUTE_STDDEV,
    STOP_AT_SUCCESS,
  ):
    if flag.present:
      raise ValueError(f"--diagnose tries every --{flag.name}: leave it out")
  if attack_flags.TARGETED.value:
    raise ValueError("--diagnose is untargeted: leave --targeted out")
  changes = [
    {},
    {"loss": "cw"},
    {"loss": "dlr"},
    {"loss": "xent_by_margin"},
    {"float64": True},
    {"restarts": 10},
    {"steps": 40},
    {"steps": 200},
    {"loss": "xent_by_margin", "steps": 200},
  ]
  ours = not own_models.MODEL.value
  if random:  # noise is drawn in float32, and one answer is no success to stop at
    changes = [change for change in changes if not change.keys() & {"float64", "restarts"}]
  if not ours and not own_models.computes_float64():
    print("float64 is left out: the model computes in float32 whatever it is given")
    changes.remove({"float64": True})
  if ours and recipe.stddev and not recipe.inside:
    changes.insert(3, {"loss": "xent_by_stddev"})
  settings = [{"loss": "xent", **plain, **change} for change in changes]
  # --max_steps may be one of those numbers itself.
  unique = {tuple(setting.values()): setting for setting in settings}
  found = [(1, setting, None) for setting in unique.values()]
  if random:  # the gradient in expectation over the noise
    found += [(_AVERAGED, {"loss": loss, **plain}, None) for loss in ("xent", "cw")]
  if ours and recipe.defense != "none":
    found.append((1, {"loss": "cw", **plain}, recipes.Recipe(recipe.network)))
  return found


def _variant(numbers, recipe, stops, num_samples, setting, substitute):
  if setting["loss"] == "xent_by_stddev" and (
    not recipe.stddev or recipe.inside or own_models.MODEL.value
  ):
    raise ValueError(
      "--loss=xent_by_stddev needs --defense=or and its --stddev, on the logits: "
      "pass --loss=xent_by_margin"
    )
  wanted = objective(setting["loss"], recipe.stddev)
  attack = attacks.whitebox_pgd(
    wanted,
    radius=numbers["radius"],
    step_size=numbers["step_size"],
    num_steps=setting["steps"],
    num_restarts=setting["restarts"],
    stop_at_success=stops and substitute is None,
  )
  named = substitute and recipes.name(common.DATASET.value, substitute)
  return Variant(
    num_samples, {**setting, "substitute": named}, attack, wanted, setting["float64"], substitute
  )
