"""Adversarial training: a batch is replaced by an attack on it."""

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.training.step import Adversary
from orjax.training.step import cross_entropy
from orjax.training.step import noisy

STATISTICS = ("batch", "running")


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
      return cross_entropy(noisy(noise_key, logits, stddev), labels).sum()

    def ascend(number, x):
      slope = jax.grad(loss)(x, jax.random.fold_in(step_key, number))
      return project(x + step_size * jnp.sign(slope), images)

    start = images + jax.random.uniform(start_key, images.shape, images.dtype, -radius, radius)
    return jax.lax.fori_loop(0, num_steps, ascend, jnp.clip(start, 0, 1))

  return adversary
