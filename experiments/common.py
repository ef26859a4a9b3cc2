"""Flags that several mains share, and what they stand for."""

import ctypes
import importlib.metadata
import math
import os
import pathlib
import subprocess
import sys

from absl import app
from absl import flags
from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np
import plot_pictures
import recipes

from orjax import datasets
from orjax import records
from orjax import verification

DATASET = flags.DEFINE_enum("dataset", "digits", datasets.NAMES, "Data set.")
SPLIT = flags.DEFINE_string(
  "split", None, "ImageNet: the prepared split to attack (default: validation)."
)
NUM_TEST_IMAGES = flags.DEFINE_integer(
  "num_test_images",
  None,
  "Use the first so many images of the split only (default: all; "
  "of ImageNet or with --host_model 1000).",
  lower_bound=1,
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "~/tensorflow_datasets", "Where TFDS keeps its prepared data sets."
)
SEED = flags.DEFINE_integer(
  "seed", 0, "Seed of everything random.", lower_bound=0, upper_bound=2**32 - 1
)
COMPILATION_CACHE = flags.DEFINE_string(
  "compilation_cache",
  "~/.cache/orjax",
  "Folder of compiled programs (speed only); empty to switch it off.",
)

DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Join the processes of a SLURM, MPI or Kubernetes job; each does its share of the trials.",
)
COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "Join processes by hand: host:port of process 0."
)
NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "With --coordinator: how many processes there are."
)
PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "With --coordinator: which of them this is, from 0."
)

# Flags that no record depends on; every other flag of orjax's is part of the manifest.
_FREE_FLAGS = (
  frozenset(
    (
      "data_dir",
      "model_dir",
      "compilation_cache",
      "out",
      "num_pictures",
      "trace",
      "chunk",
      "max_rows",
      "weights",
      "coordinator",
      "num_processes",
      "process_id",
      "distributed",
    )
  )
  | recipes.FREE_FLAGS
)


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
  # orbax tells its whole life at INFO, TFDS which decoder it would like at WARNING.
  logging.set_verbosity(logging.ERROR)
  if COMPILATION_CACHE.value:
    jax.config.update(
      "jax_compilation_cache_dir", str(pathlib.Path(COMPILATION_CACHE.value).expanduser())
    )
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


def asked(model, numbers: dict) -> dict:
  """All that records depend on: flags, the attack's `numbers`, the model's parameters."""
  # Flags of the mains only: libraries define flags too, and change them.
  modules = flags.FLAGS.flags_by_module_dict()
  ours = [
    flag
    for name in (
      "common",
      "classifiers",
      "recipes",
      "own_models",
      "attack_flags",
      "variants",
      "sweep",
      sys.argv[0],
    )
    for flag in modules.get(name, ())
  ]
  values = {flag.name: flag.value for flag in ours if flag.name not in _FREE_FLAGS}
  return {**values, **numbers, "model": model.fingerprint}


def about(**speed) -> dict:
  """Facts for the reader of a manifest: versions, device, commit, speed settings."""
  versions = {
    name: importlib.metadata.version(name) for name in ("orjax", "jax", "jaxlib", "flax", "numpy")
  }
  commit = subprocess.run(
    ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"],
    capture_output=True,
    text=True,
    check=False,
  ).stdout.strip()
  return {
    "versions": versions,
    "python": sys.version.split()[0],
    "git_commit": commit,
    "devices": [str(device.device_kind) for device in jax.devices()],
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "command": sys.argv,
    **speed,
  }


def test_images(model) -> datasets.Dataset:
  """The images to choose from, as large as the model wants them."""
  dataset = DATASET.value
  limited = dataset == "imagenet2012" or model.logits is None
  num_images = NUM_TEST_IMAGES.value or (1000 if limited else None)
  if dataset == "imagenet2012":
    return datasets.load(
      dataset,
      SPLIT.value or "validation",
      DATA_DIR.value,
      image_shape=model.image_shape,
      num_images=num_images,
    )
  if SPLIT.value is not None:
    raise ValueError("--split is for --dataset=imagenet2012: leave it out")
  test = datasets.load(dataset, "test", DATA_DIR.value)
  test = datasets.Dataset(*(x[:num_images] for x in test))
  if test.images.shape[1:] != model.image_shape:
    raise ValueError(
      f"the model takes images of shape {model.image_shape}, but those of "
      f"{dataset} have shape {test.images.shape[1:]}: pass another --dataset"
    )
  return test


def correctly_classified(
  model, test: datasets.Dataset, num_images: int
) -> tuple[np.ndarray, np.ndarray]:
  """Indices of the first images that the undefended model has right, and the images."""
  if test.labels.max() >= model.num_classes:
    raise ValueError(
      f"{DATASET.value} has labels up to {test.labels.max()}, but the model "
      f"answers {model.num_classes} classes: pass another --dataset or --model"
    )
  # A model outside JAX is asked no more than needed.
  size = len(test.labels) if model.logits else 2 * num_images
  classes = np.full(len(test.labels), -1)
  for number, start in enumerate(range(0, len(test.labels), size)):
    classes[start : start + size] = verification.predict_classes(
      lambda variables, key, x: model.clean(variables).query(key, x),
      model.variables,
      jax.random.key(number),
      test.images[start : start + size],
    )
    if (classes == test.labels).sum() >= num_images:
      break
  chosen = datasets.correctly_classified(classes, test.labels, num_images)
  return chosen, datasets.to_float(test.images[chosen])


def defended_accuracy(
  directory: str, threats, model, test: datasets.Dataset, variances: list[float]
) -> None:
  """Writes `accuracy.json`: accuracy of one noisy answer per test image, by variance."""
  path = pathlib.Path(directory) / "accuracy.json"
  if path.exists():
    return
  found = {}
  for variance in variances:
    classes = verification.predict_classes(
      lambda variables, key, images: threats.defended(variables[0], {"stddev": variables[1]}).query(
        key, images
      ),
      (model.variables, np.float32(math.sqrt(variance))),
      jax.random.key(SEED.value),
      test.images,
    )
    num_correct = int((classes == test.labels).sum())
    found[f"{variance:g}"] = {
      "accuracy": num_correct / len(test.labels),
      "num_images": len(test.labels),
      "interval": records.wilson(num_correct, len(test.labels)),
    }
  records.write_json(path, found)


def record(outcome) -> dict:
  """A ledger line from an outcome, in the order of `records.FIELDS`."""
  # Distances in float64, so that they do not depend on how an accelerator sums.
  perturbation = outcome.adversarial.astype(np.float64) - outcome.task.image
  measured = {
    **outcome.task.identity,
    **outcome._asdict(),
    "l2": float(np.sqrt(np.sum(perturbation**2))),
    "linf": float(np.abs(perturbation).max()),
  }
  return {name: measured[name] for name in records.FIELDS}


def keep_picture(directory: str, outcome) -> None:
  """Keeps an outcome's images for the picture grid."""
  name = plot_pictures.picture_name(outcome.task.identity)
  records.add_pictures(
    directory,
    jax.process_index(),
    {f"{name}/image": outcome.task.image, f"{name}/adversarial": outcome.adversarial},
  )
