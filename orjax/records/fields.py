"""The fields of a record: their names, what each may be, and their older forms."""

from collections.abc import Callable
import json
import math
from typing import Any
from typing import NamedTuple

FIELDS = (
  "dataset",
  "model",
  "trained_with",
  "defense",
  "strength",
  "attack",
  "targeted",
  "num_samples",
  "seed",
  "run",
  "index",
  "label",
  "target",
  "claimed",
  "clean_success",
  "defended_success_rate",
  "noise_error_rate",
  "num_steps",
  "num_queries",
  "l2",
  "linf",
  "zero_gradients",
  "setting",
)
# Behind them, of an attack that chooses how it asks: what it chose.
CHOSEN = "chosen"
# What says which trial a record is of. How its model was trained, the model's name tells.
IDENTITY = tuple(name for name in FIELDS[: FIELDS.index("claimed")] if name != "trained_with") + (
  "setting",
)
_NEWER = {"zero_gradients", CHOSEN}  # ledgers written before they were measured have none


class _Kind(NamedTuple):
  """What a field may be: a test, and in words."""

  holds: Callable[[Any], bool]
  words: str


def _is_number(x):
  return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def _is_count(x, low=0):
  return isinstance(x, int) and not isinstance(x, bool) and x >= low


_NAME = _Kind(lambda x: isinstance(x, str) and bool(x), "a name")
_MAYBE_NAME = _Kind(lambda x: x is None or isinstance(x, str), "a name or null")
_NUMBER = _Kind(_is_number, "a finite number")
_LENGTH = _Kind(lambda x: _is_number(x) and x >= 0, "a finite number from 0 on")
_RATE = _Kind(lambda x: _is_number(x) and 0 <= x <= 1, "a number from 0 to 1")
_YES = _Kind(lambda x: isinstance(x, bool), "true or false")
_COUNT = _Kind(_is_count, "a whole number from 0 on")
_KINDS = {
  "dataset": _NAME,
  "model": _NAME,
  "trained_with": _MAYBE_NAME,
  "defense": _NAME,
  "strength": _NUMBER,
  "attack": _NAME,
  "targeted": _YES,
  "num_samples": _Kind(lambda x: _is_count(x, 1), "a whole number from 1 on"),
  "seed": _COUNT,
  "run": _COUNT,
  "index": _COUNT,
  "label": _COUNT,
  "target": _Kind(lambda x: x is None or _is_count(x), "a whole number from 0 on, or null"),
  "claimed": _YES,
  "clean_success": _YES,
  "defended_success_rate": _RATE,
  "noise_error_rate": _RATE,
  "num_steps": _COUNT,
  "num_queries": _COUNT,
  "l2": _LENGTH,
  "linf": _LENGTH,
  "zero_gradients": _RATE,
  "setting": _Kind(lambda x: isinstance(x, dict), "names and values"),
  CHOSEN: _Kind(
    lambda x: isinstance(x, dict) and all(isinstance(y, bool) or _is_number(y) for y in x.values()),
    "names and numbers",
  ),
}


def identity(record: dict) -> tuple:
  """A hashable name of the trial that a record, or its first fields, is of."""
  return tuple(json.dumps(record[name], sort_keys=True) for name in IDENTITY)


def check(record: Any, names: tuple[str, ...] = (*FIELDS, CHOSEN)) -> None:
  """Raises ValueError unless some fields of a record are there, and are what they should be.

  Args:
    record: in today's form.
    names: of the fields that are looked at.
  """
  if not isinstance(record, dict):
    raise ValueError("it holds no names and values")
  for name in names:
    if name not in record:
      if name in _NEWER:
        continue
      raise ValueError(f"it has no {name}")
    kind = _KINDS[name]
    if not kind.holds(record[name]):
      raise ValueError(f"its {name} is {record[name]!r}, not {kind.words}")


def modern(record: dict, request: dict) -> dict:
  """A record, or a trace, in today's form.

  The first form had `variance` for `strength` and called every defense output noise; before
  attacks could be swept over their spacing, records did not say it.

  Args:
    record: in either form.
    request: of its folder, from `read_manifest`; {} where it is not known.

  Raises:
    ValueError: it is of neither form.
  """
  if not isinstance(record, dict):
    return record
  if record.get("setting") == {} and isinstance(request.get("spacing"), float):
    record = {**record, "setting": {"spacing": request["spacing"]}}
  if "variance" not in record:
    return record
  new = {**record, "trained_with": request.get("trained_with")}
  variance = new.pop("variance")
  new["defense"] = request.get("defense") or first_defense(record.get("attack"))
  if new["defense"] == "inner_noise":
    strengths = request.get("strength")
    if not isinstance(strengths, list) or not strengths:
      raise ValueError("its manifest.json says not how strong the noise inside the network is")
    variance = strengths[0]
  new["strength"] = variance
  return {name: new[name] for name in (*FIELDS, *new) if name in new}


def first_defense(attack: str | None) -> str:
  """What stood before the answers when one defense was known."""
  # White-box PGD was always without noise on the answers: it looked at logits.
  return "none" if attack == "pgd" else "output_noise"
