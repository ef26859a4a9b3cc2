"""The law of probe lengths beside attacks: queries that it predicts, and that they used.

The law is of one estimate in a place where the loss is linear as far as probes reach. So the
slope is that of the loss smoothed by the attack's own probes, the noise that of the attack's own
loss, and the best gain that of a step to the ball's and the box's edge; see `theory.nes_queries`.
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

_NUM_PAIRS = 4000  # of probes for a slope, whose l1 norm is then some 10 % too large
_PAIRS_AT_ONCE = 200
_NUM_ANSWERS = 200  # for the noise of a loss


class Probes(NamedTuple):
  """How an attack looks for a slope: antithetic pairs along normal directions.

  Attributes:
    scale: of the directions, whose entries have variance 1; in l2 units, of tiles too.
    tiles: along each side, in which directions are constant; None for one a pixel.
  """

  scale: float
  tiles: int | None = None


def _of_bandits(request, image_shape):
  tiles = request["prior_size"] or None
  sides = (tiles, tiles) if tiles else image_shape[:2]
  return Probes(_first(request["spacing"]) / math.sqrt(math.prod(sides) * image_shape[2]), tiles)


def _first(value):
  return value[0] if isinstance(value, list) else value


# Attacks that estimate a gradient in an l_inf ball, by what their manifest says.
PROBES: dict[str, Callable[[Any, tuple[int, ...]], Probes]] = {
  "ql": lambda request, image_shape: Probes(request["smoothing"]),
  "spsa": lambda request, image_shape: Probes(_first(request["spacing"])),
  "bandits": _of_bandits,
}


class Place(NamedTuple):
  """What the law needs to know of the loss around an image.

  Attributes:
    margin: how far the loss must fall, [].
    gain: how far it falls by the best step of the ball, if it is linear, [].
    slope: its l2 norm along the directions, [].
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
) -> Callable[[Key, jax.Array, jax.Array], Place]:
  """A compiled function of (key, image [H, W, C], label []) to the `Place` of the image."""
  threats = threat_model(model.clean, defense)
  settings = [traced(defense.settings(strength)) for strength in strengths]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *settings)

  def place(variables, key, image, label):
    slope_key, noise_key = jax.random.split(key)
    height, width, channels = image.shape
    sides = (probes.tiles, probes.tiles) if probes.tiles else (height, width)
    tiles = (*sides, channels)
    spread = lambda tile: geometry.enlarge(tile, height, width)
    sizes = jax.vjp(spread, jnp.zeros(tiles))[1](jnp.ones(image.shape))[0]
    loss_at = objectives.asked(objective, threats.clean(variables), label)
    ask = lambda images: loss_at(noise_key, images)[0]

    def pairs(key):
      directions = jax.random.normal(key, (_PAIRS_AT_ONCE, *tiles))
      steps = probes.scale * jax.vmap(spread)(directions / jnp.sqrt(sizes)[None])
      losses = ask(jnp.concatenate([image[None] + steps, image[None] - steps]))
      differences = (losses[:_PAIRS_AT_ONCE] - losses[_PAIRS_AT_ONCE:]) / (2 * probes.scale)
      return jnp.tensordot(differences, directions, 1) / _PAIRS_AT_ONCE

    keys = jax.random.split(slope_key, _NUM_PAIRS // _PAIRS_AT_ONCE)
    parts = jax.lax.map(pairs, keys)
    one, other = parts[::2].mean(0), parts[1::2].mean(0)
    slope = jnp.sqrt(jnp.maximum((one * other).sum(), 0))  # their errors do not agree
    in_pixels = spread((one + other) / 2 / jnp.sqrt(sizes))
    best = geometry.project(image - radius * jnp.sign(in_pixels), image, radius, "linf")
    gain = (in_pixels * (image - best)).sum()

    def noise(setting):
      oracle = threats.asked(variables, setting)
      rows = jnp.broadcast_to(image[None], (_NUM_ANSWERS, *image.shape))
      return objectives.asked(objective, oracle, label)(noise_key, rows)[0].std()

    return Place(ask(image[None])[0], gain, slope, jax.lax.map(noise, stacked))

  compiled = jax.jit(place)
  return lambda key, image, label: compiled(model.variables, key, image, label)


def predicted(found: Place, probes: Probes, radius: float, image_shape: tuple[int, ...]):
  """Queries [S] that the law asks for, by setting; infinite where no step would be enough."""
  sides = (probes.tiles, probes.tiles) if probes.tiles else image_shape[:2]
  if not (found.slope > 0 and found.gain > 0 and found.margin > 0):
    return np.where(found.margin > 0, math.inf, 0) * np.ones(len(found.noise))
  noise_to_signal = theory.noise_to_signal(found.noise, probes.scale, found.slope)
  return np.asarray(
    theory.nes_queries(
      found.margin,
      radius,
      found.gain / radius,
      math.prod(sides) * image_shape[2],
      noise_to_signal,
      norm="linf",
    )
  )
