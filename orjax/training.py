"""Training and evaluating classifiers: a host loop around one jitted step.

A host loop, not `lax.scan`: XLA's CPU backend runs convolution gradients inside lax
loops many times slower than the same step called from Python.
"""

import time
from typing import Any, Callable, Iterator, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from orjax import checkpoints
from orjax import datasets
from orjax import progress
from orjax import verification
from orjax.models import Classifier


_SECONDS_BETWEEN_SAVES = 10


class TrainState(NamedTuple):
  """Everything a resumed run needs: step int32, the model's variables, the optimizer's."""

  step: jax.Array
  variables: Any
  opt_state: Any


class Trainer(NamedTuple):
  """`init(key) -> TrainState`; `step(key, state, images uint8, labels) -> (state, loss)`."""

  init: Callable[[jax.Array], TrainState]
  step: Callable[..., tuple[TrainState, jax.Array]]


def zoo_optimizer() -> optax.GradientTransformation:
  """SGD of the ZOO networks: 0.01 / (1 + 1e-6 step), Nesterov momentum 0.9."""
  return optax.sgd(lambda step: 0.01 / (1 + 1e-6 * jnp.float32(step)), momentum=0.9,
                   nesterov=True)


def trainer(classifier: Classifier, optimizer: optax.GradientTransformation) -> Trainer:
  """Makes the training step for mean softmax cross-entropy.

  Args:
    classifier: what to train.
    optimizer: an optax optimizer over the `params` collection.

  Returns:
    A `Trainer`; its `step` consumes `key` (the same key at every step: the step's
    number is folded in).
  """

  def init(key):
    variables = classifier.init(key)
    return TrainState(jnp.zeros((), jnp.int32), variables,
                      optimizer.init(variables["params"]))

  @jax.jit
  def step(key, state, images, labels):
    dropout_key = jax.random.fold_in(key, state.step)

    def loss_fn(params):
      logits, variables = classifier.apply_train(
          {**state.variables, "params": params}, dropout_key,
          images.astype(jnp.float32) / 255)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean(), variables

    (loss, variables), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.variables["params"])
    updates, opt_state = optimizer.update(
        grads, state.opt_state, state.variables["params"])
    params = optax.apply_updates(state.variables["params"], updates)
    return TrainState(state.step + 1, {**variables, "params": params}, opt_state), loss

  return Trainer(init, step)


def batches(seed: int, num_examples: int, batch_size: int, start: int) -> Iterator[np.ndarray]:
  """Endless index batches [batch_size] from step `start` on; a function of its arguments.

  Each epoch is a fresh permutation; its remainder is dropped.
  """
  per_epoch = num_examples // batch_size
  for epoch in range(start // per_epoch, 2**31):
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    first = start - epoch * per_epoch if epoch == start // per_epoch else 0
    for i in range(first, per_epoch):
      yield order[i * batch_size:(i + 1) * batch_size]


def accuracy(apply: Callable, variables: Any, dataset: datasets.Dataset) -> float:
  """Share of the data set that the noiseless model classifies correctly."""
  classes = verification.predict_classes(
      lambda variables, key, images: apply(variables, images), variables,
      jax.random.key(0), dataset.images)
  return float(np.mean(classes == dataset.labels))


def fit(make_trainer: Trainer, train: datasets.Dataset, *, seed: int, num_steps: int,
        batch_size: int, directory: str, meta: dict, test: datasets.Dataset,
        apply: Callable) -> checkpoints.Checkpoint:
  """Trains to `num_steps`, saving at the ends of epochs; resumes where it was killed.

  Args:
    make_trainer: from `trainer`.
    train: training split.
    seed: of the initial weights, the order of the batches and the dropout.
    num_steps: optimizer steps in all.
    batch_size: images a step.
    directory: where checkpoints go; a run finished there is returned as it is, or
      continued if it had fewer steps.
    meta: JSON facts that identify the model; stored beside its accuracy.
    test: split on which the final accuracy is measured.
    apply: the classifier's inference function.

  Returns:
    The finished checkpoint: `state` a `TrainState`, `meta` with `test_accuracy`.

  Raises:
    ValueError: the directory holds a checkpoint of something else.
    FloatingPointError: the loss is not finite.
  """
  init_key, dropout_key = jax.random.split(jax.random.key(seed))
  state = make_trainer.init(init_key)
  saved = checkpoints.load(directory, state)
  if saved is not None:
    checkpoints.check_meta(directory, saved.meta, meta)
    if saved.meta["finished"] and saved.meta["num_steps"] >= num_steps:
      return saved
    state = jax.tree.map(jnp.asarray, saved.state)
  start = int(state.step)
  per_epoch = len(train.labels) // batch_size
  order = batches(seed, len(train.labels), batch_size, start)
  label = f"training {meta['model']}"
  last_save = time.monotonic()
  with progress.Progress(num_steps, initial=start, unit="step", label=label) as bar:
    for step, index in zip(range(start, num_steps), order):
      state, loss = make_trainer.step(
          dropout_key, state, train.images[index], train.labels[index])
      bar.update(1, f"loss {float(loss):.4f}")
      if not np.isfinite(float(loss)):
        raise FloatingPointError(f"the loss is {float(loss)} at step {step}: lower the "
                                 f"learning rate or check the data")
      if ((step + 1) % per_epoch == 0 and step + 1 < num_steps
          and time.monotonic() - last_save > _SECONDS_BETWEEN_SAVES):
        checkpoints.save(directory, state, {
            **meta, "num_steps": step + 1, "finished": False})
        last_save = time.monotonic()
  meta = {**meta, "num_steps": int(state.step), "finished": True,
          "test_accuracy": accuracy(apply, state.variables, test)}
  checkpoints.save(directory, state, meta)
  return checkpoints.Checkpoint(state, meta)
