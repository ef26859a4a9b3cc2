"""How far output noise throws an estimated gradient: the paper's Figure 9, and beyond.

    python experiments/gradient_error.py --dataset=mnist

For every image the l2 norm of (finite-difference gradient of the undefended model minus
that of the defended one) over all pixels: the paper's log loss and the linear margin, at
h = 1e-4 and at a large h; at the image and at the classifier's boundary, where attacks
spend their time. Writes gradient_error.json, table.md and figure9.png to --out.
"""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness import app
from harness import choice
from harness import classifiers
from harness import data
from harness import request
from harness.report import tables
from harness.report.figures import theory
from harness.request import Option
from harness.studies import gradient_error
from orjax import files
from orjax import records

OPTIONS = [
  *data.DATASET,
  *data.CHOICE,
  *classifiers.OPTIONS,
  app.SEED,
  app.out("runs/gradient_error"),
  Option(
    "variance",
    "float",
    [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "of the output noise",
    request.HOW_MUCH,
    many=True,
    low=1e-12,
  ),
  Option(
    "spacing", "float", [1e-4, 0.1], "step h of the central differences", many=True, low=1e-12
  ),
  Option("num_images", "integer", 20, "images", request.HOW_MUCH, low=2),
]


class ErrorRequest(NamedTuple):
  """Which classifier, images and estimators."""

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  variance: list[float]
  spacing: list[float]
  num_images: int
  seed: int
  out: str


def read(values: request.Values) -> ErrorRequest:
  """The request that the flags make."""
  images = data.read(values)
  classifier = classifiers.read(values, images)
  if classifier.host_model:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  request.refuse_twice(values, "variance", "spacing")
  return ErrorRequest(
    images, classifier, **values.named("variance", "spacing", "num_images", "seed", "out")
  )


def _rows(place, name, spacing, variances, errors, true):
  rows = []
  for variance, e in zip(variances, errors):
    relative = np.divide(e, true, where=true > 0, out=np.full_like(e, np.inf))
    rows.append(
      [
        place,
        name,
        f"{spacing:g}",
        f"{variance:g}",
        f"{true.mean():.3g}",
        f"{e.mean():.3g} ± {1.96 * e.std(ddof=1) / np.sqrt(len(e)):.2g}",
        f"{np.median(relative):.3g}",
      ]
    )
  return rows


def main(asked: ErrorRequest) -> None:
  """Measures, prints and draws."""
  records.make_folder(asked.out)
  out = pathlib.Path(asked.out)
  start_key, noise_key = jax.random.split(jax.random.key(asked.seed))
  model = classifiers.load(asked.classifier, asked.images, asked.seed)
  if model.random:
    raise ValueError("--model is random, and has no one gradient: pass it without its noise")
  test = data.test_images(
    asked.images, model.image_shape, limited=False, trained_here=asked.classifier.recipe is not None
  )
  chosen, images = choice.correctly_classified(
    model, test, asked.num_images, asked.images.name, asked.out
  )
  images, labels = jnp.asarray(images), jnp.asarray(test.labels[chosen]).astype(jnp.int32)
  places = {
    "at the image": images,
    "at the boundary": gradient_error.boundary(model, start_key, images, labels),
  }
  found, rows = {}, []
  for place, where in places.items():
    found[place] = {}
    for name in gradient_error.OBJECTIVES:
      for spacing in asked.spacing:
        errors, true = gradient_error.measure(
          model, name, spacing, asked.variance, noise_key, where, labels
        )
        found[place][f"{name}, h = {spacing:g}"] = errors, true
        rows += _rows(place, name, spacing, asked.variance, errors, true)
  table = tables.markdown(
    [
      "where",
      "loss",
      "h",
      "variance",
      "gradient norm",
      "mean error norm (95 %)",
      "median error / gradient",
    ],
    rows,
  )
  print(table)
  files.write_text(out / "table.md", f"{table}\n\n{len(images)} images.\n")
  records.write_json(
    out / "gradient_error.json",
    {
      "about": app.about(),
      "variances": asked.variance,
      "indices": chosen.tolist(),
      "errors": {
        place: {name: {"errors": e.tolist(), "true": t.tolist()} for name, (e, t) in curves.items()}
        for place, curves in found.items()
      },
    },
  )
  theory.gradient_errors(asked.variance, found, asked.images.name, out / "figure9.png")
  print(f"figure: {out / 'figure9.png'}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
