"""The optimizers of the networks' papers."""

import jax
import jax.numpy as jnp
import optax


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
  return optax.chain(
    optax.add_decayed_weights(2e-4, _are_kernels), optax.sgd(schedule, momentum=0.9)
  )


def one_cycle_optimizer(num_steps: int, peak: float = 0.4) -> optax.GradientTransformation:
  """SGD whose learning rate rises once and falls once, for few steps of large batches.

  After Smith and Topin, "Super-convergence" (2018): from `peak` / 25 straight up to `peak` in the
  first 0.3 of the steps, then down to 0 along a cosine; Nesterov momentum 0.9, decay 5e-4 of all
  kernels.

  Args:
    num_steps: of the whole cycle.
    peak: highest learning rate; the default is four times that of `madry_optimizer`, for
      batches of 512 instead of 128.

  Raises:
    ValueError: `num_steps` is below 4, too few to rise and to fall.
  """
  if num_steps < 4:
    raise ValueError(f"num_steps must be at least 4 to rise and to fall, not {num_steps}")
  rising = int(0.3 * num_steps)
  schedule = optax.warmup_cosine_decay_schedule(peak / 25, peak, rising, num_steps)
  return optax.chain(
    optax.add_decayed_weights(5e-4, _are_kernels),
    optax.sgd(lambda step: schedule(jnp.float32(step)), momentum=0.9, nesterov=True),
  )


def _are_kernels(params):
  """Which parameters decay: not those of the normalisation, nor biases."""
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
