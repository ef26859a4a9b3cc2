"""Which images are attacked, and how accurate the model is through its defense."""

import pathlib

import jax
import numpy as np

from harness.classifiers.model import Model
from orjax import datasets
from orjax import evaluation
from orjax import records
from orjax.threats import Defense
from orjax.threats import threat_model


def correctly_classified(
  model: Model, test: datasets.Dataset, num_images: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Indices of the first images that the undefended model has right, and the images.

  Args:
    model: of which.
    test: to choose from.
    num_images: how many.
    name: of the data, for messages.

  Raises:
    ValueError: there are fewer, or the labels are no classes of the model.
  """
  if test.labels.max() >= model.num_classes:
    raise ValueError(
      f"{name} has labels up to {test.labels.max()}, but the model answers {model.num_classes} "
      f"classes: pass another --dataset, --data or --model"
    )
  # A model outside JAX is asked no more than needed.
  size = len(test.labels) if model.logits else 2 * num_images
  classes = np.full(len(test.labels), -1)
  for number, start in enumerate(range(0, len(test.labels), size)):
    classes[start : start + size] = evaluation.predict_classes(
      lambda variables, key, x: model.clean(variables).query(key, x),
      model.variables,
      jax.random.key(number),
      test.images[start : start + size],
    )
    if (classes == test.labels).sum() >= num_images:
      break
  chosen = datasets.correctly_classified(classes, test.labels, num_images)
  return chosen, datasets.to_float(test.images[chosen])


def write_accuracy(
  directory: str,
  model: Model,
  defense: Defense,
  strengths: list[float],
  test: datasets.Dataset,
  seed: int,
) -> None:
  """Writes `accuracy.json`: accuracy of one defended answer per test image, by strength."""
  path = pathlib.Path(directory) / "accuracy.json"
  if path.exists():
    return
  threats = threat_model(model.clean, defense)
  found = {}
  for strength in strengths:
    setting = {name: np.float32(x) for name, x in defense.settings(strength).items()}
    classes = evaluation.predict_classes(
      lambda pair, key, images: threats.defended(*pair).query(key, images),
      (model.variables, setting),
      jax.random.key(seed),
      test.images,
    )
    num_correct = int((classes == test.labels).sum())
    found[f"{strength:g}"] = {
      "accuracy": num_correct / len(test.labels),
      "num_images": len(test.labels),
      "interval": records.wilson(num_correct, len(test.labels)),
    }
  records.write_json(path, found)
