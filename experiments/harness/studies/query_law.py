"""The law of probe lengths beside attacks: queries that it predicts, and that they used.

The law is of one estimate in a place where the loss is linear as far as probes reach. So the
slope is the mean gradient at the attack's own probes, which is what differences along them
estimate without bias (Stein's identity), the noise that of the attack's own loss at the image,
and the gain that of the best step to the edge of ball and box; see `theory.nes_queries`.
"""

from collections.abc import Callable
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness.classifiers.model import Model
from orjax import geometry
from orjax import objectives
from orjax import theory
from orjax.threats import Defense
from orjax.threats import threat_model
from orjax.threats import traced
from orjax.types import Key
from orjax.types import Objective

_NUM_PROBES = 1000  # for a slope
_AT_ONCE = 100
_NUM_ANSWERS = 200  # for the noise of a loss


class Probes(NamedTuple):
  """How an attack looks for a slope: pairs on both sides of the image.

  Attributes:
    scale: h, of the directions, whose entries have variance 1.
    signs: whether those are signs, and the probes clipped to the box; else they are normal.
  """

  scale: float
  signs: bool = False


# Attacks that estimate a gradient in an l_inf ball, by what their manifest says.
PROBES: dict[str, Callable[[Any], Probes]] = {
  "ql": lambda request: Probes(request["smoothing"]),
  "spsa": lambda request: Probes(request["spacing"], signs=True),
}


class Place(NamedTuple):
  """What the law needs to know of the loss around an image.

  Attributes:
    margin: how far the loss must fall, [].
    gain: how far it falls by the best step of the ball, if it is linear, [].
    slope: l2 norm of what the attack's differences estimate, [].
    noise: standard deviation of the loss of one answer at the image, [S] by setting.
  """

  margin: jax.Array
  gain: jax.Array
  slope: jax.Array
  noise: jax.Array


def measure(
  model: Model,
  objective: Objective,
  defense: Defense,
  strengths: list[float],
  probes: Probes,
  radius: float,
  on_the_way: float = 0.0,
) -> Callable[[Key, jax.Array, jax.Array], Place]:
  """A compiled function of (key, image [H, W, C], label []) to the `Place` of the image.

  Or to that of a point on the way: this share of the radius along the signs of the gradient. What
  is left to gain is then to the edge of the image's own ball.
  """
  threats = threat_model(model.clean, defense)
  settings = [traced(defense.settings(strength)) for strength in strengths]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *settings)

  def place(variables, key, center, label):
    slope_key, noise_key = jax.random.split(key)
    loss_at = objectives.asked(objective, threats.clean(variables), label)
    ask = lambda images: loss_at(noise_key, images)[0]
    image = center
    if on_the_way:
      uphill = jnp.sign(jax.grad(lambda x: ask(x[None])[0])(center))
      image = jnp.clip(center - on_the_way * radius * uphill, 0, 1)

    def gradients(key):
      """The mean gradient at some probes."""
      shape = (_AT_ONCE, *image.shape)
      if probes.signs:
        directions = jnp.where(jax.random.bernoulli(key, 0.5, shape), 1.0, -1.0)
        points = jnp.clip(image[None] + probes.scale * directions, 0, 1)
      else:
        points = image[None] + probes.scale * jax.random.normal(key, shape)
      return jax.grad(lambda x: ask(x).sum())(points).mean(0)

    keys = jax.random.split(slope_key, _NUM_PROBES // _AT_ONCE)
    parts = jax.lax.map(gradients, keys)
    gradient = parts.mean(0)
    best = geometry.project(image - 2 * radius * jnp.sign(gradient), center, radius, "linf")
    # A difference between a clipped probe and one that is not sees half of a pixel's slope.
    there = jnp.clip(image + probes.scale, 0, 1) - jnp.clip(image - probes.scale, 0, 1)
    seen = there / (2 * probes.scale) if probes.signs else jnp.ones_like(image)
    one, other = (seen * part.mean(0) for part in (parts[::2], parts[1::2]))

    def noise(setting):
      oracle = threats.asked(variables, setting)
      rows = jnp.broadcast_to(image[None], (_NUM_ANSWERS, *image.shape))
      return objectives.asked(objective, oracle, label)(noise_key, rows)[0].std()

    return Place(
      ask(image[None])[0],
      (gradient * (image - best)).sum(),
      jnp.sqrt(jnp.maximum((one * other).sum(), 0)),  # the errors of the halves do not agree
      jax.lax.map(noise, stacked),
    )

  compiled = jax.jit(place)
  return lambda key, image, label: compiled(model.variables, key, image, label)


def predicted(found: Place, probes: Probes, radius: float, num_pixels: int) -> np.ndarray:
  """Queries [S] that the law asks for, by setting; infinite where no step would be enough."""
  if not (found.slope > 0 and found.gain > 0):
    return np.full(len(found.noise), math.inf)
  noise_to_signal = theory.noise_to_signal(found.noise, probes.scale, found.slope)
  return np.asarray(
    theory.nes_queries(
      found.margin, radius, found.gain / radius, num_pixels, noise_to_signal, norm="linf"
    )
  )
