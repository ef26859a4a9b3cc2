"""What several attacks have in common: objectives, and the search for the smallest distance."""

from typing import Any

from orjax import attacks
from orjax import objectives
from orjax.attacks import presets
from orjax.types import Objective

Numbers = dict[tuple[str | None, str | None], dict[str, Any]]
# The papers' cross-entropy does worse on small images: see BUILD_NOTES.md.
IN_A_BALL = {"max_queries": 10_000}
_IN_A_MINUTE = {"max_queries": 100_000}  # on two cores
_LARGER = ("mnist", "cifar10", "imagenet2012")


def in_a_ball(
  table: presets.Table, imagenet: str | None = None, max_queries: int = 10_000
) -> Numbers:
  """A spec's numbers from published ones: queries, and ImageNet's objective where it is another."""
  own = {} if imagenet is None else {"objective": imagenet}
  return {
    key: {"max_queries": max_queries, **(own if key[0] == "imagenet2012" else {}), **found}
    for key, found in table.items()
  }


def searches(table: presets.Table) -> Numbers:
  """A spec's numbers from published ones, of a search for the smallest distance."""
  return {
    key: {**(_IN_A_MINUTE if key[0] in ("digits", None) else {}), **found}
    for key, found in table.items()
  }


def measured(**small: int) -> Numbers:
  """A spec's numbers of an attacker who measures: of small images, and of a user's, fewer rows."""
  few = {**_IN_A_MINUTE, "confirmations": 16, "max_steps": 500, **small}
  return {("digits", None): few, (None, None): few, **{(name, None): {} for name in _LARGER}}


def objective(numbers: dict[str, Any], given: frozenset[str], targeted: bool) -> Objective:
  """What an attacker of probabilities wants.

  Raises:
    ValueError: flags that do not go together.
  """
  name = numbers.get("objective", "log_margin")
  if name != "log_margin" and "non_positive" in given:
    raise ValueError("--non_positive is for --objective=log_margin: leave it out")
  if name == "margin":
    return objectives.margin(
      targeted=targeted, confidence=numbers["confidence"], success_margin=numbers["success_margin"]
    )
  for flag in ("confidence", "success_margin"):
    if numbers[flag]:
      raise ValueError(f"--{flag} needs --objective=margin: other losses have none")
  if name == "log_margin":
    return objectives.log_margin(targeted=targeted, non_positive=numbers["non_positive"])
  if name == "log_dlr":
    if targeted:
      raise ValueError("--objective=log_dlr is untargeted: leave out --targeted")
    return objectives.log_dlr()
  plain = {
    "cross_entropy": objectives.cross_entropy,
    "label_probability": objectives.label_probability,
    "vote": objectives.vote,
  }
  if name not in plain:
    raise ValueError(f"there is no objective {name!r}")
  return plain[name](targeted=targeted)


_HARDLY_EVER = "noise is hardly ever of the target's class"


def check_comes_from_far(numbers: dict[str, Any], given: frozenset[str], targeted: bool) -> None:
  """Raises ValueError for a target: the attack comes back from noise, which must be a success."""
  del numbers, given
  if targeted:
    raise ValueError(f"--targeted is not for an attack that comes from far away: {_HARDLY_EVER}")


def check_search(numbers: dict[str, Any], given: frozenset[str], targeted: bool) -> None:
  """Raises ValueError for a far start of a targeted attack."""
  del given
  if numbers["start"] == "far" and targeted:
    raise ValueError(f"--start=far is for untargeted attacks: {_HARDLY_EVER}")


def check_measured(numbers: dict[str, Any], given: frozenset[str], targeted: bool) -> None:
  """Raises ValueError for what an attacker who measures picks, or cannot do."""
  for name in ("objective", "confidence", "success_margin", "non_positive"):
    if name in given:
      raise ValueError(f"--{name} is not for an attack that picks its own loss: leave it out")
  check_comes_from_far(numbers, given, targeted)


def search(
  *, trade_off, binary_search_steps, max_steps, check_every, check_average, start, confirmations
) -> dict[str, Any]:
  """Keywords of `attacks.zoo` and `attacks.carlini_wagner` from those of the flags."""
  starts = {"image": None, "far": attacks.low_frequency_noise()}
  return {
    "initial_trade_off": trade_off,
    "binary_search_steps": binary_search_steps,
    "max_steps": max_steps,
    "check_every": check_every or None,
    "check_average": check_average,
    "start": starts[start],
    "confirmations": confirmations,
  }
