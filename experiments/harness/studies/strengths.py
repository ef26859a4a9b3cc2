"""How strong a defense may be for the accuracy that it may cost."""

from collections.abc import Callable
import math

import jax
import numpy as np

from harness import choice
from harness.classifiers.model import Model
from harness.report import tables
from orjax import datasets
from orjax import records
from orjax.threats import Defense

_MOST_DOUBLINGS = 20  # beyond the strongest of the defense's own sweep
_PRECISION = 1e-3  # of a strength, relative


class NoSuchStrengthError(ValueError):
  """No strength of this defense costs that much.

  Attributes:
    nearest: of the defense's own sweep, the strength to take instead: the weakest where it is
      too dear, else the strongest.
  """

  def __init__(self, message: str, nearest: float):
    super().__init__(message)
    self.nearest = nearest


def of_defense(
  model: Model,
  defense: Defense,
  test: datasets.Dataset,
  undefended: np.ndarray,
  drops: list[float],
  key: jax.Array,
) -> list[dict]:
  """Facts for a file: which strength costs each of the drops, or why none does.

  Args:
    model: that is defended.
    defense: that alters its answers.
    test: images to ask about.
    undefended: the model's own classes of them [N].
    drops: of accuracy, each in (0, 1).
    key: consumed.
  """
  changed = changes(model, defense, test, undefended, key)
  found: list[dict] = []
  for drop in drops:
    about = {
      "defense": defense.name,
      "axis": defense.axis,
      "wanted": drop,
      "num_images": len(test.labels),
    }
    try:
      found.append(about | calibrate(changed, defense, len(test.labels), drop))
    except NoSuchStrengthError as error:
      found.append(about | {"strength": None, "why": str(error), "nearest": error.nearest})
  return found


def table(found: list[dict]) -> str:
  """What `of_defense` found, for people."""
  columns = ["defense", "axis", "wanted drop", "strength (95 %)", "drop (95 %)", "or why not"]
  return tables.markdown(columns, [_row(each) for each in found])


def _row(found):
  about = [found["defense"], found["axis"], f"{found['wanted']:g}"]
  if found["strength"] is None:
    return [*about, "-", "-", found["why"]]
  first, last = found["interval"]
  low, high = found["drop_interval"]
  end = "..." if last is None else f"{last:.4g}"
  return [
    *about,
    f"{found['strength']:.4g} [{first:.4g}, {end}]",
    f"{found['drop']:.4f} [{low:.4f}, {high:.4f}]",
    "",
  ]


def changes(
  model: Model, defense: Defense, test: datasets.Dataset, undefended: np.ndarray, key: jax.Array
) -> Callable[[float], tuple[int, int]]:
  """What a strength changes: images that it loses, and images that it gains.

  Every strength is asked with the same key, so that two strengths differ by themselves and
  not by their draws.

  Args:
    model: that is defended.
    defense: that alters its answers.
    test: images to ask about, once each.
    undefended: the model's own classes of them [N].
    key: consumed.

  Returns:
    `changed(strength)`: how many images only the undefended model classifies correctly, and
    how many only the defended one does. It raises ValueError where the defense has no such
    strength, and FloatingPointError where an answer is not finite.
  """
  was_right = undefended == test.labels
  classes_of = choice.defended_classes(model, defense)

  def changed(strength):
    is_right = classes_of(strength, key, test.images) == test.labels
    return int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())

  return changed


def calibrate(
  changed: Callable[[float], tuple[int, int]], defense: Defense, num_images: int, drop: float
) -> dict:
  """The strength that costs so much accuracy, by bisection, and the interval of it.

  The defense's own sweep says where to look: its first strength is the weakest, its last a
  strong one. Accuracy is taken to fall as the strength grows. The ends of the interval are
  the strengths at which the paired interval of the drop (`records.paired_interval`, 95 %)
  begins and ends to hold the wanted drop.

  Args:
    changed: of `changes`.
    defense: of the same.
    num_images: how many were asked about.
    drop: wanted, in (0, 1): the share of images that are lost, less those that are gained.

  Returns:
    Facts for a file: `strength` (the strongest found that costs at most `drop`), `interval`
    (its second end None where no strength costs clearly more), `drop` and its
    `drop_interval` there.

  Raises:
    NoSuchStrengthError: even the weakest that is there costs more, or even the strongest less.
  """
  seen = {}

  def cost(strength):
    if strength not in seen:
      lost, gained = changed(strength)
      low, high = records.paired_interval(lost, gained, num_images)
      seen[strength] = ((lost - gained) / num_images, low, high)
    return seen[strength]

  path = list(_path(defense))
  costs = lambda strength: cost(strength)[0]
  weakest = path[0]
  if costs(weakest) > drop:
    raise NoSuchStrengthError(
      f"even its weakest strength, {weakest:g}, costs {costs(weakest):.4f}: it cannot be "
      f"calibrated to cost {drop:g}",
      weakest,
    )
  search = lambda number: _crossing(defense, path, lambda s: cost(s)[number], drop)
  strength, dearer = search(0)
  if dearer is None:
    raise NoSuchStrengthError(
      f"even at strength {strength:g} it costs {costs(strength):.4f}: it cannot be calibrated to "
      f"cost {drop:g}, so choose its strength by what it does to attacks",
      float(defense.default[-1]),
    )
  if strength == weakest == 0:  # of whole strengths, that of no defense is left
    raise NoSuchStrengthError(
      f"already at strength {dearer:g} it costs {costs(dearer):.4f}: it cannot be calibrated to "
      f"cost {drop:g}",
      dearer,
    )
  earliest = search(2)[0] if cost(weakest)[2] <= drop else weakest
  latest = search(1)[1]
  found = cost(strength)
  return {
    "strength": strength,
    "interval": [earliest, latest],
    "drop": found[0],
    "drop_interval": list(found[1:]),
  }


def _path(defense):
  """Strengths from the weakest of a defense's sweep on, each stronger than the one before."""
  swept = list(map(float, defense.default))
  yield from swept
  grows = len(swept) < 2 or swept[-1] >= swept[0]
  last = swept[-1]
  for _ in range(_MOST_DOUBLINGS):
    last = last * 2 if grows else last / 2
    if _has(defense, last) and last != swept[-1]:
      yield last


def _has(defense, strength):
  """Whether a defense has such a strength, in float32."""
  try:
    numbers = defense.settings(strength)
  except (ValueError, ArithmeticError):
    return False
  with np.errstate(over="ignore"):
    return bool(np.isfinite(np.asarray(list(numbers.values()), np.float32)).all())


def _between(defense, weak, strong):
  """A strength of the defense between two, or None where there is none, or no need of one."""
  if abs(strong - weak) <= _PRECISION * max(abs(weak), abs(strong)):
    return None
  if weak == 0 and strong > 0:
    middle = strong / 10  # strengths differ by powers of ten
  else:
    middle = math.sqrt(weak * strong) if weak * strong > 0 else (weak + strong) / 2
  for strength in (middle, math.floor(middle), math.ceil(middle)):
    if min(weak, strong) < strength < max(weak, strong) and _has(defense, strength):
      return float(strength)
  return None


def _crossing(defense, path, cost, drop):
  """The strongest found that costs at most `drop`, and the weakest that costs more or None."""
  weak, strong = path[0], None
  for strength in path[1:]:
    try:
      above = cost(strength) > drop
    except FloatingPointError:  # so strong that float32 has no answer
      break
    if above:
      strong = strength
      break
    weak = strength
  while strong is not None and (middle := _between(defense, weak, strong)) is not None:
    if cost(middle) > drop:
      strong = middle
    else:
      weak = middle
  return weak, strong
