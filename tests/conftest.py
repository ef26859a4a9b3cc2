"""Hostile settings for every test: strict types, no silent broadcasting, eight devices."""

import ctypes
import fcntl
import gc
import os
import pathlib
import sys
import tempfile

import compiler

os.environ["XLA_FLAGS"] = f"{compiler.flags(8)} {os.environ.get('XLA_FLAGS', '')}"

# The same programs are compiled again and again: by resumed trainings, by every plan, by the
# other worker and by the processes that tests start; all of them read these variables.
if "PYTEST_XDIST_WORKER" not in os.environ:
  _CACHE = tempfile.TemporaryDirectory(prefix="orjax-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  # Else each of the hundred processes that tests start would compile JAX and all it imports.
  if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(_CACHE.name, "bytecode")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

try:  # glibc: fresh mappings for every activation halve the speed, and so do merged small blocks
  # No mappings, no trimming, no fast bins; one arena would make compilers wait.
  for _option, _value in ((-4, 0), (-1, 2**31 - 1), (1, 0)):
    ctypes.CDLL(None).mallopt(_option, _value)
except AttributeError:
  pass

# Tests kill processes, not machines: nothing that is written waits for a disk.
os.fsync = lambda file: None

_EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path[:0] = [str(_EXPERIMENTS), str(_EXPERIMENTS / "examples")]

from orjax import checkpoints
from orjax import datasets
from orjax import models
from orjax import training

# Traces are many small objects, few of them in cycles: looking for those took a tenth of the time.
gc.freeze()
gc.set_threshold(200_000, 20, 100)

IMAGE_SHAPE = (4, 4, 1)
NUM_CLASSES = 3

# Files of half a minute or more, which no core should begin when the others have nothing left.
_LONG = (
  "test_mains",
  "test_training_mains",
  "test_protocols",
  "test_hostile_processes",
  "test_open_house",
  "test_paid_work",
  "test_runner",
  "test_defenses_protocol",
  "test_panel_decision",
  "test_panel_square",
  "test_panel_estimates",
  "test_informed",
  "test_rival_mains",
  "test_networks",
  "test_comparison",
)


# Where every attack, defense, estimator, training and main part of the engine is traced once:
# a key that is used twice is found there. Everywhere would cost a tenth of all tests' time.
_KEYS_CHECKED = {
  "test_closed",
  "test_data_and_training",
  "test_defenses_protocol",
  "test_estimators",
  "test_oracles",
  "test_probing",
  "test_protocols",
  "test_threats",
  "test_trials",
  "test_wrappers",
}


@pytest.fixture(autouse=True)
def keys_are_used_once(request):
  """Refuses a key that is used twice, in the tests of contracts."""
  is_contract = request.node.originalname == "test_contract"
  is_checked = is_contract or request.node.path.stem in _KEYS_CHECKED
  jax.config.update("jax_debug_key_reuse", is_checked)


def pytest_collection_modifyitems(items):
  """Long files first; within a file the order stays."""
  rank = {name: number for number, name in enumerate(_LONG)}
  items.sort(key=lambda item: rank.get(item.path.stem, len(_LONG)))


def linear_variables(seed=0):
  """Weights and biases of a linear softmax classifier of 4x4x1 images."""
  rng = np.random.default_rng(seed)
  weights = rng.normal(size=(16, NUM_CLASSES)).astype(np.float32)
  return {"weights": jnp.asarray(weights), "bias": jnp.asarray([0.1, 0.0, -0.1], jnp.float32)}


def linear_logits(variables, images):
  # Halves are added to each other, one by one: the order in which a dot or a reduction adds,
  # and so its rounding, depends on the number of rows.
  terms = images.reshape(len(images), -1)[:, :, None] * variables["weights"][None]
  while terms.shape[1] > 1:
    half = terms.shape[1] // 2
    terms = terms[:, :half] + terms[:, half:]
  return terms[:, 0] + variables["bias"][None]


def linear_predict(variables, images):
  return jax.nn.softmax(linear_logits(variables, images))


def closest_distance(image, label):
  """Smallest l2 distance to another class of the linear model: a hyperplane's."""
  variables = linear_variables()
  logits = np.asarray(linear_logits(variables, image[None])[0], np.float64)
  weights = np.asarray(variables["weights"], np.float64)
  return min(
    (logits[label] - logits[k]) / np.linalg.norm(weights[:, label] - weights[:, k])
    for k in range(3)
    if k != label
  )


@pytest.fixture(scope="session")
def linear_images():
  """Images [8, 4, 4, 1] away from the box's faces, and their predicted classes."""
  rng = np.random.default_rng(1)
  images = rng.uniform(0.3, 0.7, size=(8, *IMAGE_SHAPE)).astype(np.float32)
  labels = np.asarray(linear_logits(linear_variables(), jnp.asarray(images)).argmax(-1))
  return images, labels.astype(np.int32)


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory):
  """The digits network after 30 epochs: (classifier, variables, folder of the model)."""
  classifier = models.build("convnet_digits")
  train = datasets.load("digits", "train")
  root = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    root = root.parent  # the workers' own: the first trains, the others find it trained
  folder = root / "models" / "convnet_digits"
  folder.parent.mkdir(exist_ok=True)
  with open(root / "models.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    saved = training.fit(
      training.trainer(classifier, training.zoo_optimizer()),
      train,
      seed=0,
      num_steps=330,
      batch_size=128,
      directory=str(folder),
      devices=jax.devices()[:1],
      apply=lambda variables, key, images: classifier.apply(variables, images),
      meta={"model": "convnet_digits", "dataset": "digits", "batch_size": 128, "seed": 0},
      test=datasets.load("digits", "test"),
    )
  assert saved.meta["test_accuracy"] > 0.9
  assert checkpoints.load(str(folder)) is not None
  return classifier, jax.tree.map(jnp.asarray, saved.state.variables), folder


@pytest.fixture(scope="session")
def shared(digits_model, tmp_path_factory):
  """Flags of the small digits model, and of one cache for processes that may be killed."""
  return (
    f"--model_dir={digits_model[2].parent}",
    f"--compilation_cache={tmp_path_factory.mktemp('cache')}",
  )
