"""The attacks by name: every file here with a `SPEC` is one, found by its name."""

import functools
import importlib
import pkgutil

from harness import request
from harness.attacks import shared
from harness.attacks.spec import AttackRequest
from harness.attacks.spec import AttackSpec
from harness.attacks.spec import Variant
from harness.attacks.spec import variants
from harness.attacks.spec import Victim
from harness.request import DataRequest
from harness.request import Option

__all__ = ["AttackRequest", "AttackSpec", "Variant", "Victim", "named", "options", "plan", "read"]


@functools.cache
def _specs(path):
  found = {}
  for module in pkgutil.iter_modules(path):
    spec = getattr(importlib.import_module(f"{__name__}.{module.name}"), "SPEC", None)
    if spec is not None:
      found[module.name] = spec
  return found


def named() -> dict[str, AttackSpec]:
  """All attacks by name."""
  return _specs(tuple(__path__))


def options(*access: str, default: str) -> list[Option]:
  """The options of a main that offers the attacks with some access, `--attack` first.

  Args:
    *access: of `spec.ACCESS`.
    default: the attack without `--attack`.
  """
  offered = {name: spec for name, spec in named().items() if spec.access in access}
  names = (default, *(name for name in offered if name != default))
  found = {option.name: option for spec in offered.values() for option in spec.all_options()}
  first = Option("attack", "enum", default, "attack", request.HOW, choices=names)
  return [first, *found.values()]


def read(values: request.Values, images: DataRequest) -> AttackRequest:
  """The request that the flags make.

  Raises:
    ValueError: a flag that is not for this attack, or numbers that do not go together.
  """
  name = values["attack"]
  spec = named()[name]
  legal = {option.name for option in spec.all_options()}
  every = {o.name for other in named().values() for o in other.all_options()}
  for flag in sorted(values.given & every - legal):
    raise ValueError(f"--{flag} is not for --attack={name}: leave it out")
  if values["all_targets"] and not values["targeted"]:
    raise ValueError("--all_targets needs --targeted: leave it out")
  for flag in ("num_samples", *spec.swept):
    request.refuse_twice(values, flag)
  numbers = _numbers(spec, values, images)
  spec.check(numbers, values.given, values["targeted"])
  max_queries = numbers.pop("max_queries")
  own = {o.name: values[o.name] for o in spec.options if o.name not in spec.keywords()}
  found = AttackRequest(
    name,
    spec,
    values["targeted"],
    values["all_targets"],
    max_queries,
    values["num_samples"],
    values["server_clips"],
    numbers,
    own,
    values.given,
    values["answers"],
  )
  if spec.access == "logits":
    request.refuse_unneeded(values, ["answers"], f"is not for --attack={name}, which sees logits")
  elif found.sees_logits and numbers["objective"] != "margin":
    raise ValueError(
      "--answers=logits needs --objective=margin: the other losses are of probabilities"
    )
  if spec.plan is None:
    shared.objective(numbers, values.given, found.targeted)
  return found


def _numbers(spec, values, images):
  """The attack's numbers, published or given, and what its objective is."""
  found = spec.defaults(images.dataset, values.by_name.get("norm"))
  if spec.access != "logits":
    own = values.named("confidence", "success_margin", "non_positive")
    found = {"objective": "log_margin", **own, **found}
  return found | {name: values[name] for name in found if name in values.given}


def science(asked: AttackRequest) -> dict:
  """What records depend on of an attack, for the manifest."""
  swept = {name: asked.numbers[name] for name in asked.spec.swept}
  swept = {name: x[0] if isinstance(x, list) and len(x) == 1 else x for name, x in swept.items()}
  lists = {name: list(x) for name, x in asked.numbers.items() if isinstance(x, tuple)}
  return {
    "attack": asked.name,
    "targeted": asked.targeted,
    "all_targets": asked.all_targets,
    "max_queries": asked.max_queries,
    "num_samples": asked.num_samples,
    "server_clips": asked.server_clips,
    "answers": asked.answers,
    **asked.numbers,
    **lists,
    **swept,
    **asked.own,
  }


def plan(asked: AttackRequest, victim: Victim) -> list[Variant]:
  """All attacks that a request describes.

  Raises:
    ValueError: numbers that no attack can use.
  """
  if asked.spec.plan is not None:
    return asked.spec.plan(asked, victim)
  return variants(asked)
