"""White-box PGD in an l_inf ball, on logits; and what tells whether its loss is masked.

`--diagnose` tries losses, steps and restarts, float64, and gradients of a substitute's.
"""

import itertools
import math

from harness import recipes
from harness import request
from harness.attacks.spec import AttackRequest
from harness.attacks.spec import AttackSpec
from harness.attacks.spec import Variant
from harness.attacks.spec import Victim
from harness.recipes import Recipe
from harness.request import Option
from orjax import attacks
from orjax import objectives
from orjax.types import Objective

# Both of the paper's, and what tells whether the first is masked.
LOSSES = ("xent", "cw", "cw_unbounded", "dlr", "xent_by_stddev", "xent_by_margin")
# Answers that --diagnose averages at every step where the network itself is random.
_AVERAGED = 20

_OPTIONS = (
  Option(
    "loss",
    "enum",
    ["xent", "cw"],
    "cross-entropy, the margin of C&W up to a lead of 50 or "
    "without bound, the difference of logits ratio, or cross-entropy of logits divided by "
    "--stddev or by each image's own margin",
    many=True,
    choices=LOSSES,
  ),
  Option("float64", "boolean", False, "attack in float64"),
  Option(
    "substitute_stddev",
    "float",
    None,
    "transfer attacks, from the same network trained from "
    "another seed with this noise on its logits; 0: undefended",
    many=True,
    low=0,
  ),
  Option(
    "diagnose", "boolean", False, "is the cross-entropy masked? tries all that could tell, and says"
  ),
)

# Madry et al.'s CIFAR10 and MNIST challenges; as many steps of as many pixels for digits.
_NUMBERS = {
  "digits": {"radius": 0.2, "step_size": 0.05, "max_steps": 10},
  "mnist": {"radius": 0.3, "step_size": 0.01, "max_steps": 40},
}


def build(
  objective, *, radius=8 / 255, step_size=2 / 255, max_steps=10, restarts=1, stop_at_success=True
):
  """The attack of the flags."""
  return attacks.whitebox_pgd(
    objective,
    radius=radius,
    step_size=step_size,
    num_steps=max_steps,
    num_restarts=restarts,
    stop_at_success=stop_at_success,
  )


def objective(loss: str, stddev: float, targeted: bool) -> Objective:
  """What PGD minimises.

  Raises:
    ValueError: there is no such loss, or it is untargeted.
  """
  if loss in ("cw", "cw_unbounded"):
    return objectives.margin(targeted=targeted, confidence=50.0 if loss == "cw" else math.inf)
  if loss == "dlr":
    if targeted:
      raise ValueError("--loss=dlr is untargeted: leave --targeted out")
    return objectives.dlr()
  if loss in ("xent", "xent_by_stddev", "xent_by_margin"):
    return objectives.logit_cross_entropy(
      targeted=targeted,
      by_margin=loss == "xent_by_margin",
      divisor=stddev if loss == "xent_by_stddev" else 1.0,
    )
  raise ValueError(f"there is no loss {loss!r}")


def plan(asked: AttackRequest, victim: Victim) -> list[Variant]:
  """All attacks that the flags describe.

  Raises:
    ValueError: flags that do not go together.
  """
  numbers, recipe = asked.numbers, victim.recipe or Recipe()
  given = request.Values({**asked.own, "num_samples": asked.num_samples}, asked.given)
  request.refuse_twice(given, "loss", "substitute_stddev")
  stops = numbers["stop_at_success"] and not victim.random
  if numbers["restarts"] > 1 and not stops:
    raise ValueError(
      "--restarts need --stop_at_success and a network without noise inside: otherwise only the "
      "last start would count"
    )
  plain = {
    "steps": numbers["max_steps"],
    "restarts": numbers["restarts"],
    "float64": asked.own["float64"],
  }
  if asked.own["diagnose"]:
    wanted = _diagnosis(asked, victim, recipe, plain)
  else:
    wanted = [
      (num_samples, {"loss": loss, **plain}, substitute)
      for num_samples, loss, substitute in itertools.product(
        asked.num_samples, asked.own["loss"], _substitutes(asked, victim)
      )
    ]
  return [_variant(asked, victim, recipe, stops, *each) for each in wanted]


def _substitutes(asked, victim):
  stddevs = asked.own["substitute_stddev"]
  if stddevs is None:
    return [None]
  if victim.recipe is None:
    raise ValueError("--substitute_stddev is for networks that orjax trains: leave it out")
  return [recipes.substitute(victim.recipe, stddev) for stddev in stddevs]


def _diagnosis(asked, victim, recipe, plain):
  """The published attack first, then what would succeed where it is only blinded."""
  tried = ("loss", "float64", "restarts", "num_samples", "substitute_stddev", "stop_at_success")
  for name in tried:
    if name in asked.given:
      raise ValueError(f"--diagnose tries every --{name}: leave it out")
  if asked.targeted:
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
  if victim.random:  # noise is drawn in float32, and one answer is no success to stop at
    changes = [change for change in changes if not change.keys() & {"float64", "restarts"}]
  elif not victim.computes_float64():
    print("float64 is left out: the model computes in float32 whatever it is given")
    changes.remove({"float64": True})
  if recipe.stddev and not recipe.inside:
    changes.insert(3, {"loss": "xent_by_stddev"})
  settings = [{"loss": "xent", **plain, **change} for change in changes]
  # --max_steps may be one of those numbers itself.
  unique = {tuple(setting.values()): setting for setting in settings}
  found: list[tuple] = [(1, setting, None) for setting in unique.values()]
  if victim.random:  # the gradient in expectation over the noise
    found += [(_AVERAGED, {"loss": loss, **plain}, None) for loss in ("xent", "cw")]
  if recipe.trained_with != "none":
    found.append((1, {"loss": "cw", **plain}, Recipe(recipe.network)))
  return found


def _variant(asked, victim, recipe, stops, num_samples, setting, substitute):
  if setting["loss"] == "xent_by_stddev" and (not recipe.stddev or recipe.inside):
    raise ValueError(
      "--loss=xent_by_stddev needs --trained_with=or and its --stddev, on the logits: pass "
      "--loss=xent_by_margin"
    )
  wanted = objective(setting["loss"], recipe.stddev, asked.targeted)
  attack = build(
    wanted,
    **{
      **asked.numbers,
      "max_steps": setting["steps"],
      "restarts": setting["restarts"],
      "stop_at_success": stops and substitute is None,
    },
  )
  named = substitute and victim.name_of(substitute)
  return Variant(
    num_samples, {**setting, "substitute": named}, attack, wanted, setting["float64"], substitute
  )


SPEC = AttackSpec(
  build,
  {(name, None): found for name, found in _NUMBERS.items()},
  access="logits",
  options=_OPTIONS,
  plan=plan,
)
