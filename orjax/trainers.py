"""What one training step does: noise on the logits, adversarial examples, augmentation."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from orjax import geometry
from orjax.models import Classifier

STATISTICS = ("batch", "running")


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
      the same key at every step: the step's number is folded in. Metrics are the `loss` and
      the `accuracy` of the noiseless logits on what was trained on, both [].
  """

  init: Callable[[jax.Array], TrainState]
  step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


# adversary(key, classifier, variables, images, labels) -> images
Adversary = Callable[..., jax.Array]


def zoo_optimizer(max_gradient_norm: float | None = None) -> optax.GradientTransformation:
  """SGD of the ZOO networks: 0.01 / (1 + 1e-6 step), Nesterov momentum 0.9.

  Args:
    max_gradient_norm: longer gradients are shortened to it; None in the reference. Noise of
      stddev 100 on the logits otherwise kills the ReLUs of these networks, which have no
      normalisation, within a few hundred steps.
  """
  sgd = optax.sgd(lambda step: 0.01 / (1 + 1e-6 * jnp.float32(step)), momentum=0.9, nesterov=True)
  if max_gradient_norm is None:
    return sgd
  return optax.chain(optax.clip_by_global_norm(max_gradient_norm), sgd)


def madry_optimizer(num_steps: int = 80_000) -> optax.GradientTransformation:
  """SGD of Madry et al.'s CIFAR10 networks: momentum 0.9, decay 2e-4 of all kernels.

  The learning rate is 0.1 for the first half of the steps, 0.01 until three quarters, then
  0.001: 40,000 and 60,000 of the published 80,000.

  Raises:
    ValueError: `num_steps` is below 1.
  """
  if num_steps < 1:
    raise ValueError(f"num_steps must be at least 1, not {num_steps}")
  schedule = lambda step: jnp.where(
    step < num_steps // 2, 0.1, jnp.where(step < num_steps * 3 // 4, 0.01, 0.001)
  )
  are_kernels = lambda params: jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == "kernel", params
  )
  return optax.chain(
    optax.add_decayed_weights(2e-4, are_kernels), optax.sgd(schedule, momentum=0.9)
  )


def crop_and_flip(key: jax.Array, images: jax.Array, padding: int = 2) -> jax.Array:
  """A random crop of zero-padded images and a random flip, each row its own.

  Args:
    key: consumed.
    images: [B, H, W, C].
    padding: zeros on each side; 2 in Madry et al.'s code.
  """
  corner_key, flip_key = jax.random.split(key)
  num_rows, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  corners = jax.random.randint(corner_key, (num_rows, 2), 0, 2 * padding + 1)
  crop = lambda image, corner: jax.lax.dynamic_slice(
    image, (corner[0], corner[1], 0), (height, width, channels)
  )
  cropped = jax.vmap(crop)(padded, corners)
  flip = jax.random.bernoulli(flip_key, shape=(num_rows, 1, 1, 1))
  return jnp.where(flip, cropped[:, :, ::-1], cropped)


def _cross_entropy(logits, labels):
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def pgd_adversary(
  *,
  radius: float = 8 / 255,
  step_size: float = 2 / 255,
  num_steps: int = 10,
  statistics: str = "batch",
  stddev: float = 0.0,
) -> Adversary:
  """Replaces a batch by the PGD attack on it, as in adversarial training.

  A random start in the l_inf ball, then steps of the sign of the gradient of the summed
  cross-entropy. The reference attacks the network in training mode; it also updates the
  running statistics at every attack step, which is left out here.

  Args:
    radius: of the ball, in units of [0, 1].
    step_size: likewise.
    num_steps: of the attack; the released configuration says 10.
    statistics: `batch` as in the reference (training mode: batch statistics, dropout) or
      `running` (inference).
    stddev: of noise on the logits that the attack differentiates; 0 attacks without.

  Returns:
    `adversary(key, classifier, variables, images, labels) -> images`.

  Raises:
    ValueError: a number that no attack can use, or unknown statistics.

  References:
    Madry et al. (2017); `train.py` and `pgd_attack.py` of the CIFAR10 challenge.
  """
  if statistics not in STATISTICS:
    raise ValueError(f"statistics must be one of {', '.join(STATISTICS)}, not {statistics!r}")
  if num_steps < 1:
    raise ValueError(f"num_steps must be at least 1, not {num_steps}")
  if not (radius > 0 and step_size > 0):
    raise ValueError(f"radius and step_size must be above 0, not {radius} and {step_size}")
  project = jax.vmap(lambda image, center: geometry.project(image, center, radius, "linf"))

  def adversary(key, classifier, variables, images, labels):
    start_key, step_key = jax.random.split(key)

    def loss(x, key):
      train_key, noise_key = jax.random.split(key)
      logits = (
        classifier.apply(variables, x)
        if statistics == "running"
        else classifier.apply_train(variables, train_key, x)[0]
      )
      return _cross_entropy(_noisy(noise_key, logits, stddev), labels).sum()

    def ascend(number, x):
      slope = jax.grad(loss)(x, jax.random.fold_in(step_key, number))
      return project(x + step_size * jnp.sign(slope), images)

    start = images + jax.random.uniform(start_key, images.shape, images.dtype, -radius, radius)
    return jax.lax.fori_loop(0, num_steps, ascend, jnp.clip(start, 0, 1))

  return adversary


def _noisy(key, logits, stddev):
  if not stddev:
    return logits
  return logits + stddev * jax.random.normal(key, logits.shape, logits.dtype)


def trainer(
  classifier: Classifier,
  optimizer: optax.GradientTransformation,
  *,
  logit_stddev: float = 0.0,
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
    adversary: what makes the batch worse before it is learnt, such as `pgd_adversary`.
    augment: `augment(key, images) -> images`, before the adversary.

  Returns:
    A `Trainer`, neither compiled nor tied to devices: under `jax.jit` with a sharded batch
    the statistics of batch normalisation are those of the whole batch.

  Raises:
    ValueError: `logit_stddev` is negative or not finite.
  """
  if not 0 <= logit_stddev < float("inf"):
    raise ValueError(f"logit_stddev must be 0 or more and finite, not {logit_stddev}")

  def init(key):
    variables = classifier.init(key)
    return TrainState(jnp.zeros((), jnp.int32), variables, optimizer.init(variables["params"]))

  def step(key, state, images, labels):
    augment_key, adversary_key, train_key, noise_key = jax.random.split(
      jax.random.fold_in(key, state.step), 4
    )
    images = images.astype(jnp.float32) / 255
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
      losses = _cross_entropy(_noisy(noise_key, logits, logit_stddev), labels)
      return losses.mean(), (variables, (logits.argmax(-1) == labels).mean())

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
