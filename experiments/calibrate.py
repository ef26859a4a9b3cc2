"""How much output noise may a classifier add for a wanted misclassification rate?

    python experiments/calibrate.py --dataset=mnist --misclassification_rate=0.01

Prints, for a stddev shared by all test images and for one per image, the largest noise
that keeps the rate, and the rate measured with one defended answer per test image.
Writes calibration.json and table.md to --out.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from harness import app
from harness import classifiers
from harness import data
from harness import probing
from harness import request
from harness.report import tables
from harness.request import Option
from harness.studies import calibration
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
    [0.01],
    "wanted share of answers that noise changes",
    request.HOW_MUCH,
    many=True,
    above=0,
    below=0.5,
  ),
]


class CalibrationRequest(NamedTuple):
  """Which classifier, which images, which rates."""

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  rates: list[float]
  seed: int
  out: str


def read(values: request.Values) -> CalibrationRequest:
  """The request that the flags make."""
  images = data.read(values)
  classifier = classifiers.read(values, images)
  if classifier.host_model:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  return CalibrationRequest(
    images, classifier, values["misclassification_rate"], values["seed"], values["out"]
  )


def main(asked: CalibrationRequest) -> None:
  """Calibrates, measures and prints."""
  records.make_folder(asked.out)
  model = classifiers.load(asked.classifier, asked.images, asked.seed)
  test = data.test_images(
    asked.images, model.image_shape, limited=False, trained_here=asked.classifier.recipe is not None
  )
  probing.check_model(model, test)
  probs = calibration.probabilities(model, test.images)
  key, found = jax.random.key(asked.seed), []
  for rate in asked.rates:
    for per_image in (False, True):
      key, noise_key = jax.random.split(key)
      found.append(calibration.measure(model, test, probs, rate, noise_key, per_image=per_image))
  table = tables.markdown(
    ["wanted rate", "noise", "stddev", "variance", "measured rate (95 %)", "accuracy"],
    [_row(each) for each in found],
  )
  accuracy = (np.asarray(probs.argmax(-1)) == test.labels).mean()
  print(
    f"{asked.images.name}, {len(probs)} test images, accuracy without noise {accuracy:.4f}\n{table}"
  )
  out = pathlib.Path(asked.out)
  files.write_text(out / "table.md", table + "\n")
  records.write_json(out / "calibration.json", {"about": app.about(), "found": found})


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
