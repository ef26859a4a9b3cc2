"""Which images are attacked, and how accurate the model is through its defense."""

from collections.abc import Callable
import pathlib

import jax
import numpy as np

from harness.classifiers.model import Model
from orjax import datasets
from orjax import evaluation
from orjax import files
from orjax import records
from orjax.threats import Defense
from orjax.threats import threat_model
from orjax.threats import traced

_CHOICE = "choice.json"


def check_rows(max_rows: int | None, model: Model, num_test: int, num_images: int) -> None:
  """Raises ValueError if a limit of rows does not even pay for choosing and one accuracy."""
  wanted = max(num_test, 2 * num_images)
  if model.logits is None and max_rows is not None and max_rows < wanted:
    raise ValueError(
      f"--max_rows={max_rows} does not pay for the accuracy, which asks {num_test} rows a "
      f"strength, or for the choice of images, {2 * num_images} rows: raise it to {wanted} at "
      f"least, or lower --num_test_images and --num_images"
    )


def begun(directory: str) -> bool:
  """Whether a model outside JAX was asked in this folder before."""
  return pathlib.Path(directory, _CHOICE).exists()


def correctly_classified(
  model: Model, test: datasets.Dataset, num_images: int, name: str, directory: str
) -> tuple[np.ndarray, np.ndarray]:
  """Indices of the first images that the undefended model has right, and the images.

  A model outside JAX is asked no more than needed, and never twice: what it said is kept in
  the folder's `choice.json` as it comes.

  Args:
    model: of which.
    test: to choose from.
    num_images: how many.
    name: of the data, for messages.
    directory: the folder of the records.

  Raises:
    ValueError: there are fewer, or the labels are no classes of the model.
  """
  if test.labels.max() >= model.num_classes:
    raise ValueError(
      f"{name} has labels up to {test.labels.max()}, but the model answers {model.num_classes} "
      f"classes: pass another --dataset, --data or --model"
    )
  size = len(test.labels) if model.logits else 2 * num_images
  path = pathlib.Path(directory) / _CHOICE
  facts = {"model": model.name, "images": name, "batch": size}
  known = _known(path, facts) if model.logits is None else []
  classes = np.full(len(test.labels), -1)
  classes[: len(known)] = known[: len(classes)]
  for number, start in enumerate(range(0, len(test.labels), size)):
    if start >= len(known):
      found = evaluation.predict_classes(
        lambda variables, key, x: model.undefended(variables).query(key, x),
        model.variables,
        jax.random.key(number),
        test.images[start : start + size],
      )
      classes[start : start + size] = found
      known = classes[: start + len(found)].tolist()
      if model.logits is None:
        records.write_json(path, {**facts, "classes": known})
    if (classes == test.labels).sum() >= num_images:
      break
  chosen = datasets.correctly_classified(classes, test.labels, num_images)
  return chosen, datasets.to_float(test.images[chosen])


def _known(path, facts):
  """Classes that a model outside JAX named before, in this folder and of these images."""
  kept = files.optional(path, lambda: files.read_json(path, advice="remove it"), {})
  if kept and kept.keys() != {*facts, "classes"}:
    files.set_aside(path, f"it should hold {', '.join(facts)} and classes alone")
    return []
  if any(kept.get(name) != value for name, value in facts.items()):
    return []
  classes = kept.get("classes")
  if not isinstance(classes, list) or not all(isinstance(x, int) for x in classes):
    files.set_aside(path, "its classes are no whole numbers")
    return []
  return classes


def defended_classes(
  model: Model, defense: Defense
) -> Callable[[float, jax.Array, np.ndarray], np.ndarray]:
  """`classes(strength, key, images)`: of one defended answer each, by one compiled program.

  Images are uint8 [N, H, W, C]; it raises ValueError where the defense has no such strength, and
  FloatingPointError where an answer is not finite.
  """
  threats = threat_model(model.clean, defense)
  predict = evaluation.class_predictor(
    lambda pair, key, images: threats.defended(*pair).query(key, images)
  )

  def classes(strength, key, images):
    return predict((model.variables, traced(defense.settings(strength))), key, images)

  return classes


def write_accuracy(
  directory: str,
  model: Model,
  defense: Defense,
  strengths: list[float],
  test: datasets.Dataset,
  seed: int,
) -> None:
  """Writes `accuracy.json`: accuracy of one defended answer per test image, by strength."""
  found = records.kept_accuracy(directory)
  classes_of = defended_classes(model, defense)
  for strength in strengths:
    if records.strength_key(strength) in found:
      continue
    classes = classes_of(strength, jax.random.key(seed), test.images)
    num_correct = int((classes == test.labels).sum())
    found[records.strength_key(strength)] = {
      "accuracy": num_correct / len(test.labels),
      "num_images": len(test.labels),
      "interval": records.wilson(num_correct, len(test.labels)),
    }
    records.write_accuracy(directory, found)  # each as it comes: a model outside JAX may be dear
