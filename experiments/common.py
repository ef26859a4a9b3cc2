"""Flags that several mains share, and what they stand for."""

import ctypes
import importlib.metadata
import math
import os
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

from absl import app
from absl import flags
from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np

import plot_figures
from orjax import checkpoints
from orjax import datasets
from orjax import models
from orjax import oracles
from orjax import records
from orjax import training
from orjax import verification

DATASET = flags.DEFINE_enum("dataset", "digits", datasets.NAMES, "Data set.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", "~/tensorflow_datasets", "Where TFDS keeps its prepared data sets.")
MODEL_DIR = flags.DEFINE_string(
    "model_dir", "models", "Where trained classifiers are saved and looked for.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.", lower_bound=0,
                            upper_bound=2**32 - 1)
NUM_EPOCHS = flags.DEFINE_integer(
    "num_epochs", None, "Training epochs, if the classifier must be trained "
    "(default: 50, the recipe of the ZOO networks).", lower_bound=1)
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", "~/.cache/orjax", "Folder of compiled programs (speed only); "
    "empty to switch it off.")

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the processes of a SLURM, MPI or Kubernetes job; each does "
    "its share of the trials.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Join processes by hand: host:port of process 0.")
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "With --coordinator: how many processes there are.")
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "With --coordinator: which of them this is, from 0.")

# Flags that no record depends on; every other flag of orjax's is part of the manifest.
_FREE_FLAGS = frozenset((
    "data_dir", "model_dir", "compilation_cache", "num_epochs", "out", "num_pictures",
    "trace", "chunk", "coordinator", "num_processes", "process_id",
    "distributed"))
_BATCH_SIZE = 128
# ZOO's train_models.py keeps the first 5,000 images of MNIST and CIFAR10 for validation.
_NUM_VALIDATION = {"mnist": 5000, "cifar10": 5000, "digits": 0}


class Model(NamedTuple):
  """A trained classifier and what is known of it."""

  classifier: models.Classifier
  variables: Any
  name: str
  accuracy: float
  fingerprint: str


def run(main) -> None:
  """Runs `main()` under absl; an expected error is one sentence and exit code 1."""

  def guarded(argv):
    if len(argv) > 1:
      sys.exit(f"error: unexpected argument {argv[1]!r}: flags start with --")
    _set_up()
    try:
      main()
    except (ValueError, OSError, FloatingPointError) as e:
      if os.environ.get("ORJAX_TRACEBACK"):
        raise
      if jax.process_count() > 1:  # a normal exit would wait for the other processes
        print(f"error: {e}", file=sys.stderr, flush=True)
        os._exit(1)
      sys.exit(f"error: {e}")

  app.run(guarded, flags_parser=_parse)


def _parse(argv):
  try:
    return flags.FLAGS(argv)
  except flags.Error as e:
    sys.exit(f"error: {e} (--help lists the flags)")


def _set_up():
  logging.set_verbosity(logging.WARNING)  # orbax tells its whole life at INFO
  if COMPILATION_CACHE.value:
    jax.config.update("jax_compilation_cache_dir",
                      str(pathlib.Path(COMPILATION_CACHE.value).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  if sys.platform == "linux":
    # Fresh mappings for every activation halve the speed on a CPU; glibc only.
    try:
      for option, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
        ctypes.CDLL(None).mallopt(option, value)
    except AttributeError:
      pass
  if (NUM_PROCESSES.value, PROCESS_ID.value) != (None, None) and not COORDINATOR.value:
    sys.exit("error: --num_processes and --process_id need --coordinator=host:port")
  if DISTRIBUTED.value or COORDINATOR.value:
    jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)


def wait_for_all(what: str) -> bool:
  """Waits until every process is here; returns whether this one speaks for them."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
  return jax.process_index() == 0


def model_folder(dataset: str) -> str:
  """Where the classifier of a data set lives."""
  return os.path.join(os.path.expanduser(MODEL_DIR.value), f"convnet_{dataset}")


def load_or_train(dataset: str) -> Model:
  """Finds the data set's classifier under --model_dir, or trains it first."""
  name = f"convnet_{dataset}"
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
  variables = jax.tree.map(jax.numpy.asarray, variables)
  return Model(classifier, variables, name, saved.meta["test_accuracy"],
               checkpoints.fingerprint(variables))


def train(dataset: str) -> checkpoints.Checkpoint:
  """Trains the data set's classifier by the recipe of the ZOO networks."""
  name = f"convnet_{dataset}"
  classifier = models.build(name)
  train_split = datasets.load(dataset, "train", DATA_DIR.value)
  train_split = datasets.Dataset(*(x[_NUM_VALIDATION[dataset]:] for x in train_split))
  num_epochs = NUM_EPOCHS.value or 50
  num_steps = num_epochs * (len(train_split.labels) // _BATCH_SIZE)
  print(f"training {name} for {num_epochs} epochs ({num_steps} steps) into "
        f"{model_folder(dataset)}", flush=True)
  return training.fit(
      training.trainer(classifier, training.zoo_optimizer()), train_split,
      seed=SEED.value, num_steps=num_steps, batch_size=_BATCH_SIZE,
      directory=model_folder(dataset), apply=classifier.apply,
      meta={"model": name, "dataset": dataset,
            "batch_size": _BATCH_SIZE, "seed": SEED.value},
      test=datasets.load(dataset, "test", DATA_DIR.value))


def asked(model: Model, numbers: dict) -> dict:
  """All that records depend on: flags, the attack's `numbers`, the model's parameters."""
  # Flags of the mains only: libraries define flags too, and change them.
  modules = flags.FLAGS.flags_by_module_dict()
  ours = [flag for name in ("common", "attack_flags", "sweep", sys.argv[0])
          for flag in modules.get(name, ())]
  values = {flag.name: flag.value for flag in ours if flag.name not in _FREE_FLAGS}
  return {**values, **numbers, "model": model.fingerprint}


def about(**speed) -> dict:
  """Facts for the reader of a manifest: versions, device, commit, speed settings."""
  versions = {name: importlib.metadata.version(name)
              for name in ("orjax", "jax", "jaxlib", "flax", "numpy")}
  commit = subprocess.run(
      ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"],
      capture_output=True, text=True, check=False).stdout.strip()
  return {"versions": versions, "python": sys.version.split()[0], "git_commit": commit,
          "devices": [str(device.device_kind) for device in jax.devices()],
          "xla_flags": os.environ.get("XLA_FLAGS", ""), "command": sys.argv, **speed}


def correctly_classified(model: Model, test: datasets.Dataset,
                         num_images: int) -> tuple[np.ndarray, np.ndarray]:
  """Indices of the first images that the undefended model has right, and the images."""
  classes = verification.predict_classes(
      lambda variables, key, x: oracles.from_predict(
          lambda v, x: jax.nn.softmax(model.classifier.apply(v, x)),
          variables).query(key, x),
      model.variables, jax.random.key(0), test.images)
  chosen = datasets.correctly_classified(classes, test.labels, num_images)
  return chosen, datasets.to_float(test.images[chosen])


def defended_accuracy(directory: str, threats, model: Model, test: datasets.Dataset,
                      variances: list[float]) -> None:
  """Writes `accuracy.json`: accuracy of one noisy answer per test image, by variance."""
  path = pathlib.Path(directory) / "accuracy.json"
  if path.exists():
    return
  found = {}
  for variance in variances:
    classes = verification.predict_classes(
        lambda variables, key, images: threats.defended(
            variables[0], {"stddev": variables[1]}).query(key, images),
        (model.variables, np.float32(math.sqrt(variance))),
        jax.random.key(SEED.value), test.images)
    num_correct = int((classes == test.labels).sum())
    found[f"{variance:g}"] = {
        "accuracy": num_correct / len(test.labels), "num_images": len(test.labels),
        "interval": records.wilson(num_correct, len(test.labels))}
  records.write_json(path, found)


def record(outcome) -> dict:
  """A ledger line from an outcome, in the order of `records.FIELDS`."""
  # Distances in float64, so that they do not depend on how an accelerator sums.
  perturbation = outcome.adversarial.astype(np.float64) - outcome.task.image
  measured = {
      **outcome.task.identity, **outcome._asdict(),
      "l2": float(np.sqrt(np.sum(perturbation**2))),
      "linf": float(np.abs(perturbation).max())}
  return {name: measured[name] for name in records.FIELDS}


def keep_picture(directory: str, outcome) -> None:
  """Keeps an outcome's images for the picture grid."""
  name = plot_figures.picture_name(outcome.task.identity)
  records.add_pictures(directory, jax.process_index(), {
      f"{name}/image": outcome.task.image, f"{name}/adversarial": outcome.adversarial})
