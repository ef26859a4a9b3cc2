"""APGD: gradient steps that choose their own length, also where the answers are random.

On logits; behind a defense, through whose answers it differentiates, on their logarithms.
"""

from harness import request
from harness.attacks import flags
from harness.attacks import pgd
from harness.attacks.spec import AttackRequest
from harness.attacks.spec import AttackSpec
from harness.attacks.spec import Variant
from harness.attacks.spec import Victim
from harness.request import Option
from orjax import attacks
from orjax import objectives
from orjax.attacks import presets
from orjax.attacks.apgd import COMPARISONS

_TARGETED = "dlr_targeted"

_OPTIONS = (
  Option(
    "apgd_loss",
    "enum",
    ["xent", "dlr"],
    "cross-entropy, also of logits divided by each image's own margin, C&W's margin, the "
    "difference of logits ratio, or that ratio towards the likeliest --num_targets classes in turn",
    many=True,
    choices=("xent", "xent_by_margin", "cw_unbounded", "dlr", _TARGETED),
  ),
  Option(
    "num_targets",
    "integer",
    9,
    f"--apgd_loss={_TARGETED}: classes aimed at",
    request.HOW_MUCH,
    **flags.within("num_targets"),
  ),
  Option(
    "draws_per_point",
    "integer",
    1,
    "answers of a random network to each point",
    request.HOW_MUCH,
    **flags.within("num_draws"),
  ),
  Option(
    "draws",
    "enum",
    "cached",
    "of losses and successes: the last one's, kept, with the gradient of all (cached, as "
    "published); or points are compared by the same draws, and the best is put to a vote",
    choices=COMPARISONS,
  ),
)


def build(
  objective,
  *,
  radius,
  norm="linf",
  max_steps=100,
  restarts=1,
  draws_per_point=1,
  draws="cached",
  lead=1,
):
  """The attack of the flags, with a loss that needs no target."""
  return attacks.apgd(
    objective,
    radius=radius,
    norm=norm,
    num_steps=max_steps,
    num_restarts=restarts,
    num_draws=draws_per_point,
    comparison=draws,
    lead=lead,
  )


def _plan(asked: AttackRequest, victim: Victim) -> list[Variant]:
  del victim
  request.refuse_twice(request.Values(asked.own, asked.given), "apgd_loss")
  numbers, losses = asked.numbers, asked.own["apgd_loss"]
  for loss in ("dlr", _TARGETED):
    if asked.targeted and loss in losses:
      raise ValueError(f"--apgd_loss={loss} is untargeted: pass another, or leave --targeted out")
  if "num_targets" in asked.given and _TARGETED not in losses:
    raise ValueError(f"--num_targets needs --apgd_loss={_TARGETED}: leave it out")
  if "restarts" in asked.given and losses == [_TARGETED]:
    raise ValueError(f"--apgd_loss={_TARGETED} starts once for each target: leave --restarts out")
  if numbers["draws"] == "cached" and numbers["lead"] > 1:
    raise ValueError("--lead needs --draws=same_draws: a cached attack believes one answer")
  return [
    Variant(num_samples, {"apgd_loss": loss}, *_made(asked, loss))
    for num_samples in asked.num_samples
    for loss in losses
  ]


def _made(asked, loss):
  """The attack with a loss, and what it wants."""
  numbers = asked.numbers
  if loss != _TARGETED:
    wanted = pgd.objective(loss, 0.0, asked.targeted)
    return build(wanted, **numbers), wanted
  attack = attacks.apgd_targeted(
    radius=numbers["radius"],
    norm=numbers["norm"],
    num_steps=numbers["max_steps"],
    num_targets=asked.own["num_targets"],
    num_draws=numbers["draws_per_point"],
    comparison=numbers["draws"],
    lead=numbers["lead"],
  )
  return attack, objectives.margin(confidence=float("inf"))


SPEC = AttackSpec(
  build, presets.BALLS, access="logits", options=_OPTIONS, plan=_plan, takes_logs=True
)
