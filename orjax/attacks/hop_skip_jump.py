"""HopSkipJump: along the boundary, from labels alone, as published."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.attacks.starts import Start
from orjax.attacks.steps import ask_tell
from orjax.attacks.steps import boundary
from orjax.attacks.steps import draws
from orjax.attacks.steps.ask_tell import AskTell
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_START, _BLEND, _BISECT, _PROBE, _STEP = range(5)  # what the rows of a step are about
_BLENDED = 1e-3  # of the way, to which the start is brought near
_FIRST_PROBE = 0.1  # of the range of a pixel


class HopSkipJumpState(NamedTuple):
  """Where it is, and what the phase in progress knows.

  Attributes:
    phase: int32 [].
    iteration: 1, 2, ...; 0 while it looks for the first point of the boundary, int32 [].
    point: on the boundary [H, W, C].
    outer: the end of the line that is bisected [H, W, C].
    low, high: shares of that line: of no success, and of a success [].
    length: of the next probes, l2 [].
    step_size: of the step that is tried [].
    signs: sum of labels +-1 of this iteration's probes [].
    total: sum of the probes' directions [H, W, C].
    product: sum of labels times directions, then the gradient [H, W, C].
    num_probes: int32 [].
    adversarial: the last point, or the image while there is none [H, W, C].
  """

  phase: jax.Array
  iteration: jax.Array
  point: jax.Array
  outer: jax.Array
  low: jax.Array
  high: jax.Array
  length: jax.Array
  step_size: jax.Array
  signs: jax.Array
  total: jax.Array
  product: jax.Array
  num_probes: jax.Array
  adversarial: jax.Array


class _Numbers(NamedTuple):
  norm: str
  first_probes: int
  max_probes: int
  num_iterations: int
  radius: float | None
  num_rows: int


def _theta(image, norm):
  """The share of a line to which it is bisected."""
  return image.size**-1.5 if norm == "l2" else float(image.size) ** -2


def _section(state, num_rows):
  """The shares to ask about, rising: [num_rows]; in the middle for one row."""
  parts = jnp.arange(1, num_rows + 1, dtype=jnp.float32) / (num_rows + 1)
  return state.low + (state.high - state.low) * parts


def _narrowed(state, shares, agreed):
  """The interval between the last share below the first success, and that."""
  before = jnp.cumprod((~agreed).astype(jnp.int32)).sum()
  edges = jnp.concatenate([state.low[None], shares, state.high[None]])
  return state._replace(low=edges[before], high=edges[before + 1])


def _ended(state, threshold):
  middle = (state.low + state.high) / 2
  # What floating point cannot halve is over, too.
  return (state.high - state.low <= threshold) | (middle <= state.low) | (middle >= state.high)


def _line(state, outer, phase):
  """Begins to bisect the line to `outer`."""
  return state._replace(
    outer=outer, low=jnp.float32(0), high=jnp.float32(1), phase=jnp.int32(phase)
  )


def _at_boundary(state, image, numbers):
  """Begins the next iteration's probes at the point that was found."""
  before = boundary.distance(image, state.outer, numbers.norm)
  point = boundary.between(image, state.outer, state.high, numbers.norm)
  size = float(image.size)
  scale = math.sqrt(size) if numbers.norm == "l2" else size
  length = jnp.where(
    state.iteration == 0, _FIRST_PROBE, scale * _theta(image, numbers.norm) * before
  )
  nothing = jnp.zeros_like(image)
  return state._replace(
    phase=jnp.int32(_PROBE),
    iteration=state.iteration + 1,
    point=point,
    length=length,
    signs=jnp.float32(0),
    total=nothing,
    product=nothing,
    num_probes=jnp.int32(0),
    adversarial=point,
  )


def _probed(state, directions, agreed, image, numbers):
  """Adds probes; with enough of them, turns to the step along their gradient."""
  signs = jnp.where(agreed, 1.0, -1.0)
  weighted = signs.reshape(-1, *[1] * image.ndim) * directions
  state = state._replace(
    signs=state.signs + signs.sum(),
    total=state.total + directions.sum(0),
    product=state.product + weighted.sum(0),
    num_probes=state.num_probes + numbers.num_rows,
  )
  root = jnp.sqrt(state.iteration.astype(jnp.float32))
  wanted = jnp.minimum(jnp.floor(numbers.first_probes * root), numbers.max_probes)
  num = state.num_probes.astype(jnp.float32)
  mean = state.signs / num
  # Where all labels agree, the mean direction is the gradient.
  centred = state.product - jnp.where(jnp.abs(mean) == 1, 0, mean) * state.total
  ready = state._replace(
    phase=jnp.int32(_STEP),
    product=geometry.steepest(geometry.steepest(centred, "l2"), numbers.norm),
    step_size=boundary.distance(image, state.point, numbers.norm) / root,
  )
  return ask_tell.select(num >= wanted, ready, state)


def _steps(state, num_rows):
  """Where steps of a size, a half, a quarter, ... lead: [num_rows, H, W, C]."""
  sizes = state.step_size * jnp.exp2(-jnp.arange(num_rows, dtype=jnp.float32))
  moved = state.point[None] + sizes[:, None, None, None] * state.product[None]
  return jnp.clip(moved, 0, 1)


def _hop_skip_jump(objective, start, numbers):
  num_rows, norm = numbers.num_rows, numbers.norm

  def init(key, example):
    del key
    image, zero = example.image, jnp.float32(0)
    nothing, none = jnp.zeros_like(image), jnp.int32(0)
    return HopSkipJumpState(
      jnp.int32(_START), none, image, image, zero, jnp.float32(1), zero, zero, zero,
      nothing, nothing, none, image,
    )  # fmt: skip

  def ask(key, example, state):
    start_key, direction_key = jax.random.split(key)
    image, shape = example.image, example.image.shape

    def begin(key):
      if start is None:
        return jax.random.uniform(key, (num_rows, *shape))
      return jax.vmap(start, in_axes=(0, None))(jax.random.split(key, num_rows), image)

    nothing = jnp.zeros((num_rows, *shape))
    begun = draws.where(state.phase == _START, begin, start_key, nothing)
    shares = _section(state, num_rows)
    on_line = lambda norm: jax.vmap(boundary.between, in_axes=(None, None, 0, None))(
      image, state.outer, shares, norm
    )
    directions = boundary.unit_directions(direction_key, num_rows, shape, norm)
    probes = jnp.clip(state.point[None] + state.length * directions, 0, 1)
    by_phase = (begun, on_line("l2"), on_line(norm), probes, _steps(state, num_rows))
    images = jnp.clip(jax.lax.select_n(state.phase, *by_phase), 0, 1)
    directions = (probes - state.point[None]) / jnp.maximum(state.length, 1e-30)
    return images, (images, shares, directions)

  def tell(example, state, notes, rows):
    images, shares, directions = notes
    image = example.image
    agreed = ask_tell.achieved(objective, rows, example.label)
    first, any_agreed = images[agreed.argmax()], agreed.any()
    narrowed = _narrowed(state, shares, agreed)
    blended = boundary.between(image, narrowed.outer, narrowed.high, "l2")
    shorter = state._replace(step_size=state.step_size * 2.0**-num_rows)
    after = (
      ask_tell.select(any_agreed, _line(state, first, _BLEND), state),
      ask_tell.select(_ended(narrowed, _BLENDED), _line(narrowed, blended, _BISECT), narrowed),
      ask_tell.select(
        _ended(narrowed, _theta(image, norm)), _at_boundary(narrowed, image, numbers), narrowed
      ),
      _probed(state, directions, agreed, image, numbers),
      ask_tell.select(any_agreed, _line(state, first, _BISECT), shorter),
    )
    new = jax.tree.map(lambda *leaves: jax.lax.select_n(state.phase, *leaves), *after)
    reached = boundary.distance(image, new.adversarial, norm)
    success = new.iteration > 0
    if numbers.radius is not None:
      success &= reached <= numbers.radius
    over = new.iteration > numbers.num_iterations
    finished = over | (success if numbers.radius is not None else False)
    return new, ask_tell.report(ask_tell.known(reached, rows), success, finished)

  return AskTell(init, ask, tell)


@factory
def hop_skip_jump(
  objective: Objective,
  *,
  norm: str = "l2",
  radius: float | None = None,
  first_probes: int = 100,
  max_probes: int = 10_000,
  num_iterations: int = 40,
  start: Start | None = None,
  num_rows: int = 1,
) -> Attack:
  """The HopSkipJump attack, whole, as published: labels only, for the smallest distance.

  From a start on the other side it bisects to the boundary; then, again and again, it
  estimates the boundary's normal there from labels, takes a step along it that is halved
  until it is a success, and bisects. Every answer is believed. Its probes are short,
  dist / d of d pixels, and its bisections go to d^-1.5 (linf: d^-2) of the line: against
  noise see `pop_skip_jump`.

  Args:
    objective: only its `achieved` is used.
    norm: `l2` or `linf`.
    radius: at which it stops; None goes on for the smallest distance.
    first_probes: B; the j-th normal is estimated from B sqrt(j) probes.
    max_probes: of them, at most.
    num_iterations: after which it is finished: 40 in the reference's function, 64 in its
      script.
    start: `start(key, image) -> image`, drawn until it is a success; uniform noise over
      the whole box by default.
    num_rows: rows a step. More than one ask in parallel what the reference asks in turn:
      the bisection has so many points instead of a middle, the halvings are tried
      together, and the last probes of an estimate may be a few more.

  Returns:
    An `Attack` that asks `num_rows` rows a step. While nothing was found it would hand in
    the image as it is.

  Raises:
    ValueError: the norm is unknown, or a number that no attack can use.

  References:
    Chen, Jordan and Wainwright (2020), algorithm 2, and `hsja.py` of their code.
  """
  geometry.check_norm(norm)
  numbers = _Numbers(norm, first_probes, max_probes, num_iterations, radius, num_rows)
  return ask_tell.from_ask_tell(_hop_skip_jump(objective, start, numbers))
