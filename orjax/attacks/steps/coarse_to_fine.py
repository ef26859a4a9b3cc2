"""ZOO for large images: the modifier begins coarse and grows finer.

The modifier of every size lives in the upper left corner of one array of the largest, so
that shapes never change; what depends on the size is looked up by the stage.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import estimators
from orjax import geometry
from orjax.attacks import solvers
from orjax.attacks.steps.coordinate_descent import measure
from orjax.factories import check_number
from orjax.factories import factory
from orjax.factories import Limit
from orjax.types import Attack
from orjax.types import judged
from orjax.types import Objective

IMPORTANCE = ("refreshed", "frozen", "uniform")
_GRID = 8  # blocks along each side of the map of importance


class CoarseToFine(NamedTuple):
  """How the modifier grows; the defaults are those of ZOO's code for ImageNet.

  Attributes:
    sizes: sides of the square modifier, rising.
    resize_at: the steps before which sizes[1:] begin.
    importance: coordinates are drawn uniformly until the first resizing; from then on in
      proportion to the largest entry of the modifier in each of 8x8 blocks: as of every
      step ("refreshed"); as of the last resizing ("frozen": what the official code does, as
      its refresh is never reached); or uniformly all the time.
    reset_adam: start the solver's state anew after the first success too, not only when
      the modifier is resized.
  """

  sizes: tuple[int, ...] = (32, 64, 128)
  resize_at: tuple[int, ...] = (2000, 10_000)
  importance: str = "refreshed"
  reset_adam: bool = True


class CoarseToFineState(NamedTuple):
  """The modifier [S, S, C] in its corner, importance [8, 8, C], the solver's state.

  Further the steps taken, whether any succeeded, and the image judged last.
  """

  modifier: jax.Array
  importance: jax.Array
  solver: Any
  num_steps: jax.Array
  succeeded: jax.Array
  adversarial: jax.Array


def _check(coarse):
  if coarse.importance not in IMPORTANCE:
    raise ValueError(
      f"importance must be one of {', '.join(IMPORTANCE)}, not {coarse.importance!r}"
    )
  for name, counts in (("sizes", coarse.sizes), ("resize_at", coarse.resize_at)):
    for count in counts:
      check_number(name, count, Limit(low=1, whole=True))
  rising = lambda numbers: all(a < b for a, b in zip(numbers, numbers[1:]))
  if not (
    coarse.sizes
    and rising(coarse.sizes)
    and rising(coarse.resize_at)
    and len(coarse.resize_at) == len(coarse.sizes) - 1
  ):
    raise ValueError(
      f"sizes must rise, with one rising resize_at for each after the first, "
      f"not {coarse.sizes} with {coarse.resize_at}"
    )


def _corners(pairs, rows, columns):
  """Enlargements of a line from few to many numbers, for pairs of (few, many).

  Each stands in the upper left corner of a matrix of zeros: float32 [stages, rows, columns].
  """
  weights = [geometry.bilinear_weights(few, many) for few, many in pairs]
  pads = [((0, rows - w.shape[0]), (0, columns - w.shape[1])) for w in weights]
  return jnp.asarray(np.stack([np.pad(w, pad) for w, pad in zip(weights, pads)]))


def _enlargements(sizes, image):
  """From a modifier to an image along H and along W: [stages, H, S] and [stages, W, S]."""
  return [
    _corners([(size, pixels) for size in sizes], pixels, sizes[-1]) for pixels in image.shape[:2]
  ]


def _blocks(side, size):
  """The block of each line of the array, and whether the line is in use."""
  lines = jnp.arange(side)
  return jnp.minimum(lines * _GRID // size, _GRID - 1), lines < size


def _importance(modifier, size):
  """The largest entry of the modifier in each block [8, 8, C]."""
  block, used = _blocks(len(modifier), size)
  entries = jnp.where((used[:, None] & used[None, :])[..., None], jnp.abs(modifier), 0)
  grid = jnp.zeros((_GRID, _GRID, modifier.shape[2]), modifier.dtype)
  return grid.at[block[:, None], block[None, :]].max(entries)


def _log_weights(importance, side, size):
  """Of every coordinate's chance to be drawn [S, S, C]."""
  block, used = _blocks(side, size)
  weights = jnp.log(importance[block[:, None], block[None, :]] + 1e-30)
  return jnp.where((used[:, None] & used[None, :])[..., None], weights, -jnp.inf)


def _bumps(coordinates, tall, wide, channels):
  """Where each coordinate lifts the image [B, H, W]: an outer product; and in which channel."""
  side = tall.shape[1]
  row, column = coordinates // (side * channels), coordinates // channels % side
  bumps = tall.T[row][:, :, None] * wide.T[column][:, None, :]
  hit = coordinates[:, None] % channels == jnp.arange(channels)[None]
  return bumps, hit


def _growth(solver, coarse):
  """`grown(state) -> (stage, state)`: resizes the modifier when it is time.

  It brings the importance up to date, too.
  """
  sizes = jnp.asarray(coarse.sizes)
  resize_at = jnp.asarray(coarse.resize_at, jnp.int32)
  side = coarse.sizes[-1]
  growths = _corners(zip(coarse.sizes, (*coarse.sizes[1:], side)), side, side)

  def grown(state):
    stage = (state.num_steps >= resize_at).sum()
    before = (state.num_steps - 1 >= resize_at).sum()
    resizing = stage > before
    larger = jnp.einsum("st,tuc,vu->svc", growths[before], state.modifier, growths[before])
    fresh = solver.init(state.modifier.size)
    select = lambda new, old: jnp.where(resizing, new, old)
    refreshing = resizing if coarse.importance == "frozen" else stage > 0
    if coarse.importance == "uniform":
      refreshing = jnp.zeros_like(resizing)
    importance = _importance(state.modifier, sizes[before])
    return stage, state._replace(
      modifier=select(larger, state.modifier),
      importance=jnp.where(refreshing, importance, state.importance),
      solver=jax.tree.map(select, fresh, state.solver),
    )

  return grown


@factory
def coarse_to_fine_descent(
  objective: Objective,
  solver: solvers.Solver,
  coarse: CoarseToFine,
  *,
  trade_off: jax.Array,
  num_coordinates: int = 128,
  spacing: jax.typing.ArrayLike = 1e-4,
) -> Attack:
  """One iteration of ZOO on a coarse modifier a step: 2 num_coordinates + 1 rows.

  As `coordinate_descent` in tanh space, with the modifier enlarged bilinearly to the
  image's size before it is added.

  Args:
    objective: what the attacker wants.
    solver: how coordinates move.
    coarse: the modifier's sizes and when they change.
    trade_off: c; may be traced.
    num_coordinates: coordinates a step.
    spacing: h, in the modifier's units.

  Returns:
    An `Attack` that never finishes; `adversarial` is the image judged by the step, from
    before its update.

  Raises:
    ValueError: sizes, steps or importance that make no sense, or too few coordinates.

  References:
    Chen et al. (2017), sections 3.3 to 3.5, and `l2_attack_black.py` of their code.
  """
  _check(coarse)
  side = coarse.sizes[-1]
  grown = _growth(solver, coarse)

  def init(key, example):
    del key
    channels = example.image.shape[2]
    if num_coordinates > coarse.sizes[0] ** 2 * channels:
      raise ValueError(
        f"num_coordinates={num_coordinates} is more than the "
        f"{coarse.sizes[0] ** 2 * channels} entries of the first modifier: ask "
        f"for at most that many"
      )
    modifier = jnp.zeros((side, side, channels), example.image.dtype)
    image = geometry.from_tanh_space(geometry.to_tanh_space(example.image))
    return CoarseToFineState(
      modifier,
      jnp.ones((_GRID, _GRID, channels), modifier.dtype),
      solver.init(modifier.size),
      jnp.zeros((), jnp.int32),
      jnp.zeros((), bool),
      image,
    )

  def step(key, oracle, example, state):
    coordinate_key, query_key = jax.random.split(key)
    image = example.image
    channels = image.shape[2]
    stage, state = grown(state)
    tall, wide = (weights[stage] for weights in _enlargements(coarse.sizes, image))
    log_weights = _log_weights(state.importance, side, jnp.asarray(coarse.sizes)[stage])
    coordinates = estimators.draw_coordinates(
      coordinate_key, state.modifier.size, num_coordinates, log_weights.reshape(-1)
    )
    bumps, hit = _bumps(coordinates, tall, wide, channels)
    offsets = spacing * bumps[..., None] * hit[:, None, None].astype(image.dtype)
    origin = geometry.to_tanh_space(image)
    here = origin + jnp.einsum("hs,stc,wt->hwc", tall, state.modifier, wide)
    points = geometry.from_tanh_space(
      jnp.concatenate([here[None], here[None] + offsets, here[None] - offsets])
    )
    reference = geometry.from_tanh_space(origin)
    losses, hinges, rows = measure(
      objective, trade_off, oracle, query_key, points, reference, example.label
    )
    loss, slopes, curvatures = estimators.central_differences(losses, spacing)
    moves, solver_state = solver.update(state.solver, coordinates, slopes, curvatures)
    modifier = state.modifier.reshape(-1).at[coordinates].add(moves)
    achieved = objective.achieved(rows[0], example.label)
    if coarse.reset_adam:
      first = achieved & ~state.succeeded
      solver_state = jax.tree.map(
        lambda new, old: jnp.where(first, new, old), solver.init(modifier.size), solver_state
      )
    # What was learnt of the model: the distance has a slope everywhere.
    _, learnt, _ = estimators.central_differences(hinges, spacing)
    info = judged(oracle, len(points), loss=loss, achieved=achieved, gradient=learnt)
    return CoarseToFineState(
      modifier.reshape(state.modifier.shape),
      state.importance,
      solver_state,
      state.num_steps + 1,
      state.succeeded | achieved,
      points[0],
    ), info

  return Attack(init, step)
