"""What measurements speak for: the probe-length law as measured, and the best gradient by it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax import theory
from orjax.attacks import starts
from orjax.attacks.wrappers import pilot as pilots
from orjax.attacks.wrappers import statistics
from orjax.attacks.wrappers import subspaces
from orjax.attacks.wrappers.pilot import PilotState
from orjax.types import Example
from orjax.types import Objective

_ROUNDING = 1e-14  # squared float32 rounding of a loss of 1
_CHANGE = 0.1  # relative variance of the squared slope between lengths next to each other
_SEEN = 5.0  # standard errors from which on a signal is no luck
_GONE = 0.25  # of the signal expected: 16 directions have less once in a thousand times
_AS_GOOD = 0.95  # of the best: the first statistic so good is taken, and the shortest length
_SURE = 3.0  # standard deviations of a vote on an untouched image


class Choice(NamedTuple):
  """What an inner attack is given, all of it traced.

  Attributes:
    objective: the statistic that was picked, times a scale that makes it a squared distance:
      that to the boundary times the first one, so that no trade-off depends on the statistic.
    statistic: which of `statistics.NAMES`, int32 [].
    length: of a probe, l2 []: the spacing of a coordinate.
    smoothing: the scale of the entries of a probe that long [].
    in_tiles: whether to probe in constant tiles, bool [].
    cosine: what the law predicts of the estimate's with the gradient [].
    start: where a descent begins: just outside, if a way out was found, or far away.
    agreement: share of a vote that an untouched image hardly ever has [].
  """

  objective: Objective
  statistic: jax.Array
  length: jax.Array
  smoothing: jax.Array
  in_tiles: jax.Array
  cosine: jax.Array
  start: starts.Start
  agreement: jax.Array


class Law(NamedTuple):
  """The probe-length law as measured, each [P, 7, S]: subspaces, lengths, statistics.

  Attributes:
    loss_stddev: s_L, of one answer.
    gradient_norm: |g|, by the pilot's probes: of pixels, or within the tiles (times the root
      of a tile's pixels).
    noise_to_signal: rho of the inner attack's probes.
    cosine: of all that the inner attack estimates with the gradient.
  """

  loss_stddev: jax.Array
  gradient_norm: jax.Array
  noise_to_signal: jax.Array
  cosine: jax.Array


def measured_law(state: PilotState, image: jax.Array, num_averaged: float, longest: float) -> Law:
  """The law that a pilot's measurements follow.

  Args:
    state: of a pilot.
    image: [H, W, C], for its size.
    num_averaged: pairs that the inner attack averages.
    longest: l2 length of its probes at most.
  """
  num_pixels, num_tiles = image.size, subspaces.num_tiles(image)
  root = np.float32(np.sqrt(num_pixels))
  counts = jnp.maximum(state.counts, 1)
  noise = state.noise / counts + _ROUNDING
  norm = jnp.sqrt(_squared_slopes(state.signal / counts, noise, counts))
  loss_noise = jnp.sqrt(noise / 2)
  used = _lengths(num_pixels, longest)[None, :, None] / root
  rho = theory.noise_to_signal(loss_noise, used, norm)
  dimensions = jnp.asarray([num_pixels, num_tiles][: len(norm)], jnp.float32)[:, None, None]
  cosine = theory.nes_cosine(num_averaged, dimensions, rho)
  if len(norm) > 1:  # tiles see a part of the gradient
    part = jnp.clip(norm[1] / norm[0] * np.float32(np.sqrt(num_tiles / num_pixels)), 0, 1)
    cosine = cosine * jnp.stack([jnp.ones_like(part), part])
  return Law(loss_noise, norm, rho, cosine)


def _squared_slopes(signal, noise, counts):
  """|g|^2 at every length, each [P, 7, S], from the longest down to where the signal drowns.

  A Kalman filter: what a length tells counts as much as could be expected of it, lest luck be
  taken for signal; a short probe of which nothing can be seen has the slope of a longer one,
  as a loss is the more linear the closer one looks.
  """
  scales = 4 * jnp.square(jnp.asarray(pilots.LADDER))[None, :, None]
  # What cannot be told from no slope at all is taken for a tenth of the error.
  least = 0.1 * (noise / jnp.sqrt(counts) / scales).min(1)

  def body(carry, measured):
    slope, variance = carry
    signal, noise, count, scale = measured
    seen = signal / noise * jnp.sqrt(count) > _SEEN
    ratio = jnp.maximum(scale * slope, jnp.where(seen, signal, 0)) / noise
    # Relative variance of a mean of products of two Gaussian numbers that share a signal.
    error = (jnp.square(1 / ratio) + 2 / ratio + 2) / count
    variance = variance + _CHANGE
    share = variance / (variance + error)
    # What is not there, though it could not be missed, was rounded away.
    gone = (share > 0.5) & (signal < _GONE * scale * slope)
    share = jnp.where(gone, 1, share)
    slope = jnp.maximum(slope + share * (signal / scale - slope), least)
    return (slope, (1 - share) * variance), slope

  lengths_first = lambda x: jnp.moveaxis(x, 1, 0)
  measured = tuple(
    map(lengths_first, (signal, noise, counts, jnp.broadcast_to(scales, signal.shape)))
  )
  first = jnp.maximum(signal[:, 0] / scales[:, 0], least)
  begin = (first, jnp.full_like(first, 1e3))
  return lengths_first(jax.lax.scan(body, begin, measured)[1])


def _lengths(num_pixels, longest):
  """Of the inner attack's probes, l2 [7], longest first."""
  return jnp.minimum(jnp.asarray(pilots.LADDER) * np.float32(np.sqrt(num_pixels)), longest)


def choose(
  state: PilotState,
  example: Example,
  success: Objective,
  *,
  num_averaged: float,
  num_votes: int,
  longest: float,
  step_size: float | None = None,
) -> Choice:
  """What the measurements speak for; see `informed` for the arguments.

  Statistic and length are those whose noise costs fewest pairs, 1 + rho times as many as
  without noise; of lengths about as good, the shortest that is no shorter than a step, which
  would leave what it saw behind. The subspace is that of the best cosine.
  """
  law = measured_law(state, example.image, num_averaged, longest)
  worth = 1 / (1 + law.noise_to_signal)
  least = 0.0 if step_size is None else step_size

  def best(worth):
    by_statistic = worth.max(0)
    statistic = _first(by_statistic >= _AS_GOOD * by_statistic.max())
    good = worth[:, statistic] >= _AS_GOOD * worth[:, statistic].max()
    wide = good & jnp.asarray(least <= pilots.LADDER)
    shortest = _first(jnp.where(wide.any(), wide, good)[::-1])
    return statistic, len(worth) - 1 - shortest

  found, numbers = jax.vmap(best)(worth)
  cosines = jax.vmap(lambda each, s, k: each[k, s])(law.cosine, found, numbers)
  subspace = cosines.argmax()
  statistic, number = found[subspace], numbers[subspace]
  distance = jnp.where(state.found(), _distance(state, example), 1)
  scale = distance / law.gradient_norm[0, number, statistic]
  length = _lengths(example.image.size, longest)[number]
  rate = state.flips.astype(jnp.float32) / jnp.maximum(state.num_flips, 1).astype(jnp.float32)
  luck = rate + _SURE * jnp.sqrt(rate * (1 - rate) / max(num_votes, 1))
  return Choice(
    statistics.objective(success, statistic, scale=scale, noise=state.added_noise()),
    statistic,
    length,
    length / np.float32(np.sqrt(example.image.size)),
    subspace > 0,
    cosines[subspace],
    _start(state),
    jnp.clip(luck, 0.5, 0.95),
  )


def _distance(state, example):
  """Of the boundary on the way out, l2 []."""
  return geometry.l2(state.boundary(example.image) - example.image)


def _first(flags):
  """The index of the first that is true, int32 []."""
  return jnp.argmax(flags).astype(jnp.int32)


def _start(state):
  anywhere = starts.low_frequency_noise()

  def start(key, image):
    key, share_key = jax.random.split(key)
    # Mostly just outside; further out where that was not, as it is asked again then.
    outside = state.crossing()[1]
    share = outside + (1 - outside) * jax.random.uniform(share_key) ** 4
    return jnp.where(state.found(), state.point(image, share), anywhere(key, image))

  return start
