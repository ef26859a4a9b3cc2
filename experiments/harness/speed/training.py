"""Images per second of training and of white-box attacks, for the benchmark.

Each beside the bare forward-plus-backward passes it cannot do without, in the same process:
one gradient of the parameters a training image, ten of the image besides in adversarial
training, one of the image a step of PGD or APGD.
"""

from collections.abc import Callable
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from orjax import attacks
from orjax import datasets
from orjax import defenses
from orjax import engine
from orjax import files
from orjax import models
from orjax import objectives
from orjax import oracles
from orjax import training
from orjax.threats import threat_model
from orjax.types import Attack
from orjax.types import Objective

_BATCH_SIZE = 128
_NUM_TRIALS = 256  # of a white-box attack
_ADVERSARY_STEPS = 10
_WINDOW = 10  # steps between two lines of metrics


def rate(function: Callable, arguments: tuple, num_rows: int, seconds: float) -> float:
  """Rows per second of a jitted function on one batch."""
  jax.block_until_ready(function(*arguments))
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    jax.block_until_ready(function(*arguments))
    count += 1
  return count * num_rows / (time.perf_counter() - start)


def training_rate(
  classifier: models.Classifier, adversary, seconds_per_step: float, seconds: float
) -> float:
  """Images per second of `training.fit`, from its own metrics without the first line."""
  rng = np.random.default_rng(0)
  data = datasets.Dataset(
    rng.integers(0, 256, (10 * _BATCH_SIZE, *classifier.image_shape), np.uint8),
    rng.integers(0, classifier.num_classes, 10 * _BATCH_SIZE).astype(np.int32),
  )
  num_steps = _WINDOW * (2 + int(seconds / seconds_per_step / _WINDOW))
  few = datasets.Dataset(*(x[:_BATCH_SIZE] for x in data))
  with tempfile.TemporaryDirectory() as folder:
    training.fit(
      training.trainer(classifier, training.zoo_optimizer(10.0), adversary=adversary),
      data,
      seed=0,
      num_steps=num_steps,
      batch_size=_BATCH_SIZE,
      directory=folder,
      meta={"model": "benchmark"},
      test=few,
      devices=jax.local_devices()[:1],
      apply=lambda variables, key, x: classifier.apply(variables, x),
    )
    lines = files.read_lines(pathlib.Path(folder, training.METRICS), advice="run it again")
  found = [line.content["images_per_second"] for line in lines[1:]]
  return len(found) / sum(1 / x for x in found)


def measure(
  classifier: models.Classifier, variables, rounds: int, seconds: float
) -> dict[str, list[tuple[float, float]]]:
  """For each of four loops, pairs of (bare, through orjax) images per second, alternating."""
  rng = np.random.default_rng(0)
  attacked = rng.random((_NUM_TRIALS, *classifier.image_shape), np.float32)
  images = jnp.asarray(attacked[:_BATCH_SIZE])
  losses = lambda logits: optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.zeros(len(logits), jnp.int32)
  )
  key = jax.random.key(0)

  def in_training(params, x):
    logits, statistics = classifier.apply_train({**variables, "params": params}, key, x)
    return losses(logits).mean(), statistics

  of_parameters = jax.jit(jax.value_and_grad(in_training, has_aux=True))
  of_batch = jax.jit(jax.grad(lambda x, params: in_training(params, x)[0]))
  of_images = jax.jit(jax.grad(lambda x, v: losses(classifier.apply(v, x)).sum()))
  params = variables["params"]
  adversary = training.pgd_adversary(num_steps=_ADVERSARY_STEPS)
  objective = objectives.logit_cross_entropy()
  never = objective._replace(achieved=lambda row, label: jnp.zeros((), bool))
  whitebox = {"white-box PGD": attacks.whitebox_pgd, "APGD": attacks.apgd}
  found = {name: [] for name in ("training", "training, PGD-10", *whitebox)}
  for _ in range(rounds):
    gradient = rate(of_parameters, (params, images), _BATCH_SIZE, seconds)
    found["training"].append(
      (gradient, training_rate(classifier, None, _BATCH_SIZE / gradient, seconds))
    )
    attack = rate(of_batch, (images, params), _BATCH_SIZE, seconds)
    both = 1 / (1 / gradient + _ADVERSARY_STEPS / attack)
    found["training, PGD-10"].append(
      (both, training_rate(classifier, adversary, _BATCH_SIZE / both, seconds))
    )
    with oracles.full_precision():
      bare = rate(of_images, (jnp.asarray(attacked), variables), _NUM_TRIALS, seconds)
    num_steps = max(8, int(seconds * bare / _NUM_TRIALS))
    for name, make in whitebox.items():
      endless = make(never, num_steps=num_steps)
      found[name].append((bare, whitebox_rate(endless, never, classifier, variables, attacked)))
  return found


def whitebox_rate(
  attack: Attack, never: Objective, classifier: models.Classifier, variables, images: np.ndarray
) -> float:
  """Steps per second of one device full of trials that never succeed."""
  answers = lambda variables: oracles.from_predict(classifier.apply, variables)
  threats = threat_model(answers, defenses.no_defense())
  tasks = [engine.Task({}, image, 0, 0, i, {}) for i, image in enumerate(images)]
  statistics = engine.Statistics()
  plan = engine.Plan(len(images), chunk=4, devices=tuple(jax.local_devices()[:1]))
  for _ in engine.run(
    attack,
    never,
    threats,
    variables,
    tasks,
    seed=0,
    max_queries=10**9,
    num_draws=1,
    plan=plan,
    statistics=statistics,
  ):
    pass
  return statistics.queries_per_second
