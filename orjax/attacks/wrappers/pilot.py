"""Measures what noise hides, before an attack is chosen: where the boundary is, and the law there.

Three stages, each of whole steps. First lines from the image to starts far away, single
answers at points along them: the shortest way out of the class is kept. Then more points, asked
again, where that line leaves the class. There, last, the noise and the signal of every
statistic at a ladder of probe lengths, from pairs of mirrored probes asked twice: what both
looks share is signal, what they do not is noise. The second look is half a probe away, and at
least as far as an attack's step goes, so that rounding, which repeats itself, and a loss too
rough for a probe count as noise, too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax.attacks import starts
from orjax.attacks.steps import ask_tell
from orjax.attacks.wrappers import statistics
from orjax.attacks.wrappers import subspaces
from orjax.types import Example
from orjax.types import Key

# Scales of a probe's entries, down to where float32 has no slopes.
LADDER = 0.25 * 3.0 ** -np.arange(7, dtype=np.float32)
_NUM_FRACTIONS = 8  # points along a line
_STEP = 0.02  # by which an entry changes, at least, between two looks: about an attack's step
_LOOKS = 4  # at a pair of probes, each asked twice


class Pilot(NamedTuple):
  """How much is measured.

  Attributes:
    num_lines: lines from the image outwards, at least.
    num_directions: pairs a probe length and subspace, at least.
    tiles: whether probes of constant tiles are measured beside those of pixels.
  """

  num_lines: int = 8
  num_directions: int = 16
  tiles: bool = True

  def num_subspaces(self) -> int:
    """Of pixels, and perhaps of tiles."""
    return 2 if self.tiles else 1

  def steps(self, num_rows: int) -> tuple[int, int, int]:
    """Steps of each stage, for so many rows a step.

    Raises:
      ValueError: the rows are too few for a line.
    """
    if num_rows < _NUM_FRACTIONS:
      raise ValueError(
        f"a pilot needs steps of {_NUM_FRACTIONS} queries or more, not {num_rows}: ask more in a "
        f"step, or make one of several by attacks.in_blocks"
      )
    lines = -(-self.num_lines // _lines(num_rows))
    pairs = self.num_directions * len(LADDER) * self.num_subspaces()
    return lines, lines, -(-pairs // (num_rows // _LOOKS))


class PilotState(NamedTuple):
  """What was measured so far.

  Attributes:
    num_steps: int32 [].
    far: the end [H, W, C] of the shortest way out; the image until one is found.
    length: of that way up to the boundary, l2; infinite until then.
    low, high: shares of that line between which it leaves the class.
    margins: [8] sums along them; `num_margins` int32 [] of each.
    flips: successes of the untouched image, out of `num_flips`: int32 [].
    negatives: [2] sum and number of squared negative parts of probabilities.
    signal, noise: [P, 7, S] sums over directions, by subspace, length and statistic.
    counts: of them [P, 7, S].
  """

  num_steps: jax.Array
  far: jax.Array
  length: jax.Array
  low: jax.Array
  high: jax.Array
  margins: jax.Array
  num_margins: jax.Array
  flips: jax.Array
  num_flips: jax.Array
  negatives: jax.Array
  signal: jax.Array
  noise: jax.Array
  counts: jax.Array

  def found(self) -> jax.Array:
    """Whether a way out of the class was found, bool []."""
    return jnp.isfinite(self.length)

  def added_noise(self) -> jax.Array:
    """Standard deviation of what was added to probabilities; 0 if none was negative."""
    # Half of the noise on a probability near 0 is below it.
    return jnp.sqrt(2 * self.negatives[0] / jnp.maximum(self.negatives[1], 1))

  def crossing(self) -> tuple[jax.Array, jax.Array]:
    """Shares of the line: of the boundary, and of the first point beyond it, each []."""
    means = self.margins / jnp.maximum(self.num_margins, 1).astype(jnp.float32)
    first, _ = _leaves(means)
    inside, outside = means[first - 1], means[first]
    share = inside / jnp.where(inside > outside, inside - outside, 1)
    spacing = (self.high - self.low) / (_NUM_FRACTIONS - 1)
    before = self.low + spacing * (first - 1).astype(jnp.float32)
    return before + spacing * jnp.clip(share, 0, 1), before + spacing

  def point(self, image: jax.Array, share: jax.Array) -> jax.Array:
    """The point [H, W, C] at a share of the way; the image where there is no way out."""
    return jnp.clip(image + share * (self.far - image), 0, 1)

  def boundary(self, image: jax.Array) -> jax.Array:
    """The point [H, W, C] about which is measured."""
    return self.point(image, self.crossing()[0])


def _lines(num_rows):
  return num_rows // _NUM_FRACTIONS


def _leaves(margins):
  """Where a line [8] leaves the class: the first index outside int32 [], and if it does."""
  before = jnp.cumsum(margins)
  inside, outside = before[:-1], before[-1] - before[:-1]
  first = jnp.argmax(inside - outside).astype(jnp.int32) + 1
  return first, outside[first - 1] < 0


def init(pilot: Pilot, example: Example) -> PilotState:
  """Nothing measured yet."""
  zero, count = jnp.float32(0), jnp.int32(0)
  cells = jnp.zeros((pilot.num_subspaces(), len(LADDER), len(statistics.NAMES)), jnp.float32)
  return PilotState(
    num_steps=count,
    far=example.image,
    length=jnp.float32(jnp.inf),
    low=zero,
    high=zero,
    margins=jnp.zeros(_NUM_FRACTIONS, jnp.float32),
    num_margins=count,
    flips=count,
    num_flips=count,
    negatives=jnp.zeros(2, jnp.float32),
    signal=cells,
    noise=cells,
    counts=cells,
  )


class Notes(NamedTuple):
  """The ends of the lines of a step [L, H, W, C]; where each pair of probes counts int32 [G]."""

  ends: jax.Array
  cells: jax.Array


def _along_lines(pilot, key, image, state, num_rows):
  """Points of the first two stages [R, H, W, C], and the ends of the lines [L, H, W, C]."""
  num_lines = _lines(num_rows)
  fresh = jax.vmap(starts.low_frequency_noise(), in_axes=(0, None))(
    jax.random.split(key, num_lines), image
  )
  first = state.num_steps < pilot.steps(num_rows)[0]
  ends = jnp.where(first, fresh, state.far[None])
  low, high = jnp.where(first, 0, state.low), jnp.where(first, 1, state.high)
  shares = low + (high - low) * jnp.linspace(0, 1, _NUM_FRACTIONS, dtype=jnp.float32)
  offsets = shares[None, :, None, None, None] * (ends - image[None])[:, None]
  points = (image[None, None] + offsets).reshape(-1, *image.shape)
  return _padded(points, image, num_rows), ends


def _padded(points, image, num_rows):
  """As many rows as are asked: the image again, or the first ones."""
  missing = max(0, num_rows - len(points))
  rest = jnp.broadcast_to(image[None], (missing, *image.shape))
  return jnp.concatenate([points, rest])[:num_rows]


def _probes(pilot, key, image, state, num_rows):
  """Mirrored probes about the boundary, asked twice [R, H, W, C], and their cells [G]."""
  num_pairs = num_rows // _LOOKS
  step = state.num_steps - sum(pilot.steps(num_rows)[:2])
  cells = (step * num_pairs + jnp.arange(num_pairs, dtype=jnp.int32)) % (
    pilot.num_subspaces() * len(LADDER)
  )
  directions = subspaces.directions(key, num_pairs, image, cells >= len(LADDER))
  scales = jnp.asarray(LADDER)[cells % len(LADDER)][:, None, None, None]
  center = state.boundary(image)
  steps = scales * directions
  shifts = jnp.maximum(scales / 2, _STEP) * jnp.roll(directions, 1, 0)
  points = center[None, None] + jnp.stack([steps, -steps, shifts + steps, shifts - steps], 1)
  return _padded(points.reshape(-1, *image.shape), center, num_rows), cells


def ask(pilot: Pilot, key: Key, example: Example, state: PilotState, num_rows: int):
  """The points of a step [num_rows, H, W, C], and notes for `tell`."""
  line_key, probe_key = jax.random.split(key)
  lines, ends = _along_lines(pilot, line_key, example.image, state, num_rows)
  probes, cells = _probes(pilot, probe_key, example.image, state, num_rows)
  searching = state.num_steps < sum(pilot.steps(num_rows)[:2])
  return jnp.where(searching, lines, probes), Notes(ends, cells)


def tell(
  pilot: Pilot, example: Example, state: PilotState, notes: Notes, rows: jax.Array
) -> PilotState:
  """What the answers [R, K] add; a row that is no number adds nothing."""
  first, second, _ = pilot.steps(len(rows))
  along = _along_told(example, notes, rows)
  outward = _lines_told(example, state, notes, along)
  refined = state._replace(
    margins=state.margins + along.sum(0), num_margins=state.num_margins + len(along)
  )
  measured = _probes_told(pilot, example, state, notes, rows)
  searching, early = state.num_steps < first, state.num_steps < first + second
  chosen = ask_tell.select(early, ask_tell.select(searching, outward, refined), measured)
  flips, num_flips, negatives = _answers_told(state, along, rows)
  return chosen._replace(
    num_steps=state.num_steps + 1,
    flips=jnp.where(searching, flips, state.flips),
    num_flips=jnp.where(searching, num_flips, state.num_flips),
    negatives=jnp.where(early, negatives, state.negatives),
  )


def _margins(rows, label):
  return jax.vmap(statistics.values, in_axes=(0, None, None))(rows, label, jnp.float32(0))[
    :, statistics.NAMES.index("margin")
  ]


def _along_told(example, notes, rows):
  """Margins of probabilities along each line [L, 8]; 0 where an answer is no number."""
  shown = rows[: len(notes.ends) * _NUM_FRACTIONS]
  margins = _margins(shown, example.label)
  margins = jnp.where(jnp.isfinite(margins), margins, 0)
  return margins.reshape(-1, _NUM_FRACTIONS)


def _lines_told(example, state, notes, along):
  """The shortest way out so far."""
  firsts, leave = jax.vmap(_leaves)(along)
  whole = jax.vmap(geometry.l2)(notes.ends - example.image[None])
  last = _NUM_FRACTIONS - 1
  lengths = jnp.where(leave, whole * firsts.astype(jnp.float32) / last, jnp.inf)
  best = lengths.argmin()
  first = firsts[best].astype(jnp.float32)
  shorter = state._replace(
    far=notes.ends[best],
    length=lengths[best],
    low=jnp.maximum(first - 2, 0) / last,
    high=jnp.minimum(first + 1, last) / last,
  )
  return ask_tell.select(lengths[best] < state.length, shorter, state)


def _answers_told(state, along, rows):
  """How often the untouched image, the first point of every line, was a success; negatives."""
  of_image = along[:, 0]
  squares = jnp.square(jnp.minimum(jnp.where(jnp.isfinite(rows), rows, 0), 0))
  return (
    state.flips + (of_image < 0).sum().astype(jnp.int32),
    state.num_flips + len(of_image),
    state.negatives + jnp.stack([squares.sum(), jnp.float32(squares.size)]),
  )


def _probes_told(pilot, example, state, notes, rows):
  """Signal and noise of every statistic: products and differences of two looks at a pair."""
  num_pairs = len(notes.cells)
  found = jax.vmap(statistics.values, in_axes=(0, None, None))(
    rows[: num_pairs * _LOOKS], example.label, state.added_noise()
  ).reshape(num_pairs, _LOOKS, -1)
  one, other = found[:, 0] - found[:, 1], found[:, 2] - found[:, 3]
  known = jnp.isfinite(one) & jnp.isfinite(other)
  numbers = jnp.arange(pilot.num_subspaces() * len(LADDER), dtype=jnp.int32)
  where = (notes.cells[None, :] == numbers[:, None])[:, :, None] & known[None]

  def total(each):
    added = jnp.where(where, each[None], 0).sum(1)
    return added.reshape(state.signal.shape)

  return state._replace(
    signal=state.signal + total(one * other),
    noise=state.noise + total(jnp.square(one - other) / 2),
    counts=state.counts + total(jnp.ones_like(one)),
  )
