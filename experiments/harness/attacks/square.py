"""Square: random search in a ball by the loss of whole windows."""

from harness import recipes
from harness import request
from harness.attacks import shared
from harness.attacks.spec import AttackRequest
from harness.attacks.spec import AttackSpec
from harness.attacks.spec import Variant
from harness.attacks.spec import variants
from harness.attacks.spec import Victim
from harness.request import Option
from orjax import attacks
from orjax import objectives
from orjax.attacks import presets

_TRANSFER_FROM = Option(
  "transfer_from",
  "enum",
  None,
  "begin where momentum and random resizing (MI-DI-FGSM) lead on networks of the attacker's own: "
  "the same network trained from another seed (clean), a small one that was taught 4,000 answers "
  "of the undefended model (mimic), or both; the queries of a trial have none of these",
  many=True,
  choices=("clean", "mimic"),
)


def build(objective, *, radius, window_share, norm="linf", comparison="cached", lead=1):
  """The attack of the flags, from its own start."""
  return attacks.square(
    objective, radius=radius, window_share=window_share, norm=norm, comparison=comparison, lead=lead
  )


def _plan(asked: AttackRequest, victim: Victim) -> list[Variant]:
  plain, sources = variants(asked), asked.own["transfer_from"]
  if sources is None:
    return plain
  numbers = {name: asked.numbers[name] for name in asked.spec.keywords()}
  request.refuse_twice(request.Values(asked.own, asked.given), "transfer_from")
  if numbers["norm"] != "linf":
    raise ValueError("--transfer_from moves in an l_inf ball: leave it or --norm out")
  if "clean" in sources and victim.recipe is None:
    raise ValueError(
      "--transfer_from=clean is for networks that orjax trains: pass --transfer_from=mimic"
    )
  if "mimic" in sources and victim.defense not in ("none", "output_noise"):
    raise ValueError(
      f"--transfer_from=mimic is taught the undefended answers, which only noise on probabilities "
      f"averages to: leave it or --defense={victim.defense} out"
    )

  def begun(*networks):
    loss = objectives.margin(targeted=asked.targeted, confidence=float("inf"))
    start = attacks.transferred(loss, *networks, radius=numbers["radius"])
    return attacks.square(plain[0].objective, **numbers, start=start)

  known = {"mimic": recipes.DISTILLED}
  if victim.recipe:
    known["clean"] = recipes.substitute(victim.recipe, 0)
  sources = sorted(sources)  # in any order they are the same attack
  begin = tuple(known[source] for source in sources)
  setting = {"transfer_from": "+".join(sources)}
  return [v._replace(setting=setting, begin=begin, begun=begun) for v in plain]


SPEC = AttackSpec(build, shared.in_a_ball(presets.SQUARE), options=(_TRANSFER_FROM,), plan=_plan)
