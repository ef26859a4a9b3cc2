"""What every attack of the panel is held to, on linear models whose optimum is known."""

import jax
import jax.numpy as jnp
import numpy as np

from conftest import IMAGE_SHAPE
from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import oracles
from orjax.engine import trials
from orjax.types import Example
from orjax.types import Oracle


def clean():
  return oracles.from_predict(linear_predict, linear_variables())


def closest(image, label, norm):
  """Smallest distance to another class: the margin over the dual norm of its gradient."""
  logits = np.asarray(linear_logits(linear_variables(), image[None])[0], np.float64)
  weights = np.asarray(linear_variables()["weights"], np.float64)
  dual = 1 if norm == "linf" else 2
  return min(
    (logits[label] - logits[k]) / np.linalg.norm(weights[:, label] - weights[:, k], dual)
    for k in range(3)
    if k != label
  )


def images_at(distance, norm, num=8):
  """Images whose closest other class is just so far, and their classes.

  Each is moved along the line to that class; far from the faces of the box.
  """
  rng = np.random.default_rng(1)
  images = rng.uniform(0.4, 0.6, size=(num, *IMAGE_SHAPE)).astype(np.float32)
  labels = np.asarray(linear_logits(linear_variables(), images).argmax(-1)).astype(np.int32)
  weights = np.asarray(linear_variables()["weights"], np.float64)
  for i, (image, label) in enumerate(zip(images, labels)):
    gaps = weights[:, [label]] - weights
    logits = np.asarray(linear_logits(linear_variables(), image[None])[0], np.float64)
    others = np.delete(np.arange(3), label)
    norms = np.linalg.norm(gaps[:, others], 1 if norm == "linf" else 2, axis=0)
    rival = others[np.argmin((logits[label] - logits[others]) / norms)]
    towards = gaps[:, rival].reshape(image.shape)
    low, high = -0.1, 0.1
    for _ in range(40):
      middle = (low + high) / 2
      moved = (image + middle * towards).astype(np.float32)
      low, high = (middle, high) if closest(moved, label, norm) < distance else (low, middle)
    images[i] = moved
  assert images.min() > distance and images.max() < 1 - distance
  return images, labels


def distances(adversarial, images, norm):
  order = np.inf if norm == "linf" else 2
  moved = (np.asarray(adversarial) - images).reshape(len(images), -1)
  return np.linalg.norm(moved, order, axis=1)


def fooled(adversarial, labels):
  return np.asarray(linear_logits(linear_variables(), adversarial).argmax(-1)) != labels


def runner(attack, oracle, max_queries):
  """The compiled attack: `call(seed, images, labels) -> Result`."""
  call = jax.jit(
    lambda key, images, labels: orjax.attack_batch(
      key, attack, oracle, images, labels, max_queries=max_queries
    )
  )
  return lambda seed, images, labels: call(jax.random.key(seed), images, labels)


def run(attack, oracle, images, labels, max_queries, seed=0):
  return runner(attack, oracle, max_queries)(seed, images, labels)


def step_by_step(attack, oracle, image, label, budget, seed=0):
  """A trial, step by step, seen by an oracle that counts: the trial and the rows."""
  asked = []

  def query(key, images):
    jax.debug.callback(
      lambda low, high: asked.append((len(images), float(low), float(high))),
      images.min(),
      images.max(),
    )
    return oracle.query(key, images)

  counting = Oracle(query, oracle.queries_per_row)
  example = Example(jnp.asarray(image), jnp.asarray(label, jnp.int32))
  zero, key = jnp.int32(0), jax.random.key(seed)
  trial = trials.start(attack, jax.random.clone(key), example, zero, zero, None)
  step = jax.jit(lambda key, trial: trials.step(attack, counting, key, trial, budget))
  while not trial.finished:
    trial = step(jax.random.clone(key), trial)
    for leaf in jax.tree.leaves(trial.state):
      assert not jnp.issubdtype(leaf.dtype, jnp.floating) or not np.isnan(leaf).any()
  jax.effects_barrier()
  assert min(low for _, low, _ in asked) >= 0 and max(high for *_, high in asked) <= 1
  return trial, sum(rows for rows, *_ in asked) * oracle.queries_per_row


def check_contract(attack, oracle, images, labels, budget, radius=None, norm="linf"):
  """Counts, budget, bits, box and ball of one attack, against one oracle."""
  trial, rows = step_by_step(attack, oracle, images[0], labels[0], budget)
  assert int(trial.num_queries) == rows <= budget
  call = runner(attack, oracle, budget)
  whole = call(0, images, labels)
  jax.tree.map(np.testing.assert_array_equal, whole, call(0, images, labels))
  # In other company; other sizes of a batch are for `test_protocols`.
  moved = [np.concatenate([x[:3], x[3:][::-1]]) for x in (images, labels)]
  others = call(0, *moved)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:3], b[:3]), whole, others)
  assert (np.asarray(whole.num_queries) <= budget).all()
  adversarial = np.asarray(whole.adversarial)
  assert adversarial.dtype == np.float32
  assert np.isfinite(adversarial).all() and adversarial.min() >= 0 and adversarial.max() <= 1
  if radius is not None:
    assert (distances(adversarial, images, norm) <= radius * (1 + 1e-5) + 1e-6).all()
  return whole
