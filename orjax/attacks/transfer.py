"""Adversarial images of substitutes: gradients with momentum, through random resizing."""

from collections.abc import Callable

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

  Xie et al. enlarge the image to a random size, pad it to the largest with zeros at a random
  place, and show the network that; nearest neighbour, and zeros that are gray to theirs. Later
  code (`dim.py` of TransferAttack) scales it back bilinearly, as networks of one size need,
  with black around. So does this, in one.

  Args:
    key: consumed.
    image: [H, W, C].
    factor: of the largest size over the image's own, at least 1.

  Returns:
    [H, W, C], differentiable in the image.
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


def _of_mean_one(gradient):
  """A gradient whose mean absolute value is 1, or 0."""
  return gradient / jnp.maximum(jnp.abs(gradient).mean(), 1e-30)


@factory
def transferred(
  objective: Objective,
  *substitutes: Callable[[jax.Array], jax.Array],
  radius: float = 0.05,
  num_steps: int = 10,
  decay: float = 1.0,
  diversity: float = 0.5,
  factor: float = 1.1,
) -> Transferred:
  """MI-DI-FGSM: where an attack on other networks ends, from which one on this may begin.

  Steps of the radius over num_steps along the signs of an accumulated gradient: each step's is
  divided by its mean absolute value. Every substitute sees the image resized with probability
  `diversity`. It asks the attacked network nothing.

  Of several substitutes the gradients are so divided, too, before they are averaged. (Dong et
  al. average their logits, of which a network trained with noise has the larger by far, and
  would decide alone.) A noise-free copy is fooled by other directions than one that mimics a
  server's answers: pass both. The loss should have no bound at which its gradient ends, as
  `objectives.margin` of infinite confidence.

  Args:
    objective: on the logits of a substitute.
    *substitutes: functions from images [B, H, W, C] to logits [B, K].
    radius: of the l_inf ball, in units of [0, 1].
    num_steps: T; 10 in the papers, up to 100.
    decay: mu, of the momentum; 1 keeps all of it.
    diversity: share of resized images.
    factor: of the largest size over the image's own.

  Returns:
    `start(key, example) -> image`, for `attacks.square(start=...)` or to be judged as it is.

  Raises:
    ValueError: there is no substitute, or a number that no attack can use.

  References:
    Dong et al. (2018), algorithm 1; Xie et al. (2019), section 3.3.
  """
  if not substitutes:
    raise ValueError("there is no substitute: pass one function from images to logits at least")

  def seen(key, image):
    chance_key, resize_key = jax.random.split(key)
    chosen = jax.random.bernoulli(chance_key, diversity)
    return jnp.where(chosen, resized(resize_key, image, factor), image)

  def gradient_of(network, key, image, label):
    loss = lambda image: objective.loss(network(seen(key, image)[None])[0], label)
    gradient = jax.grad(loss)(image)
    return _of_mean_one(jnp.where(jnp.isfinite(gradient), gradient, 0))

  def start(key, example):
    def body(carry, key):
      image, velocity = carry
      keys = jax.random.split(key, len(substitutes))
      each = [gradient_of(*x, image, example.label) for x in zip(substitutes, keys)]
      velocity = decay * velocity + _of_mean_one(sum(each))
      moved = image - radius / num_steps * jnp.sign(velocity)
      return (geometry.project(moved, example.image, radius, "linf"), velocity), None

    begin = (example.image, jnp.zeros_like(example.image))
    (image, _), _ = jax.lax.scan(body, begin, jax.random.split(key, num_steps))
    return image

  return start
