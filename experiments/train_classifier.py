"""Trains a classifier, with or without a defense, and prints its test accuracy.

    python experiments/train_classifier.py --dataset=mnist --model_dir=models
    python experiments/train_classifier.py --dataset=cifar10 --network=resnet32 \\
        --trained_with=or --stddev=100

Resumes where it was killed. With --publish, the finished network goes into a small file that
attacks take instead of training. The folder of the model has metrics.jsonl: loss, accuracy and
images per second every ten steps.
"""

import functools
from typing import NamedTuple

import jax

from harness import app
from harness import data
from harness import recipes
from harness import request
from harness import trainings
from harness.classifiers import published
from harness.classifiers import trained

_PUBLISH = request.Option(
  "publish",
  "string",
  None,
  "a folder for the trained parameters, .safetensors, and a card that says what they are; "
  "attacks look in experiments/networks",
  request.OUTPUT,
  science=False,
)
_SUBSTITUTE = request.Option(
  "substitute",
  "boolean",
  False,
  "train an attacker's own network, from another seed: what transfers of an attack begin on",
  request.WHAT,
)
OPTIONS = [
  *data.DATASET,
  *recipes.DESCRIPTION,
  _SUBSTITUTE,
  *trainings.OPTIONS,
  recipes.MODEL_DIR,
  app.SEED,
  _PUBLISH,
]


class TrainingRequest(NamedTuple):
  """Which classifier is trained, how, and where it goes."""

  images: request.DataRequest
  recipe: recipes.Recipe
  training: trainings.Training
  model_dir: str
  seed: int
  publish: str | None


def read(values: request.Values) -> TrainingRequest:
  """The request that the flags make."""
  images, recipe = data.read(values), recipes.read(values)
  if values["substitute"]:
    if recipe.trained_with not in ("none", "or") or recipe.inside:
      raise ValueError(
        "--substitute is of networks that attacks begin on: pass --trained_with=none, or or with "
        "noise on the logits"
      )
    recipe = recipes.substitute(recipe, recipe.stddev)
  if values["publish"] and values["publish"].endswith(".safetensors"):
    raise ValueError(f"--publish={values['publish']} is a folder: a file bears its network's name")
  recipes.network(images, recipe)
  return TrainingRequest(
    images, recipe, trainings.read(values), **values.named("model_dir", "seed", "publish")
  )


def main(asked: TrainingRequest) -> None:
  """Trains, and says how well it went."""
  saved = trained.train(asked.model_dir, *asked[:3], asked.seed)
  print(
    f"{saved.meta['model']}: test accuracy {saved.meta['test_accuracy']:.4f} after "
    f"{saved.meta['num_steps']} steps, in "
    f"{trained.folder(asked.model_dir, asked.images, asked.recipe)}"
  )
  if asked.publish and jax.process_index() == 0:
    measure = functools.partial(trained.accuracy, asked.images, asked.recipe)
    print(f"published: {published.publish(asked.publish, asked.recipe, saved, measure)}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main, shares=True)
