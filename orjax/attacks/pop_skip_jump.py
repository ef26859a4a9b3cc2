"""PopSkipJump, lite: along the boundary from labels alone, with noise in mind."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.attacks import starts
from orjax.attacks.starts import Start
from orjax.attacks.steps import ask_tell
from orjax.attacks.steps import boundary
from orjax.attacks.steps import draws
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_START, _SEARCH, _CHECK, _PROBE = range(4)  # what the rows of a step are about
_PROBE_SHARE = 0.25  # length of a probe over the distance from the image
_OVERSHOOT = 1.5  # how far out the next search begins, over where the step led
_SURE = 0.9  # mass on a cell and its neighbours that ends a search
_LEAST_RIGHT, _MOST_RIGHT = 0.7, 0.99  # of an answer away from the boundary
_MOST_PROBES = 10  # times as many as without noise, of one estimate
_FORGET = 0.7  # of what earlier searches said of the flip rate
_MOST_SLACK = 32  # cells beyond the boundary that are handed in


class PopSkipJumpState(NamedTuple):
  """Where it is, and what the phase in progress knows.

  Attributes:
    phase: int32 [].
    iteration: int32 [].
    outer: the end of the line that is searched [H, W, C].
    log_odds: log posterior of the boundary's cell on the line, up to a constant [N].
    successes, failures: answers at each edge of a cell [N + 1].
    flips, looks: wrong answers and answers, over earlier searches [].
    share: of the line, where the boundary was found [].
    slack: cells beyond it that the image to hand in lies, int32 [].
    vote: in progress.
    num_votes: on images to hand in, int32 [].
    signs, squares: sums over probes of labels +-1 and of squared lengths [].
    total, product: sums of directions, and of labels times directions [H, W, C].
    num_probes: int32 [].
    distance: of the best image that was voted for; infinite while there is none [].
    adversarial: that image, or the image as it is [H, W, C].
  """

  phase: jax.Array
  iteration: jax.Array
  outer: jax.Array
  log_odds: jax.Array
  successes: jax.Array
  failures: jax.Array
  flips: jax.Array
  looks: jax.Array
  share: jax.Array
  slack: jax.Array
  vote: votes.VoteState
  num_votes: jax.Array
  signs: jax.Array
  squares: jax.Array
  total: jax.Array
  product: jax.Array
  num_probes: jax.Array
  distance: jax.Array
  adversarial: jax.Array


class _Numbers(NamedTuple):
  norm: str
  cells: int
  first_probes: int
  num_iterations: int
  radius: float | None
  num_rows: int


def _right(state):
  """How often an answer away from the boundary is right, as the searches so far have it."""
  return jnp.clip(1 - (state.flips + 1) / (state.looks + 10), _LEAST_RIGHT, _MOST_RIGHT)


def _edges(state, num_rows):
  """The edges of cells that split the posterior into equal parts: int32 [num_rows]."""
  below = jnp.cumsum(jax.nn.softmax(state.log_odds))
  wanted = jnp.arange(1, num_rows + 1, dtype=jnp.float32) / (num_rows + 1)
  return jnp.abs(below[None] - wanted[:, None]).argmin(1).astype(jnp.int32) + 1


def _searched(state, edges, agreed, numbers):
  """Adds answers; ends the search when a cell and its neighbours hold nearly all."""
  cells = jnp.arange(numbers.cells, dtype=jnp.int32)
  right = _right(state)
  # A success at an edge says that the boundary is below it.
  fits = (cells[None] < edges[:, None]) == agreed[:, None]
  log_odds = state.log_odds + jnp.where(fits, jnp.log(right), jnp.log1p(-right)).sum(0)
  log_odds = log_odds - log_odds.max()
  yes = agreed.astype(jnp.float32)
  state = state._replace(
    log_odds=log_odds,
    successes=state.successes.at[edges].add(yes),
    failures=state.failures.at[edges].add(1 - yes),
  )
  posterior = jax.nn.softmax(log_odds)
  best = posterior.argmax().astype(jnp.int32)
  near = jnp.where(jnp.abs(cells - best) <= 1, posterior, 0).sum()
  num_looks = (state.successes + state.failures).sum()
  over = (near >= _SURE) | (num_looks >= 5 * math.log2(numbers.cells))
  return ask_tell.select(over, _found(state, best, numbers), state)


def _found(state, best, numbers):
  """Notes the boundary and the flips away from it; turns to the image to hand in."""
  edges = jnp.arange(numbers.cells + 1, dtype=jnp.int32)
  inside, outside = edges < best, edges > best + 1
  wrong = jnp.where(inside, state.successes, 0) + jnp.where(outside, state.failures, 0)
  judged = jnp.where(inside | outside, state.successes + state.failures, 0)
  return state._replace(
    phase=jnp.int32(_CHECK),
    flips=_FORGET * state.flips + wrong.sum(),
    looks=_FORGET * state.looks + judged.sum(),
    share=(best.astype(jnp.float32) + 0.5) / numbers.cells,
    num_votes=state.num_votes + 1,
  )


def _candidate(state, image, numbers):
  """Just beyond the boundary: what may be handed in."""
  beyond = (0.5 + state.slack.astype(jnp.float32)) / numbers.cells
  return boundary.between(image, state.outer, jnp.minimum(state.share + beyond, 1), numbers.norm)


def _checked(state, yes, image, numbers):
  """After the vote on the candidate; the next estimate begins."""
  candidate = _candidate(state, image, numbers)
  reached = boundary.distance(image, candidate, numbers.norm)
  better = yes & (reached < state.distance)
  more = jnp.clip(2 * state.slack, 1, _MOST_SLACK)
  nothing = jnp.zeros_like(image)
  return state._replace(
    phase=jnp.int32(_PROBE),
    iteration=state.iteration + 1,
    slack=jnp.where(yes, state.slack // 2, more),
    distance=jnp.where(better, reached, state.distance),
    adversarial=jnp.where(better, candidate, state.adversarial),
    signs=jnp.float32(0),
    squares=jnp.float32(0),
    total=nothing,
    product=nothing,
    num_probes=jnp.int32(0),
  )


def _point(state, image, norm):
  return boundary.between(image, state.outer, state.share, norm)


def _probe_length(point, image, norm):
  """A quarter of the distance; in linf as long as a corner that far away."""
  scale = 1.0 if norm == "l2" else math.sqrt(image.size)
  return _PROBE_SHARE * scale * boundary.distance(image, point, norm)


def _probed(state, directions, agreed, image, numbers):
  """Adds probes; with as much information as labels without noise would give, steps."""
  signs = jnp.where(agreed, 1.0, -1.0)
  weighted = signs.reshape(-1, *[1] * image.ndim) * directions
  state = state._replace(
    signs=state.signs + signs.sum(),
    squares=state.squares + jnp.square(directions).sum(),
    total=state.total + directions.sum(0),
    product=state.product + weighted.sum(0),
    num_probes=state.num_probes + numbers.num_rows,
  )
  num = state.num_probes.astype(jnp.float32)
  mean = state.signs / num
  centred = jnp.where(jnp.abs(mean) == 1, state.product, state.product - mean * state.total)
  noise = (1 - jnp.square(mean)) * state.squares / num
  # num a^2, with a the correlation of a label with its probe: theory.label_attenuation.
  information = image.size * (jnp.square(geometry.l2(centred)) / num - noise)
  root = jnp.sqrt(state.iteration.astype(jnp.float32))
  wanted = jnp.floor(numbers.first_probes * root)
  enough = (num >= wanted) & (information >= 2 / math.pi * wanted)
  over = enough | (num >= _MOST_PROBES * wanted)
  return ask_tell.select(over, _stepped(state, centred, root, image, numbers.norm), state)


def _stepped(state, gradient, root, image, norm):
  """The step along the estimate, untested, and beyond: the next line to search."""
  point = _point(state, image, norm)
  length = boundary.distance(image, point, norm) / root
  moved = jnp.clip(point + length * geometry.steepest(gradient, norm), 0, 1)
  return _line(state, jnp.clip(image + _OVERSHOOT * (moved - image), 0, 1))


def _line(state, outer):
  """Begins to search the line to `outer`, knowing nothing."""
  return state._replace(
    phase=jnp.int32(_SEARCH),
    outer=outer,
    log_odds=jnp.zeros_like(state.log_odds),
    successes=jnp.zeros_like(state.successes),
    failures=jnp.zeros_like(state.failures),
  )


def _pop_skip_jump(objective, start, rule, numbers):
  num_rows, norm = numbers.num_rows, numbers.norm

  def init(key, example):
    image, none, zero = example.image, jnp.int32(0), jnp.float32(0)
    nothing = jnp.zeros_like(image)
    edges = jnp.zeros(numbers.cells + 1, jnp.float32)
    return PopSkipJumpState(
      jnp.int32(_START), none, start(key, image), edges[1:], edges, edges, zero, zero,
      jnp.float32(1), none, rule.init(), none, zero, zero, nothing, nothing, none,
      jnp.float32(jnp.inf), image,
    )  # fmt: skip

  def ask(key, example, state):
    start_key, direction_key = jax.random.split(key)
    image, shape = example.image, example.image.shape
    alike = lambda one: jnp.broadcast_to(one[None], (num_rows, *shape))
    edges = _edges(state, num_rows)
    on_line = jax.vmap(boundary.between, in_axes=(None, None, 0, None))(
      image, state.outer, edges.astype(jnp.float32) / numbers.cells, norm
    )
    point = _point(state, image, norm)
    length = _probe_length(point, image, norm)
    directions = boundary.unit_directions(direction_key, num_rows, shape, norm)
    probes = jnp.clip(point[None] + length * directions, 0, 1)
    by_phase = (alike(state.outer), on_line, alike(_candidate(state, image, numbers)), probes)
    images = jnp.clip(jax.lax.select_n(state.phase, *by_phase), 0, 1)
    directions = (probes - point[None]) / jnp.maximum(length, 1e-30)
    return images, (edges, directions, start_key)

  def tell(example, state, notes, rows):
    edges, directions, start_key = notes
    image = example.image
    agreed = ask_tell.achieved(objective, rows, example.label)
    extra = jnp.where(state.phase == _CHECK, votes.caution(jnp.maximum(state.num_votes, 1)), 0)
    vote, verdict = rule.add(state.vote, agreed, extra)
    waiting = state._replace(vote=vote)
    anew = state._replace(vote=rule.init())
    lost = (state.phase == _START) & verdict.decided & ~verdict.yes
    another = draws.where(lost, lambda key: start(key, image), start_key, state.outer)
    begun = ask_tell.select(verdict.yes, _line(anew, state.outer), anew._replace(outer=another))
    after = (
      ask_tell.select(verdict.decided, begun, waiting),
      _searched(state, edges, agreed, numbers),
      ask_tell.select(verdict.decided, _checked(anew, verdict.yes, image, numbers), waiting),
      _probed(state, directions, agreed, image, numbers),
    )
    new = jax.tree.map(lambda *leaves: jax.lax.select_n(state.phase, *leaves), *after)
    limit = jnp.inf if numbers.radius is None else numbers.radius
    success = (new.distance <= limit) & jnp.isfinite(new.distance)
    over = (new.iteration > numbers.num_iterations) & (new.phase == _PROBE)
    finished = over | (success if numbers.radius is not None else False)
    reached = jnp.where(jnp.isfinite(new.distance), new.distance, 0)
    return new, ask_tell.report(ask_tell.known(reached, rows), success, finished)

  return AskTell(init, ask, tell)


@factory
def pop_skip_jump(
  objective: Objective,
  *,
  norm: str = "l2",
  radius: float | None = None,
  first_probes: int = 100,
  num_iterations: int = 32,
  cells: int = 100,
  lead: int = 4,
  start: Start | None = None,
  num_rows: int = 1,
) -> Attack:
  """A lighter PopSkipJump, whole: labels only, with noise, for the smallest distance.

  HopSkipJump with probes a quarter of the distance long (what most of PopSkipJump's
  robustness comes from), a bisection that keeps a posterior over the cells of the line,
  steps that are taken untested and overshot by a half, and as many probes as give the
  information that labels without noise would. An image is handed in only after a vote, a
  little beyond the boundary: farther after a lost vote, nearer after a won one.

  What is simpler than in the reference: the flip rate is one number, learnt from the
  searches; the slope of the labels is not modelled, but the information in the probes is
  estimated from themselves; every search begins with a flat prior.

  Args:
    objective: only its `achieved` is used.
    norm: `l2` or `linf`.
    radius: at which it stops; None goes on for the smallest distance.
    first_probes: B; the j-th normal is estimated from B sqrt(j) probes, or up to ten times
      as many under noise.
    num_iterations: after which it is finished: 32 in the reference.
    cells: of the line that is searched: 100 for MNIST, 300 for CIFAR10 in the reference.
    lead: of votes: see `theory.vote_lead`; 1 believes a single look.
    start: `start(key, image) -> image`, drawn until it wins a vote; low-frequency noise by
      default.
    num_rows: rows a step: so many looks of a vote, quantiles of the posterior, or probes.

  Returns:
    An `Attack` that asks `num_rows` rows a step. While nothing was found it would hand in
    the image as it is.

  Raises:
    ValueError: the norm is unknown, or a number that no attack can use.

  References:
    Simon-Gabriel et al. (2021), and their code; the search is that of Horstein (1963).
  """
  geometry.check_norm(norm)
  if cells < 4:
    raise ValueError(f"cells must be at least 4, not {cells}")
  start = starts.low_frequency_noise() if start is None else start
  numbers = _Numbers(norm, cells, first_probes, num_iterations, radius, num_rows)
  return ask_tell.from_ask_tell(_pop_skip_jump(objective, start, votes.vote(lead=lead), numbers))
