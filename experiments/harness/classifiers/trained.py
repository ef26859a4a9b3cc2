"""Classifiers of orjax's: found where they were saved or published, or trained first."""

import functools
import os

import jax
import jax.numpy as jnp

from harness import data
from harness import locks
from harness import recipes
from harness import signals
from harness import trainings
from harness.classifiers import published
from harness.classifiers.model import from_jax
from harness.classifiers.model import Model
from harness.recipes import Recipe
from harness.request import DataRequest
from harness.trainings import Training
from orjax import checkpoints
from orjax import datasets
from orjax import evaluation
from orjax import files
from orjax import models
from orjax import training as training_lib

# ZOO's train_models.py keeps the first 5,000 images of MNIST and CIFAR10 for validation;
# Madry et al. train on all.
_NUM_VALIDATION = {"mnist": 5000, "cifar10": 5000}
# Of convnets trained with noise: see `training.zoo_optimizer`.
_MAX_GRADIENT_NORM = 10.0


def folder(model_dir: str, asked: DataRequest, recipe: Recipe) -> str:
  """Where a classifier lives."""
  return os.path.join(os.path.expanduser(model_dir), recipes.name(asked, recipe))


def classifier(asked: DataRequest, recipe: Recipe, dtype=jnp.float32) -> models.Classifier:
  """The network of a recipe, with the place for noise inside it."""
  shape = {}
  if asked.dataset is None:
    image_shape, num_classes = data.shape_and_classes(asked)
    shape = {"image_shape": image_shape, "num_classes": num_classes}
  return models.build(
    recipes.network(asked, recipe),
    dtype=dtype,
    noise_location=recipe.inside,
    noise_stddev=recipe.stddev if recipe.inside else 0.0,
    noise_init_ratio=recipe.init_ratio,
    **shape,
  )


def load(
  model_dir: str,
  asked: DataRequest,
  recipe: Recipe,
  training: Training,
  seed: int,
  rows_per_call: int | None,
  *,
  as_it_is: bool = False,
  network_file: str | None = None,
  retrain: bool = False,
) -> Model:
  """Finds a classifier, where it was trained or published, or trains it first.

  Args:
    model_dir: where classifiers are.
    asked: which images.
    recipe: which classifier.
    training: how it is trained; what is found must not contradict it.
    seed: of the experiment.
    rows_per_call: images the network sees at a time.
    as_it_is: take what is found however it was trained.
    network_file: of a published network that is to be taken.
    retrain: leave published networks alone.
  """
  name, path = recipes.name(asked, recipe), folder(model_dir, asked, recipe)
  network = classifier(asked, recipe)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  num_images = len(_train_split(asked, recipe).labels) if training.num_epochs else 0
  source, saved = network_file, None
  if network_file is None:
    saved = checkpoints.load(path, meta={"model": name, "dataset": asked.name})
    if saved is None and not retrain:
      wanted = Training() if as_it_is else training
      source = published.find(name, lambda card: trainings.difference(card, wanted, num_images))
  if source is not None:
    saved = published.load(source, name, shapes)
    variables = saved.state
  else:
    if saved is None or not saved.meta["finished"]:
      saved = train(model_dir, asked, recipe, training, seed)
    elif not as_it_is:
      trainings.check_as_asked(path, saved.meta, training, num_images)
    variables = checkpoints.fitted(path, published.trained_variables(saved), shapes)
  return from_jax(
    network.apply,
    variables,
    network.image_shape,
    network.num_classes,
    name,
    rows_per_call=rows_per_call,
    apply_noisy=network.apply_noisy if recipe.inside else None,
    apply_float64=classifier(asked, recipe, jnp.float64).apply,
  )._replace(training=saved.meta, trained_with=recipe.trained_with)


def _train_split(asked, recipe):
  split = data.train_and_test(asked)[0]
  if recipe.network != "convnet":
    return split
  return datasets.Dataset(*(x[_NUM_VALIDATION.get(asked.dataset, 0) :] for x in split))


def _fitter(asked, recipe, training, steps):
  """What trains by a recipe, given the data and how long: `training.fit` or `distill`."""
  on_logits = 0.0 if recipe.inside else recipe.stddev
  adversary = None
  if "pgd" in recipe.trained_with:
    adversary = training_lib.pgd_adversary(
      **trainings.adversary(asked, training),
      statistics=training.adversary_statistics,
      stddev=on_logits if training.noisy_adversary else 0.0,
    )
  convnet = recipe.network == "convnet"
  if convnet:
    optimizer = training_lib.zoo_optimizer(_MAX_GRADIENT_NORM if recipe.stddev else None)
  elif training.schedule == "short":
    optimizer = training_lib.one_cycle_optimizer(steps)
  else:
    optimizer = training_lib.madry_optimizer(steps)
  network = classifier(asked, recipe, jnp.bfloat16 if training.bfloat16 else jnp.float32)
  if recipe.trained_with == "distillation":
    distill = functools.partial(training_lib.distill, network, optimizer)
    return functools.partial(distill, temperature=recipe.temperature)
  augment = None if convnet else training_lib.crop_and_flip
  if recipe.image_stddev:
    augment = training_lib.gaussian_noise(recipe.image_stddev, after=augment)
  trainer = training_lib.trainer(
    network, optimizer, logit_stddev=on_logits, adversary=adversary, augment=augment
  )
  return functools.partial(training_lib.fit, trainer)


def _meta(asked, recipe, training, steps, seed):
  """Facts that identify a training, for its checkpoint."""
  facts = {
    "model": recipes.name(asked, recipe),
    "dataset": asked.name,
    "batch_size": training.batch_size,
    "seed": seed,
    **({"bfloat16": True} if training.bfloat16 else {}),
    **({"schedule": "short"} if training.schedule == "short" else {}),
  }
  if "pgd" in recipe.trained_with:
    facts["adversary"] = {
      **trainings.adversary(asked, training),
      "statistics": training.adversary_statistics,
      "noisy": training.noisy_adversary,
    }
  # The milestones of the learning rate depend on the number of steps.
  return facts if recipe.network == "convnet" else {**facts, "scheduled_steps": steps}


def at_test_time(network, recipe):
  """What answers test images: `apply(variables, key, images)`."""

  def apply(variables, key, images):
    if recipe.inside:
      return network.apply_noisy(variables, jax.random.split(key, len(images)), images)
    return network.apply(variables, images)

  return apply


def accuracy(asked: DataRequest, recipe: Recipe, variables) -> float:
  """The test accuracy of a recipe's network with some parameters."""
  apply = at_test_time(classifier(asked, recipe), recipe)
  return evaluation.accuracy(apply, variables, data.train_and_test(asked)[1])


def train(
  model_dir: str, asked: DataRequest, recipe: Recipe, training: Training, seed: int
) -> checkpoints.Checkpoint:
  """Trains a classifier by the recipe of its network; in all processes of a job together."""
  path = folder(model_dir, asked, recipe)
  network = classifier(asked, recipe)
  split = _train_split(asked, recipe)
  steps = trainings.num_steps(recipe.network, training, len(split.labels))
  training_lib.check(len(split.labels), training.batch_size, steps, jax.device_count())

  # An attacker's network shares nothing with one that --seed gives.
  seed = (seed + recipe.substitute * 2**31) % 2**32
  print(
    f"training {recipes.name(asked, recipe)} for {steps} steps of {training.batch_size} images "
    f"into {path}",
    flush=True,
  )
  files.make_folder(path, "pass another folder for the model (--model_dir)")
  with locks.only_writer(path, "--model_dir", jax.process_index()), signals.postponed() as came:
    try:
      return _fitter(asked, recipe, training, steps)(
        split,
        seed=seed,
        num_steps=steps,
        batch_size=training.batch_size,
        directory=path,
        apply=at_test_time(network, recipe),
        meta=_meta(asked, recipe, training, steps, seed),
        test=data.train_and_test(asked)[1],
        seconds_between_saves=training.seconds_between_saves,
        should_stop=came,
      )
    except training_lib.Stopped as e:
      print(e, flush=True)
  raise KeyboardInterrupt("the signal is raised where the block ends")
