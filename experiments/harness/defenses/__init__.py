"""The defenses by name: every file here with a `DEFENSE` is one; or the user's own."""

from collections.abc import Callable
import functools
import importlib
import pkgutil
from typing import NamedTuple

from harness import own
from harness import request
from harness.request import Option
from orjax.defenses import mean_answer
from orjax.threats import Defense

_MOST = 3.4e38  # about the largest number of float32

OPTIONS = (
  Option(
    "defense",
    "string",
    None,
    "what answers at test time: a name of the zoo (output_noise, "
    "inner_noise, none, ...) or path/to/file.py:factory, where factory() returns an "
    "orjax.threats.Defense; output noise by default, none against PGD and APGD and with "
    "--host_model, inner noise of a network with a place for it",
    request.WHAT,
  ),
  Option(
    "strength",
    "float",
    None,
    "of the defense, on its own axis; its own sweep by default",
    request.HOW_MUCH,
    many=True,
    low=0,
  ),
  Option(
    "variance",
    "float",
    None,
    "--strength of output noise: its variance; 0 to 0.1 by default",
    request.HOW_MUCH,
    many=True,
    low=0,
    science=False,
  ),
  Option(
    "ensemble",
    "integer",
    1,
    "answers of a random defense that the server averages into the one it gives, charged as one; "
    "random self-ensembles (inner_noise of a network of --trained_with=rse) take about 10; "
    "--rows_per_call bounds the memory of many",
    request.HOW_MUCH,
    low=1,
    high=2**16,
  ),
)


class DefenseRequest(NamedTuple):
  """Which defense.

  Attributes:
    value: a name, or the user's factory.
    strengths: as asked for; None for the defense's own.
    ensemble: answers that the server averages into one.
  """

  value: str
  strengths: list[float] | None
  ensemble: int = 1


@functools.cache
def _named(path):
  found = {}
  for module in pkgutil.iter_modules(path):
    defense = getattr(importlib.import_module(f"{__name__}.{module.name}"), "DEFENSE", None)
    if defense is not None:
      found[module.name] = defense
  return found


def named() -> dict[str, Callable[[], Defense]]:
  """The factories of all defenses by name."""
  return _named(tuple(__path__))


def is_own(value: str) -> bool:
  """Whether a defense is the user's factory."""
  return ":" in value


def name(value: str) -> str:
  """What a manifest calls a defense: its name, or file and factory of the user's."""
  return own.name(value) if is_own(value) else value


def read(values: request.Values, default: str, strengths: list[float] | None) -> DefenseRequest:
  """The request that the flags make.

  Args:
    values: of the flags.
    default: the defense where no flag says which.
    strengths: its default strengths; None for its own.

  Raises:
    ValueError: there is no such defense, or flags do not go together.
  """
  request.refuse_twice(values, "variance", "strength")
  value = values["defense"] or ("output_noise" if values["variance"] else default)
  found = read_name(value)
  if values["variance"] and value != "output_noise":
    raise ValueError("--variance is the strength of --defense=output_noise: pass --strength")
  if values["variance"] and values["strength"]:
    raise ValueError("--variance and --strength say the same: pass one of them")
  if value == "none" and any(values["strength"] or ()):
    raise ValueError("--strength needs a --defense that has one: leave it out")
  if value == "none" and values["ensemble"] > 1:
    raise ValueError("--ensemble averages what a random --defense answers: leave it out")
  given = values["variance"] or values["strength"]
  strengths = given or (strengths if value == default else None)
  return found._replace(strengths=strengths, ensemble=values["ensemble"])


def read_name(value: str) -> DefenseRequest:
  """The request of a defense and its own strengths; raises ValueError if there is none such."""
  if value not in named() and not is_own(value):
    raise ValueError(
      f"--defense={value} is neither path/to/file.py:factory nor one of {', '.join(named())}"
    )
  return DefenseRequest(value, None)


def unfolded(values: list[str]) -> list[str]:
  """The same, with every defense of the zoo that goes before any model in place of `all`."""
  zoo = [name for name in named() if name not in ("none", "inner_noise")]
  each = [name for value in values for name in (zoo if value == "all" else [value])]
  return list(dict.fromkeys(each))


def load(asked: DefenseRequest) -> tuple[Defense, list[float]]:
  """The defense, and the strengths that are swept.

  Raises:
    ValueError: the user's factory returns none, or the defense cannot have such a strength.
  """
  factory = named().get(asked.value)
  defense = factory() if factory else own.made(asked.value, "defense")
  if not isinstance(defense, Defense):
    raise ValueError(
      f"--defense={asked.value}: the factory must return an orjax.threats.Defense, not "
      f"{type(defense).__name__}"
    )
  if asked.ensemble > 1:
    defense = mean_answer(defense, asked.ensemble)
  strengths = list(map(float, asked.strengths or defense.default))
  for strength in strengths:
    _check_setting(asked.value, defense, strength)
  return defense, strengths


def _check_setting(value, defense, strength):
  try:
    setting = dict(defense.settings(strength))
    numbers = {name: float(x) for name, x in setting.items()}
  except Exception as e:  # whatever the user's code raises
    raise ValueError(
      f"--defense={value} has no strength {strength:g}: {' '.join(str(e).split())}"
    ) from e
  for name, x in numbers.items():
    if not abs(x) <= _MOST:
      raise ValueError(
        f"--defense={value} has no strength {strength:g}: its {name} is {x:g}, which is no "
        f"finite number of float32"
      )
