"""White-box PGD in an l_inf ball, on logits; and what tells whether its loss is masked.

`--diagnose` tries losses, steps and restarts, float64, gradients of substitutes, and attacks
that need no gradient.
"""

import itertools
import math

from harness import recipes
from harness import request
from harness.attacks import gradient_free
from harness.attacks.spec import AttackRequest
from harness.attacks.spec import AttackSpec
from harness.attacks.spec import Variant
from harness.attacks.spec import Victim
from harness.recipes import Recipe
from harness.request import Option
from orjax import attacks
from orjax import objectives
from orjax.attacks import presets
from orjax.types import Objective

# Both of the paper's, and what tells whether the first is masked.
LOSSES = ("xent", "cw", "cw_unbounded", "dlr", "xent_by_stddev", "xent_by_margin")
# Answers that --diagnose averages at every step where the network itself is random.
_AVERAGED = 20
# Starts of PGD(Xent) in --diagnose, or as many as there are other attacks: what a union of as
# many hides by chance.
_NUM_STARTS = 10

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
    "diagnose",
    "boolean",
    False,
    "is the cross-entropy masked, not masked, or is it undecided? tries all that could tell: "
    "losses, starts, steps, float64, transfers, attacks without gradients",
  ),
  Option(
    "diagnose_queries",
    "integer",
    1000,
    "--diagnose: queries per image of each of its attacks without gradients",
    request.HOW_MUCH,
    low=1,
    high=10**7,
  ),
)


def build(objective, *, radius, step_size, max_steps, restarts=1, stop_at_success=True):
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
    request.refuse_unneeded(given, ["diagnose_queries"], "needs --diagnose")
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
  others: list[tuple] = [(1, {"loss": loss, **plain}, None) for loss in _other_losses(recipe)]
  if not victim.random:  # noise is drawn in float32
    if victim.computes_float64():
      others.append((1, {"loss": "xent", **plain, "float64": True}, None))
    else:
      print("float64 is left out: the model computes in float32 whatever it is given")
  else:  # the gradient in expectation over the noise
    others += [(_AVERAGED, {"loss": loss, **plain}, None) for loss in ("xent", "cw")]
  others += _without_gradients(asked, victim, plain)
  others.append((1, {"loss": "cw", **plain}, recipes.DISTILLED))
  if recipe.trained_with != "none":
    others.append((1, {"loss": "cw", **plain}, Recipe(recipe.network)))
  dearer = [{"steps": 40}, {"steps": 200}, {"loss": "xent_by_margin", "steps": 200}]
  if not victim.random:  # one answer is no success to stop at
    dearer.insert(0, {"restarts": max(_NUM_STARTS, len(others))})
  found = [
    (1, {"loss": "xent", **plain}, None),
    *others,
    *((1, {"loss": "xent", **plain, **changes}, None) for changes in dearer),
  ]
  # --max_steps may be one of those numbers itself.
  return list({str(each): each for each in found}.values())


def _other_losses(recipe):
  by_stddev = ["xent_by_stddev"] if recipe.stddev and not recipe.inside else []
  return ["cw", "dlr", *by_stddev, "xent_by_margin"]


def _without_gradients(asked, victim, plain):
  """Attacks that only ask; labels of a random network change by themselves."""
  return [
    (
      _AVERAGED if victim.random and search == "square" else 1,
      {
        **plain,
        "loss": "cw",
        "steps": gradient_free.num_steps(search, plain["steps"], asked.own["diagnose_queries"]),
        "search": search,
      },
      None,
    )
    for search in gradient_free.SEARCHES
    if not (victim.random and search == "rays")
  ]


def _variant(asked, victim, recipe, stops, num_samples, setting, substitute):
  if setting["loss"] == "xent_by_stddev" and (not recipe.stddev or recipe.inside):
    raise ValueError(
      "--loss=xent_by_stddev needs --trained_with=or and its --stddev, on the logits: pass "
      "--loss=xent_by_margin"
    )
  wanted = objective(setting["loss"], recipe.stddev, asked.targeted)
  if "search" in setting:
    attack = gradient_free.build(
      setting["search"],
      wanted,
      radius=asked.numbers["radius"],
      step_size=asked.numbers["step_size"],
      usual_steps=asked.numbers["max_steps"],
      num_queries=asked.own["diagnose_queries"],
      stop_at_success=stops,
    )
  else:
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


SPEC = AttackSpec(build, presets.WHITEBOX_PGD, access="logits", options=_OPTIONS, plan=plan)
