"""The classifier under attack: one of orjax's, trained first if need be, or the user's own."""

import os
from typing import Any, Callable, NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

import common
import own_models
from orjax import checkpoints
from orjax import datasets
from orjax import models
from orjax import oracles
from orjax import training
from orjax.types import Oracle

MODEL_DIR = flags.DEFINE_string(
    "model_dir", "models", "Where trained classifiers are saved and looked for.")
NUM_EPOCHS = flags.DEFINE_integer(
    "num_epochs", None, "Training epochs, if the classifier must be trained "
    "(default: 50, the recipe of the ZOO networks).", lower_bound=1)
ROWS_PER_CALL = flags.DEFINE_integer(
    "rows_per_call", None, "For memory: images the network sees at a time (default: all, or "
    "of large images 16 on a CPU and 256 elsewhere). A folder of records keeps to one value.",
    lower_bound=1)

_BATCH_SIZE = 128
# ZOO's train_models.py keeps the first 5,000 images of MNIST and CIFAR10 for validation.
_NUM_VALIDATION = {"mnist": 5000, "cifar10": 5000, "digits": 0}
_LARGE = 64 * 64 * 3  # entries of an image


class Model(NamedTuple):
  """A classifier that answers, and what is known of it.

  Attributes:
    clean: `clean(variables) -> Oracle` of probabilities: the undefended model.
    apply: `apply(variables, images) -> logits`; None of a model outside JAX.
    variables: its parameters.
    image_shape: (H, W, C).
    num_classes: K.
    name: for the records.
    fingerprint: for the manifest.
  """

  clean: Callable[[Any], Oracle]
  apply: Callable[[Any, jax.Array], jax.Array] | None
  variables: Any
  image_shape: tuple[int, int, int]
  num_classes: int
  name: str
  fingerprint: str


def _of_jax(apply, variables, image_shape, num_classes, name):
  def clean(variables):
    return oracles.from_predict(lambda v, x: jax.nn.softmax(apply(v, x)), variables,
                                rows_per_call=rows_per_call(image_shape))

  variables = jax.tree.map(jnp.asarray, variables)
  return Model(clean, apply, variables, image_shape, num_classes, name,
               checkpoints.fingerprint(variables))


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
  classifier = models.build(_small_network(dataset))
  return classifier.image_shape, classifier.num_classes


def load(dataset: str) -> Model:
  """The model that the flags name; the data set's own is trained first if need be."""
  own_models.check_flags()
  if own_models.MODEL.value:
    return _of_jax(*own_models.jax_model(), own_models.name())
  if own_models.HOST_MODEL.value:
    fn, image_shape, num_classes = own_models.outside_model()
    oracle = oracles.from_host(fn, num_classes, rows_per_call=rows_per_call(image_shape),
                               max_rows=own_models.MAX_ROWS.value)
    return Model(lambda variables: oracle, None, (), image_shape, num_classes,
                 own_models.name(), "outside JAX")
  return load_or_train(dataset)


def load_jax(dataset: str) -> Model:
  """As `load`, for mains that need the model inside JAX."""
  model = load(dataset)
  if model.apply is None:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  return model


def _small_network(dataset):
  if dataset == "imagenet2012":
    raise ValueError("orjax trains no ImageNet network: pass yours with "
                     "--model=path/to/file.py:factory, or torchvision's weights with "
                     "--model=resnet50 --weights=FILE")
  return f"convnet_{dataset}"


def model_folder(dataset: str) -> str:
  """Where the classifier of a data set lives."""
  return os.path.join(os.path.expanduser(MODEL_DIR.value), _small_network(dataset))


def load_or_train(dataset: str) -> Model:
  """Finds the data set's classifier under --model_dir, or trains it first."""
  name = _small_network(dataset)
  classifier = models.build(name)
  folder = model_folder(dataset)
  meta = {"model": name, "dataset": dataset}
  saved = checkpoints.load(folder)
  if saved is not None:
    checkpoints.check_meta(folder, saved.meta, meta)
  if saved is None or not saved.meta["finished"]:
    if jax.process_count() > 1:
      raise ValueError(f"there is no finished {name} in {folder}: train it in one process "
                       f"with train_classifier.py --dataset={dataset} first")
    saved = train(dataset)
  variables = saved.state["variables"] if isinstance(saved.state, dict) else (
      saved.state.variables)
  expected = jax.eval_shape(classifier.init, jax.random.key(0))
  if (jax.tree.map(lambda x: x.shape, variables)
      != jax.tree.map(lambda x: x.shape, expected)):
    raise ValueError(f"the checkpoint in {folder} does not fit {name}: pass another "
                     f"--model_dir")
  return _of_jax(classifier.apply, variables, classifier.image_shape,
                 classifier.num_classes, name)


def train(dataset: str) -> checkpoints.Checkpoint:
  """Trains the data set's classifier by the recipe of the ZOO networks."""
  name = _small_network(dataset)
  classifier = models.build(name)
  train_split = datasets.load(dataset, "train", common.DATA_DIR.value)
  train_split = datasets.Dataset(*(x[_NUM_VALIDATION[dataset]:] for x in train_split))
  num_epochs = NUM_EPOCHS.value or 50
  num_steps = num_epochs * (len(train_split.labels) // _BATCH_SIZE)
  print(f"training {name} for {num_epochs} epochs ({num_steps} steps) into "
        f"{model_folder(dataset)}", flush=True)
  return training.fit(
      training.trainer(classifier, training.zoo_optimizer()), train_split,
      seed=common.SEED.value, num_steps=num_steps, batch_size=_BATCH_SIZE,
      directory=model_folder(dataset), apply=classifier.apply,
      meta={"model": name, "dataset": dataset, "batch_size": _BATCH_SIZE,
            "seed": common.SEED.value},
      test=datasets.load(dataset, "test", common.DATA_DIR.value))
