"""One step of training: noise on the logits inside the loss, whatever else is asked."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from orjax import datasets
from orjax.models import Classifier


class TrainState(NamedTuple):
  """Everything a resumed run needs: step int32, the model's variables, the optimizer's."""

  step: jax.Array
  variables: Any
  opt_state: Any


class Trainer(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `init(key) -> TrainState`.
    step: `step(key, state, images uint8 [B, H, W, C], labels [B]) -> (state, metrics)`, with
      the same key at every step: the step's number is folded in. Labels may be soft: float
      [B, K]. Metrics are the `loss` and the `accuracy` of the noiseless logits on what was
      trained on, both [].
  """

  init: Callable[[jax.Array], TrainState]
  step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


# adversary(key, classifier, variables, images, labels) -> images
Adversary = Callable[..., jax.Array]


def cross_entropy(logits, labels):
  """Of each row [B], against its label [B], or against probabilities [B, K] of all classes."""
  if labels.ndim == 2:
    return optax.softmax_cross_entropy(logits, labels)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def noisy(key, logits, stddev):
  if not stddev:
    return logits
  return logits + stddev * jax.random.normal(key, logits.shape, logits.dtype)


def trainer(
  classifier: Classifier,
  optimizer: optax.GradientTransformation,
  *,
  logit_stddev: float = 0.0,
  temperature: float = 1.0,
  adversary: Adversary | None = None,
  augment: Callable | None = None,
) -> Trainer:
  """Makes the training step for mean softmax cross-entropy.

  Training with output randomization (the paper's section 6) is Gaussian noise on the logits
  inside the loss, drawn anew at each step; nothing is added at test time.

  Args:
    classifier: what to train.
    optimizer: an optax optimizer over the `params` collection.
    logit_stddev: of the noise on the logits.
    temperature: by which the logits are divided inside the loss, as in distillation.
    adversary: what makes the batch worse before it is learnt, such as `pgd_adversary`.
    augment: `augment(key, images) -> images`, before the adversary.

  Returns:
    A `Trainer`, neither compiled nor tied to devices: under `jax.jit` with a sharded batch
    the statistics of batch normalisation are those of the whole batch.

  Raises:
    ValueError: `logit_stddev` is negative or not finite, or `temperature` is not above 0.
  """
  if not 0 <= logit_stddev < float("inf"):
    raise ValueError(f"logit_stddev must be 0 or more and finite, not {logit_stddev}")
  if not 0 < temperature < float("inf"):
    raise ValueError(f"temperature must be above 0 and finite, not {temperature}")

  def init(key):
    variables = classifier.init(key)
    return TrainState(jnp.zeros((), jnp.int32), variables, optimizer.init(variables["params"]))

  def step(key, state, images, labels):
    augment_key, adversary_key, train_key, noise_key = jax.random.split(
      jax.random.fold_in(key, state.step), 4
    )
    images = jnp.asarray(datasets.to_float(images))
    if augment is not None:
      images = augment(augment_key, images)
    if adversary is not None:
      images = jax.lax.stop_gradient(
        adversary(adversary_key, classifier, state.variables, images, labels)
      )

    def loss_fn(params):
      logits, variables = classifier.apply_train(
        {**state.variables, "params": params}, train_key, images
      )
      scaled = noisy(noise_key, logits, logit_stddev)
      scaled = scaled if temperature == 1 else scaled / temperature
      classes = labels.argmax(-1) if labels.ndim == 2 else labels
      return cross_entropy(scaled, labels).mean(), (
        variables,
        (logits.argmax(-1) == classes).mean(),
      )

    (loss, (variables, accuracy)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      state.variables["params"]
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.variables["params"])
    params = optax.apply_updates(state.variables["params"], updates)
    return (
      TrainState(state.step + 1, {**variables, "params": params}, opt_state),
      {"loss": loss, "accuracy": accuracy},
    )

  return Trainer(init, step)
