"""Adversarial images of substitutes: gradients with momentum, through random resizing."""

from collections.abc import Callable
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.factories import factory
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective

# start(key, example) -> image [H, W, C] in [0, 1]
Transferred = Callable[[Key, Example], jax.Array]


def resized(key: Key, image: jax.Array, factor: float) -> jax.Array:
  """A shrunken copy at a random place of a black image of the same size.

  As published the image grows to a random size of at most `factor` times its own, is padded
  with zeros to that largest size at a random place, and scaled back; here in one.

  Args:
    key: consumed.
    image: [H, W, C].
    factor: above 1, of the largest size.

  Returns:
    [H, W, C], bilinear, differentiable in the image.
  """
  sizes = jnp.asarray(image.shape[:2], jnp.float32)
  size_key, place_key = jax.random.split(key)
  scale = jax.random.uniform(size_key, minval=1 / factor, maxval=1.0)
  places = jax.random.uniform(place_key, (2,)) * sizes * (1 - scale)
  scales = jnp.broadcast_to(scale, (2,))
  with jax.numpy_rank_promotion("allow"):
    return jax.image.scale_and_translate(
      image, image.shape, (0, 1), scales, places, "linear", antialias=False
    )


@factory
def transferred(
  objective: Objective,
  substitutes: Sequence[Callable[[jax.Array], jax.Array]],
  *,
  radius: float = 0.05,
  num_steps: int = 10,
  decay: float = 1.0,
  diversity: float = 0.5,
  factor: float = 1.1,
) -> Transferred:
  """MI-DI-FGSM: where an attack on other networks ends, from which one on this may begin.

  Steps of the radius over num_steps along the signs of an accumulated gradient, each divided
  by its mean absolute value; of the mean loss over the substitutes, each of which sees the
  image resized with probability `diversity`. It asks the attacked network nothing.

  A noise-free copy is fooled by other directions than one that mimics a server's answers:
  pass both. The loss should have no bound at which its gradient ends, as `objectives.margin`
  of infinite confidence.

  Args:
    objective: on the logits of a substitute.
    substitutes: functions from images [B, H, W, C] to logits [B, K].
    radius: of the l_inf ball, in units of [0, 1].
    num_steps: T; 10 in the papers, up to 100.
    decay: mu, of the momentum; 1 keeps all of it.
    diversity: share of resized images.
    factor: of the largest size over the image's own; 1.1 as published.

  Returns:
    `start(key, example) -> image`, for `attacks.square(start=...)` or to be judged as it is.

  Raises:
    ValueError: there is no substitute, or a number that no attack can use.

  References:
    Dong et al. (2018), algorithm 1; Xie et al. (2019), section 3.3.
  """
  networks = tuple(substitutes)
  if not networks:
    raise ValueError("substitutes are empty: pass one function from images to logits at least")
  if not 0 <= diversity <= 1:
    raise ValueError(f"diversity={diversity} is a share: pass a number from 0 to 1")
  if decay < 0:
    raise ValueError(f"decay={decay} must be at least 0: pass 1 for the published momentum")
  if factor < 1:
    raise ValueError(f"factor={factor} must be at least 1: images are never enlarged")

  def seen(key, image):
    chance_key, resize_key = jax.random.split(key)
    chosen = jax.random.bernoulli(chance_key, diversity)
    return jnp.where(chosen, resized(resize_key, image, factor), image)

  def loss(image, key, label):
    keys = jax.random.split(key, len(networks))
    losses = [
      objective.loss(network(seen(own_key, image)[None])[0], label)
      for own_key, network in zip(keys, networks)
    ]
    return sum(losses) / len(networks)

  def start(key, example):
    def body(carry, key):
      image, velocity = carry
      gradient = jax.grad(loss)(image, key, example.label)
      gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
      gradient /= jnp.maximum(jnp.abs(gradient).mean(), 1e-30)
      velocity = decay * velocity + gradient
      moved = image - radius / num_steps * jnp.sign(velocity)
      return (geometry.project(moved, example.image, radius, "linf"), velocity), None

    begin = (example.image, jnp.zeros_like(example.image))
    (image, _), _ = jax.lax.scan(body, begin, jax.random.split(key, num_steps))
    return image

  return start
