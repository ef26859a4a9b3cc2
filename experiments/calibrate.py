"""How strong may a defense be for the accuracy that it may cost?

    python experiments/calibrate.py --dataset=mnist --misclassification_rate=0.01
    python experiments/calibrate.py --defense=input_noise --accuracy_drop=0.01
    python experiments/calibrate.py --defense=all --accuracy_drop=0.01

The first is of output noise alone, in closed form: for a stddev shared by all test images and
for one per image, the largest noise that keeps the rate, and the rate measured with one
defended answer per test image. The others are of any defense, by bisection: the strongest that
costs so much accuracy, with the interval of strengths that may do so. Writes calibration.json
and table.md to --out.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from harness import app
from harness import classifiers
from harness import data
from harness import defenses
from harness import probing
from harness import request
from harness.report import tables
from harness.request import Option
from harness.studies import calibration
from harness.studies import strengths
from orjax import files
from orjax import records

OPTIONS = [
  *data.DATASET,
  *data.CHOICE,
  *classifiers.OPTIONS,
  app.SEED,
  app.out("runs/calibrate"),
  Option(
    "misclassification_rate",
    "float",
    None,
    "wanted share of answers that noise changes; 0.01 where no --defense is calibrated",
    request.HOW_MUCH,
    many=True,
    above=0,
    below=0.5,
  ),
  Option(
    "defense",
    "string",
    None,
    "what to calibrate: a name of the zoo, all, or path/to/file.py:factory",
    request.WHAT,
    many=True,
  ),
  Option(
    "accuracy_drop",
    "float",
    None,
    "accuracy that a defense may cost, as a difference; 0.01 by default",
    request.HOW_MUCH,
    many=True,
    above=0,
    below=1,
  ),
]


class CalibrationRequest(NamedTuple):
  """Which classifier, which images, which rates, and which defenses for which drops."""

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  rates: list[float]
  defenses: list[defenses.DefenseRequest]
  drops: list[float]
  seed: int
  out: str


def read(values: request.Values) -> CalibrationRequest:
  """The request that the flags make."""
  images = data.read(values)
  classifier = classifiers.read(values, images)
  classifiers.refuse_dear(classifier)
  drops, names = values["accuracy_drop"] or [], values["defense"] or []
  if drops or names:
    names, drops = names or ["output_noise"], drops or [0.01]
  rates = values["misclassification_rate"] or ([] if drops else [0.01])
  wanted = [defenses.read_name(name) for name in defenses.unfolded(names)]
  return CalibrationRequest(images, classifier, rates, wanted, drops, values["seed"], values["out"])


def main(asked: CalibrationRequest) -> None:
  """Calibrates, measures and prints."""
  records.make_folder(asked.out)
  wanted = [defenses.load(each)[0] for each in asked.defenses]
  model = classifiers.load(asked.classifier, asked.images, asked.seed)
  test = data.test_images(
    asked.images, model.image_shape, limited=False, trained_here=asked.classifier.recipe is not None
  )
  probing.check_model(model, test)
  probs = calibration.probabilities(model, test.images)
  undefended = np.asarray(probs.argmax(-1))
  accuracy = (undefended == test.labels).mean()
  print(f"{asked.images.name}, {len(probs)} test images, accuracy without a defense {accuracy:.4f}")
  key, found, written = jax.random.key(asked.seed), [], []
  for rate in asked.rates:
    for per_image in (False, True):
      key, noise_key = jax.random.split(key)
      found.append(calibration.measure(model, test, probs, rate, noise_key, per_image=per_image))
  if found:
    columns = ["wanted rate", "noise", "stddev", "variance", "measured rate (95 %)", "accuracy"]
    written.append(tables.markdown(columns, [_row(each) for each in found]))
  costs = []
  for defense in wanted:
    key = jax.random.key(asked.seed)
    costs += strengths.of_defense(model, defense, test, undefended, asked.drops, key)
  if costs:
    written.append(strengths.table(costs))
  print("\n\n".join(written))
  out = pathlib.Path(asked.out)
  files.write_text(out / "table.md", "\n\n".join(written) + "\n")
  records.write_json(
    out / "calibration.json", {"about": app.about(), "found": found, "strengths": costs}
  )


def _row(found):
  low, high = found["interval"]
  return [
    f"{found['rate']:g}",
    "per image (median)" if found["per_image"] else "shared",
    f"{found['stddev']:.4g}",
    f"{found['stddev'] ** 2:.4g}",
    f"{found['num_changed'] / found['num_images']:.4f} [{low:.4f}, {high:.4f}]",
    f"{found['accuracy']:.4f}",
  ]


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
