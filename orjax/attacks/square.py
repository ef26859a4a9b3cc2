"""Square: random search over squares of constant change."""

import jax
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax.attacks import wrappers
from orjax.attacks.steps import ask_tell
from orjax.attacks.transfer import Transferred
from orjax.attacks.wrappers import hill_climbing
from orjax.attacks.wrappers.hill_climbing import Proposals
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

# Of 10,000 queries: after how many the windows' area is halved.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_REDRAWS = 16  # of the signs, so that a proposal changes something
_TILES = 5  # along each side of the first image in l2
_SMALLEST_SIDE = 10  # of an image on which two lobes fit into a tile


def window_side(num_asked: jax.Array, window_share: float, horizon: int, num_pixels: int):
  """Side of the windows, float32 []: the share of the image halves by the schedule."""
  scaled = jnp.floor(num_asked.astype(jnp.float32) / horizon * 10_000)
  halvings = (scaled > jnp.asarray(HALVED_AFTER, jnp.float32)).sum().astype(jnp.float32)
  return jnp.round(jnp.sqrt(window_share * num_pixels * jnp.exp2(-halvings)))


def _window(key, side, shape, edges):
  """A random square of the image, bool [H, W], and its upper left corner.

  Corners are drawn from [0, H - side), as published: the last one is left out, and with it
  the last row and column, unless `edges`.
  """
  numbers = jax.random.uniform(key, (2,))
  sizes = jnp.asarray(shape, jnp.float32)
  corner = jnp.floor(numbers * (sizes - side + (1 if edges else 0)))
  inside = lambda axis: (
    (jnp.arange(shape[axis], dtype=jnp.float32) >= corner[axis])
    & (jnp.arange(shape[axis], dtype=jnp.float32) < corner[axis] + side)
  )
  return inside(0)[:, None] & inside(1)[None, :], corner


def _signs(key, shape):
  return jnp.where(jax.random.bernoulli(key, 0.5, shape), 1.0, -1.0).astype(jnp.float32)


def _linf(radius, window_share, horizon, edges):
  def init(key, example):
    _, width, channels = example.image.shape
    stripes = radius * _signs(key, (1, width, channels))
    return jnp.clip(example.image + stripes, 0, 1), ()

  def propose(key, example, image, memory, num_asked):
    del memory
    window_key, sign_key = jax.random.split(key)
    height, width, channels = image.shape
    side = window_side(num_asked, window_share, horizon, height * width)
    side = jnp.clip(side, 1, max(min(height, width) - 1, 1))
    window, _ = _window(window_key, side, (height, width), edges)
    up, down = (jnp.clip(example.image + sign * radius, 0, 1) for sign in (1, -1))
    changes = lambda there: ((jnp.abs(there - image) > 1e-7) & window[..., None]).any((0, 1))
    signs = _signs(sign_key, (_REDRAWS, channels))
    useful = jnp.where(signs > 0, changes(up)[None], changes(down)[None]).any(1)
    chosen = signs[useful.argmax()]
    there = jnp.where(chosen[None, None] > 0, up, down)
    return jnp.where(window[..., None], there, image), jnp.zeros((), bool)

  return Proposals(init, propose, lambda example, image, memory, kept: memory)


def _pyramid_table(size):
  """sum of 1 / k^2 for k = 1..n, at n = 0..size."""
  return np.concatenate([[0], np.cumsum(1 / np.arange(1, size + 1) ** 2)]).astype(np.float32)


def two_lobes(rows: jax.Array, columns: jax.Array, side: jax.Array) -> jax.Array:
  """The published bump of a square: a pyramid up above, one down below, of unit norm.

  Args:
    rows: within the square, int32 [H, W]; outside of it, anything.
    columns: likewise.
    side: of the square, int32 [].

  Returns:
    [H, W], 0 outside of the square.
  """
  table = jnp.asarray(_pyramid_table(max(rows.shape) + 3))
  inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)

  def lobe(first, height):
    peak = (height // 2, side // 2)
    top = jnp.maximum(*peak) + 1
    ring = jnp.maximum(jnp.abs(rows - first - peak[0]), jnp.abs(columns - peak[1]))
    here = inside & (rows >= first) & (rows < first + height)
    heights = table[top] - table[jnp.clip(ring, 0, top)]
    heights = jnp.where(here, heights, 0)
    return heights / jnp.maximum(geometry.l2(heights), 1e-12)

  upper = side // 2
  bump = lobe(0, upper) - lobe(upper, side - upper)
  return bump / jnp.maximum(geometry.l2(bump), 1e-12)


def _bump(key, corner, side, shape):
  """`two_lobes` at a corner, standing or lying at random."""
  rows, columns = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.int32) for n in shape), indexing="ij")
  rows, columns = rows - corner[0], columns - corner[1]
  lying = jax.random.bernoulli(key)
  return two_lobes(
    jnp.where(lying, columns, rows), jnp.where(lying, rows, columns), jnp.int32(side)
  )


def _to_sphere(perturbation, image, radius):
  scale = radius / jnp.maximum(geometry.l2(perturbation), 1e-12)
  return jnp.clip(image + scale * perturbation, 0, 1)


def _tiles(key, shape):
  """The first perturbation in l2: 5 x 5 bumps, each with signs of its own."""
  height, width, channels = shape
  side = min(height, width) // _TILES
  index = jnp.arange(side, dtype=jnp.int32)
  rows = jnp.broadcast_to(index[:, None], (side, side))
  standing = two_lobes(rows, rows.T, jnp.int32(side))
  lying_key, sign_key = jax.random.split(key)
  lying = jax.random.bernoulli(lying_key, 0.5, (_TILES, _TILES, 1, 1))
  bumps = jnp.where(lying, standing.T[None, None], standing[None, None])
  signs = _signs(sign_key, (_TILES, _TILES, channels))
  tiles = bumps[..., None] * signs[:, :, None, None]
  whole = tiles.transpose(0, 2, 1, 3, 4).reshape(_TILES * side, _TILES * side, channels)
  above, left = ((n - _TILES * side) // 2 for n in (height, width))
  below, right = height - _TILES * side - above, width - _TILES * side - left
  return jnp.pad(whole, ((above, below), (left, right), (0, 0)))


def _l2(radius, window_share, horizon, edges):
  def init(key, example):
    if min(example.image.shape[:2]) < _SMALLEST_SIDE:
      raise ValueError(
        f"square in l2 needs images of at least {_SMALLEST_SIDE} pixels a side, not "
        f"{example.image.shape[0]} x {example.image.shape[1]}: use norm='linf'"
      )
    return _to_sphere(_tiles(key, example.image.shape), example.image, radius), ()

  def propose(key, example, image, memory, num_asked):
    del memory
    first_key, second_key, bump_key, sign_key = jax.random.split(key, 4)
    height, width, channels = image.shape
    side = jnp.maximum(window_side(num_asked, window_share, horizon, height * width), 3)
    largest = (min(height, width) - 2) // 2 * 2 + 1  # odd, and below the image's
    side = jnp.minimum(jnp.where(side % 2 == 0, side + 1, side), largest)
    window, corner = _window(first_key, side, (height, width), edges)
    other, _ = _window(second_key, side, (height, width), edges)
    window, other = window[..., None], other[..., None]
    perturbation = image - example.image
    norms = lambda mask: jnp.sqrt(jnp.square(jnp.where(mask, perturbation, 0)).sum((0, 1)))
    unused = jnp.maximum(radius**2 - jnp.square(geometry.l2(perturbation)), 0) / channels
    budget = jnp.sqrt(unused + jnp.square(norms(window | other)))
    corner = corner.astype(jnp.int32)
    bump = _bump(bump_key, corner, side.astype(jnp.int32), (height, width))[..., None]
    kept = jnp.where(window, perturbation, 0) / (1e-10 + norms(window))[None, None]
    new = bump * _signs(sign_key, (1, 1, channels)) + kept
    size = jnp.sqrt(jnp.square(new).sum((0, 1), keepdims=True))
    new = new / jnp.maximum(size, 1e-12) * budget[None, None]
    moved = jnp.where(window, new, jnp.where(other, 0, perturbation))
    return _to_sphere(moved, example.image, radius), jnp.zeros((), bool)

  return Proposals(init, propose, lambda example, image, memory, kept: memory)


@factory
def square(
  objective: Objective,
  *,
  radius: float = 0.05,
  norm: str = "linf",
  window_share: float | None = None,
  horizon: int = 10_000,
  edges: bool = False,
  comparison: str = "cached",
  lead: int = 1,
  start: Transferred | None = None,
) -> Attack:
  """The Square attack, whole, until the first success.

  Random search at the ball's surface: in `linf` each channel of a random window is set to
  the image plus or minus the radius, in `l2` a bump takes the mass of two windows. As
  published, the loss of the best image so far is cached; an attacker who knows of output
  noise compares otherwise: see `wrappers.hill_climbing.hill_climb`.

  Args:
    objective: `objectives.margin` untargeted, `cross_entropy` targeted, in the reference.
    radius: of the ball, in units of [0, 1]: 0.05 and 5 for ImageNet in the reference.
    norm: `linf` or `l2`.
    window_share: of the image, in the first windows: 0.05 for ImageNet (l2: 0.1, the
      default there), 0.3 for small networks, 0.8 for robust ones.
    horizon: queries over which the windows shrink: after 10, 50, 200, ... 8000 of 10,000
      their area is halved. Every row asked counts.
    edges: let windows reach the last row and column, which published windows never touch.
    comparison: "cached", as published; "asked_again" or "sequential".
    lead: of looks that say success, before one is believed: 1, as published, is a single
      look; see `theory.vote_lead`.
    start: where it begins, once brought into the ball: what `attacks.transferred` found on other
      networks; by default at random stripes (l2: bumps) as published.

  Returns:
    An `Attack` that asks one row a step, or two unless `comparison` is "cached".

  Raises:
    ValueError: the norm or the comparison is unknown, a number that no attack can use, or
      an image too small for l2.

  References:
    Andriushchenko et al. (2020), algorithms 1 to 3, and `attack.py` of their code.
  """
  geometry.check_norm(norm)
  window_share = (0.05 if norm == "linf" else 0.1) if window_share is None else window_share
  make = _linf if norm == "linf" else _l2
  proposals = make(radius, window_share, horizon, edges)
  if start is not None:
    inside = lambda key, example: geometry.project(start(key, example), example.image, radius, norm)
    proposals = proposals._replace(init=lambda key, example: (inside(key, example), ()))
  search = hill_climbing.hill_climb(proposals, objective, comparison=comparison, lead=lead)
  search = hill_climbing.whole(search, objective, comparison=comparison, lead=lead)
  return wrappers.until_success(ask_tell.from_ask_tell(search))
