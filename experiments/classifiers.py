"""The classifier under attack: one of orjax's, trained first if need be, or the user's own."""

from collections.abc import Callable
import functools
import os
from typing import Any
from typing import NamedTuple

from absl import flags
import common
import jax
import jax.numpy as jnp
import numpy as np
import own_models
import recipes

from orjax import checkpoints
from orjax import datasets
from orjax import models
from orjax import oracles
from orjax import training
from orjax.types import Oracle

MODEL_DIR = flags.DEFINE_string(
  "model_dir", "models", "Where trained classifiers are saved and looked for."
)
ROWS_PER_CALL = flags.DEFINE_integer(
  "rows_per_call",
  None,
  "For memory: images the network sees at a time (default: all, or "
  "of large images 16 on a CPU and 256 elsewhere). A folder of records keeps to one value.",
  lower_bound=1,
)

# ZOO's train_models.py keeps the first 5,000 images of MNIST and CIFAR10 for validation;
# Madry et al. train on all.
_NUM_VALIDATION = {"mnist": 5000, "cifar10": 5000, "digits": 0}
_LARGE = 64 * 64 * 3  # entries of an image


class Model(NamedTuple):
  """A classifier that answers, and what is known of it.

  Attributes:
    clean: `clean(variables) -> Oracle` of probabilities: the undefended model.
    logits: `logits(variables) -> Oracle` of logits; None of a model outside JAX.
    apply: `apply(variables, images) -> logits`; None of a model outside JAX, or if noise
      inside the network is on.
    apply_float64: likewise, in float64 where the variables and images are.
    variables: its parameters.
    image_shape: (H, W, C).
    num_classes: K.
    name: for the records.
    fingerprint: for the manifest.
    training: facts about its training, as far as they are known.
  """

  clean: Callable[[Any], Oracle]
  logits: Callable[[Any], Oracle] | None
  apply: Callable[[Any, jax.Array], jax.Array] | None
  apply_float64: Callable[[Any, jax.Array], jax.Array] | None
  variables: Any
  image_shape: tuple[int, int, int]
  num_classes: int
  name: str
  fingerprint: str
  training: dict


def _of_jax(apply, apply_float64, variables, image_shape, num_classes, name):
  def oracle(finish, variables):
    return oracles.from_predict(
      lambda v, x: finish(apply(v, x)), variables, rows_per_call=rows_per_call(image_shape)
    )

  variables = jax.tree.map(jnp.asarray, variables)
  return Model(
    functools.partial(oracle, jax.nn.softmax),
    functools.partial(oracle, lambda x: x),
    apply,
    apply_float64,
    variables,
    image_shape,
    num_classes,
    name,
    checkpoints.fingerprint(variables),
    {},
  )


def _with_noise_inside(model, apply_noisy):
  """The same, with noise inside the network at test time."""

  def oracle(finish, variables):
    return oracles.from_random_predict(
      lambda v, keys, x: finish(apply_noisy(v, keys, x)),
      variables,
      rows_per_call=rows_per_call(model.image_shape),
    )

  return model._replace(
    clean=functools.partial(oracle, jax.nn.softmax),
    logits=functools.partial(oracle, lambda x: x),
    apply=None,
    apply_float64=None,
  )


def in_float64(model: Model) -> Model:
  """The same network in float64; call under `jax.enable_x64`."""
  if model.apply_float64 is None:
    raise ValueError("--float64 is for networks without noise inside: pass --notest_noise")
  variables = jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, model.variables
  )
  images = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float64)
  found = jax.eval_shape(model.apply_float64, variables, images).dtype
  if found != jnp.float64:
    raise ValueError(f"the model computes in {found} whatever it is given: leave --float64 out")
  return _of_jax(
    model.apply_float64,
    model.apply_float64,
    variables,
    model.image_shape,
    model.num_classes,
    model.name,
  )


def rows_per_call(image_shape: tuple[int, ...]) -> int | None:
  """Images the network sees at a time, which bounds memory; None for all."""
  if ROWS_PER_CALL.value or np.prod(image_shape) < _LARGE:
    return ROWS_PER_CALL.value
  return 16 if jax.default_backend() == "cpu" else 256


def shapes(dataset: str) -> tuple[tuple[int, int, int], int]:
  """(image_shape, num_classes) of the model that the flags name, before any training."""
  own_models.check_flags()
  if own_models.HOST_MODEL.value:
    return own_models.outside_model()[1:]
  if own_models.MODEL.value:
    return own_models.jax_model()[2:]
  classifier = models.build(recipes.network(dataset, recipes.from_flags()))
  return classifier.image_shape, classifier.num_classes


def load(dataset: str) -> Model:
  """The model that the flags name; the data set's own is trained first if need be."""
  own_models.check_flags()
  if own_models.MODEL.value:
    apply, *rest = own_models.jax_model()
    return _of_jax(apply, apply, *rest, own_models.name())
  if own_models.HOST_MODEL.value:
    fn, image_shape, num_classes = own_models.outside_model()
    oracle = oracles.from_host(
      fn, num_classes, rows_per_call=rows_per_call(image_shape), max_rows=own_models.MAX_ROWS.value
    )
    return Model(
      lambda variables: oracle,
      None,
      None,
      None,
      (),
      image_shape,
      num_classes,
      own_models.name(),
      "outside JAX",
      {},
    )
  return load_or_train(dataset, recipes.from_flags())


def load_jax(dataset: str) -> Model:
  """As `load`, for mains that need the model inside JAX."""
  model = load(dataset)
  if model.logits is None:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  return model


def load_deterministic(dataset: str) -> Model:
  """As `load_jax`, for mains that need a function without noise of its own."""
  model = load_jax(dataset)
  if model.apply is None:
    raise ValueError("noise inside the network is on at test time: pass --notest_noise")
  return model


def model_folder(dataset: str, recipe: recipes.Recipe) -> str:
  """Where a classifier lives."""
  return os.path.join(os.path.expanduser(MODEL_DIR.value), recipes.name(dataset, recipe))


def load_or_train(dataset: str, recipe: recipes.Recipe) -> Model:
  """Finds a classifier under --model_dir, or trains it first.

  Flags of training are about the attacked classifier and an attacker's substitutes; the
  undefended twin of a diagnosis is taken as it is, if it is there.
  """
  name, folder = recipes.name(dataset, recipe), model_folder(dataset, recipe)
  classifier = recipes.classifier(dataset, recipe)
  saved = checkpoints.load(folder, meta={"model": name, "dataset": dataset})
  if saved is None or not saved.meta["finished"]:
    saved = train(dataset, recipe)
  elif recipe.substitute or recipe == recipes.from_flags():
    num_images = len(_train_split(dataset, recipe).labels) if recipes.NUM_EPOCHS.value else 0
    recipes.check_as_asked(folder, saved.meta, num_images)
  variables = saved.state["variables"] if isinstance(saved.state, dict) else (saved.state.variables)
  variables = checkpoints.fitted(
    folder, variables, jax.eval_shape(classifier.init, jax.random.key(0))
  )
  in_double = models.build(recipes.network(dataset, recipe), dtype=jnp.float64)
  model = _of_jax(
    classifier.apply,
    in_double.apply,
    variables,
    classifier.image_shape,
    classifier.num_classes,
    name,
  )._replace(training=saved.meta)
  if recipe.inside and recipes.TEST_NOISE.value:
    return _with_noise_inside(model, classifier.apply_noisy)
  return model


def _train_split(dataset, recipe):
  split = datasets.load(dataset, "train", common.DATA_DIR.value)
  if recipe.network != "convnet":
    return split
  return datasets.Dataset(*(x[_NUM_VALIDATION[dataset] :] for x in split))


def train(dataset: str, recipe: recipes.Recipe) -> checkpoints.Checkpoint:
  """Trains a classifier by the recipe of its network; in all processes of a job together."""
  folder = model_folder(dataset, recipe)
  classifier = recipes.classifier(dataset, recipe)
  train_split = _train_split(dataset, recipe)
  num_steps = recipes.num_steps(recipe, len(train_split.labels))
  training.check(len(train_split.labels), recipes.BATCH_SIZE.value, num_steps, jax.device_count())

  def at_test_time(variables, key, images):
    if recipe.inside and recipes.TEST_NOISE.value:
      return classifier.apply_noisy(variables, jax.random.split(key, len(images)), images)
    return classifier.apply(variables, images)

  # An attacker's network shares nothing with one that --seed gives.
  seed = (common.SEED.value + recipe.substitute * 2**31) % 2**32
  print(
    f"training {recipes.name(dataset, recipe)} for {num_steps} steps of "
    f"{recipes.BATCH_SIZE.value} images into {folder}",
    flush=True,
  )
  return training.fit(
    recipes.trainer(dataset, recipe, num_steps),
    train_split,
    seed=seed,
    num_steps=num_steps,
    batch_size=recipes.BATCH_SIZE.value,
    directory=folder,
    apply=at_test_time,
    meta=recipes.meta(dataset, recipe, num_steps, seed),
    test=datasets.load(dataset, "test", common.DATA_DIR.value),
    seconds_between_saves=recipes.SECONDS_BETWEEN_SAVES.value,
  )
