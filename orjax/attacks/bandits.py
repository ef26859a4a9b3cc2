"""Bandits: a gradient prior, learned online from two queries a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax import objectives
from orjax.attacks import wrappers
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import judged
from orjax.types import Objective

_MAX_ODDS = 13.8  # log odds of 1 - 1e-6


class BanditsState(NamedTuple):
  """Where it is [H, W, C], the prior [P, P, C], the image judged last."""

  image: jax.Array
  prior: jax.Array
  adversarial: jax.Array


def exponentiated_gradient(prior: jax.Array, gradient: jax.Array, rate: float) -> jax.Array:
  """Moves a prior in (-1, 1) by multiplicative weights on (prior + 1) / 2.

  Written with log odds, which do not overflow, and kept 2e-6 away from -1 and 1: in the
  official code an entry that rounds to either never moves again, and noise drives it there.
  """
  odds = jnp.log1p(prior) - jnp.log1p(-prior) + 2 * rate * gradient
  return jnp.tanh(jnp.clip(odds, -_MAX_ODDS, _MAX_ODDS) / 2)


@factory
def bandits(
  objective: Objective,
  *,
  radius: float = 0.05,
  norm: str = "linf",
  step_size: float = 0.01,
  prior_learning_rate: float = 100.0,
  exploration: float = 1.0,
  spacing: float = 0.1,
  prior_size: int | None = 50,
  confirmations: int = 0,
) -> Attack:
  """The bandit attack with time and data priors (Bandits-TD), until the first success.

  Every step moves the image along the prior, and the prior by one antithetic comparison
  of two probes around it. The defaults are the official ones for ImageNet and l_inf; for
  l2: radius 5, step_size 0.5, prior_learning_rate 0.1, exploration 0.01, spacing 0.01.

  As in the official code, and unlike the paper's pseudo-code, the comparison is not
  halved and `exploration` enters twice, which the learning rate absorbs. It does not
  count the query that tests for success; here it is charged, a third of all.

  Args:
    objective: `objectives.cross_entropy` in the reference, which is untargeted.
    radius: of the ball around the image, in units of [0, 1].
    norm: `linf` (sign steps, exponentiated gradient) or `l2` (both additive).
    step_size: of the image, in that norm.
    prior_learning_rate: of the prior.
    exploration: length of the random part of a probe's direction, in expectation.
    spacing: l2 length of a probe.
    prior_size: tiles along each side of the prior; None for one a pixel (Bandits-T).
    confirmations: fresh answers a step, most of which must agree with a success.

  Returns:
    An `Attack` that asks 3 + confirmations rows a step.

  Raises:
    ValueError: the norm is unknown, or the prior is finer than the image.

  References:
    Ilyas et al. (2018b), algorithms 1 to 3 and `src/main.py` of their code.
  """
  geometry.check_norm(norm)

  def init(key, example):
    del key
    image = example.image
    height, width, channels = image.shape
    shape = (height, width) if prior_size is None else (prior_size, prior_size)
    if prior_size is not None and prior_size > min(height, width):
      raise ValueError(
        f"prior_size={prior_size} is more than the {min(height, width)} pixels "
        f"along a side of the image: ask for at most that many tiles"
      )
    return BanditsState(image, jnp.zeros((*shape, channels), image.dtype), image)

  def step(key, oracle, example, state):
    direction_key, query_key = jax.random.split(key)
    image, prior = state.image, state.prior
    up = lambda tiles: geometry.enlarge(tiles, *image.shape[:2])
    noise = (
      exploration
      * jax.random.normal(direction_key, prior.shape, image.dtype)
      / jnp.sqrt(float(prior.size))
    )
    probes = [
      image + spacing * geometry.steepest(up(direction), "l2")
      for direction in (prior + noise, prior - noise)
    ]
    (loss, up_loss, down_loss), rows = objectives.asked(objective, oracle, example.label)(
      query_key, jnp.stack([image, *probes])
    )
    # The prior points to where the loss falls.
    gradient = (down_loss - up_loss) / (spacing * exploration) * noise
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    prior = (
      exponentiated_gradient(prior, gradient, prior_learning_rate)
      if norm == "linf"
      else prior + prior_learning_rate * gradient
    )
    moved = geometry.project(
      image + step_size * geometry.steepest(up(prior), norm), example.image, radius, norm
    )
    achieved = objective.achieved(rows[0], example.label)
    info = judged(oracle, 3, loss=loss, achieved=achieved, gradient=gradient)
    return BanditsState(moved, prior, image), info

  attack = Attack(init, step)
  if confirmations:
    attack = wrappers.confirmed(attack, objective, num_queries=confirmations)
  return wrappers.until_success(attack)
