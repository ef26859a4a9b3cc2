"""The strengths at which all defenses cost the same accuracy."""

import decimal
import pathlib

import jax
import numpy as np

from harness import classifiers
from harness import data
from harness import defenses
from harness import probing
from harness.request import DataRequest
from harness.studies import calibration
from harness.studies import strengths as costs
from orjax import files

FILE = "strengths.json"
_DIGITS = 3  # of a strength


def strengths(
  classifier: classifiers.ClassifierRequest,
  images: DataRequest,
  wanted: list[defenses.DefenseRequest],
  drop: float,
  seed: int,
  out: str,
) -> list[dict]:
  """The strength of every defense; found once in the life of a folder.

  Args:
    classifier: that is defended.
    images: to ask about.
    wanted: the defenses.
    drop: of accuracy that each may cost.
    seed: of the noise.
    out: the folder, where `strengths.json` keeps them.

  Returns:
    A dict a defense: what `costs.of_defense` says of it, with `value` as the flags name it and
    a `strength` of three digits, on the weaker side. Where no strength costs so much, `why`
    says it, and `strength` is the weakest of its own sweep if that is too dear, the strongest
    if it is too cheap.
  """
  path = pathlib.Path(out, FILE)
  files.make_folder(out, "pass another --out")
  known = files.optional(path, lambda: files.read_json(path, advice="remove it"), {})
  model = classifiers.load(classifier, images, seed)
  request = {"model": model.fingerprint, "data": images.name, "drop": drop, "seed": seed}
  if known and known["request"] != request:
    raise ValueError(
      f"{path} was found for other flags or another network ({known['request']}): pass another "
      f"--out"
    )
  found = {each["value"]: each for each in known.get("found", [])}
  missing = [each for each in wanted if each.value not in found]
  if missing:
    test = data.test_images(
      images, model.image_shape, limited=False, trained_here=classifier.recipe is not None
    )
    probing.check_model(model, test)
    undefended = np.asarray(calibration.probabilities(model, test.images).argmax(-1))
  for each in missing:
    defense = defenses.load(each)[0]
    (about,) = costs.of_defense(model, defense, test, undefended, [drop], jax.random.key(seed))
    found[each.value] = {
      "value": each.value,
      "why": None,
      **about,
      "strength": _chosen(defense, about),
    }
    files.write_json(path, {"request": request, "found": list(found.values())})
  return [found[each.value] for each in wanted]


def _chosen(defense, about):
  """The strength that is attacked."""
  if about["strength"] is None:
    return about["nearest"]
  return _rounded(about["strength"], towards=float(defense.default[0]))


def _rounded(strength, towards):
  """A strength of three digits, on its weaker side."""
  turn = decimal.ROUND_FLOOR if towards <= strength else decimal.ROUND_CEILING
  context = decimal.Context(prec=_DIGITS, rounding=turn)
  return float(context.create_decimal(repr(float(strength))))
