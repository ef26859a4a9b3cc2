"""RayS: the nearest corner direction, from labels alone."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks.steps import ask_tell
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_TRY, _BISECT, _CHECK = 0, 1, 2  # what the rows of a step are about
_CHECK_EVERY = 20  # directions tried, between votes on the record
_SETBACK = 1.05  # of a record that loses its vote


class RaysState(NamedTuple):
  """The best signs [H, W, C] and how far along them the boundary is (l2) [].

  `found`: there is such a record; `level` and `block`: which block of signs is tried next,
  int32 []; `low` and `high`: of the bisection along it; `phase` int32 []; the vote in
  progress, directions tried and votes taken on a record, int32 [].
  """

  signs: jax.Array
  distance: jax.Array
  found: jax.Array
  level: jax.Array
  block: jax.Array
  low: jax.Array
  high: jax.Array
  phase: jax.Array
  vote: votes.VoteState
  num_tried: jax.Array
  num_checks: jax.Array
  adversarial: jax.Array


def _block(state, size):
  """The bounds of the block to flip, int32 [], of an image with `size` entries."""
  length = (size + (1 << state.level) - 1) >> state.level
  start = state.block * length
  return start, jnp.minimum(start + length, size)


def _flipped(state):
  """The best signs with the block flipped."""
  start, end = _block(state, state.signs.size)
  index = jnp.arange(state.signs.size, dtype=jnp.int32).reshape(state.signs.shape)
  return jnp.where((index >= start) & (index < end), -state.signs, state.signs)


def _next_block(state):
  size = state.signs.size
  _, end = _block(state, size)
  last = (state.block + 1 == 1 << state.level) | (end == size)
  finest = math.ceil(math.log2(size))
  return state._replace(
    level=jnp.where(last, jnp.minimum(state.level + 1, finest), state.level),
    block=jnp.where(last, 0, state.block + 1),
    num_tried=state.num_tried + 1,
    phase=jnp.int32(_TRY),
  )


def _along(image, signs, distance):
  """The image moved so far (l2) along the signs, inside the box."""
  return jnp.clip(image + distance / math.sqrt(signs.size) * signs, 0, 1)


def _tried(state, yes):
  """After the vote on a new direction at the record's distance."""
  bisecting = state._replace(low=jnp.float32(0), high=state.distance, phase=jnp.int32(_BISECT))
  return ask_tell.select(yes, bisecting, _next_block(state))


def _bisected(state, yes, tolerance):
  """After a vote in between: a shorter interval, or a record and the next block."""
  middle = (state.low + state.high) / 2
  low, high = jnp.where(yes, state.low, middle), jnp.where(yes, middle, state.high)
  state = state._replace(low=low, high=high)
  record = (high < state.distance) | ~state.found
  recorded = _next_block(
    state._replace(
      signs=jnp.where(record, _flipped(state), state.signs),
      distance=jnp.where(record, high, state.distance),
      found=jnp.ones((), bool),
    )
  )
  # An interval that floating point cannot halve is over, too.
  over = (high - low <= tolerance) | ((low + high) / 2 <= low) | ((low + high) / 2 >= high)
  return ask_tell.select(over, recorded, state)


def _rays(objective, radius, tolerance, rule, checking, num_rows):
  def limit(state):
    return math.inf if radius is None else radius * math.sqrt(state.signs.size)

  def within(state):
    return state.found & (state.distance <= limit(state))

  def held(state):
    """How far along the record's signs lies what is voted on, and handed in."""
    if radius is None or not checking:
      return state.distance
    return jnp.where(within(state), jnp.float32(limit(state)), state.distance)

  def init(key, example):
    del key
    zero, far = jnp.int32(0), jnp.float32(math.sqrt(example.image.size))
    ones = jnp.ones_like(example.image)
    return RaysState(
      ones,
      far,
      jnp.zeros((), bool),
      zero,
      zero,
      jnp.float32(0),
      far,
      jnp.int32(_TRY),
      rule.init(),
      zero,
      zero,
      example.image,
    )

  def ask(key, example, state):
    del key
    middle = (state.low + state.high) / 2
    distance = jnp.where(state.phase == _BISECT, middle, state.distance)
    distance = jnp.where(state.phase == _CHECK, held(state), distance)
    signs = jnp.where(state.phase == _CHECK, state.signs, _flipped(state))
    image = _along(example.image, signs, distance)
    return jnp.broadcast_to(image[None], (num_rows, *image.shape)), None

  def moved(example, state, yes):
    """What the verdict of a vote leads to: the new state, and whether it is a success."""
    checked = state.phase == _CHECK
    setback = jnp.minimum(_SETBACK * state.distance, math.sqrt(state.signs.size))
    after_check = state._replace(
      distance=jnp.where(yes, state.distance, setback), phase=jnp.int32(_TRY)
    )
    new = ask_tell.select(state.phase == _TRY, _tried(state, yes), _bisected(state, yes, tolerance))
    if checking:
      improved = new.found & (~state.found | (new.distance < state.distance))
      due = (new.num_tried > state.num_tried) & (new.num_tried % _CHECK_EVERY == 0)
      wanted = new.found & (due | (improved & (within(new) | ~state.found)))
      new = new._replace(
        phase=jnp.where(wanted, _CHECK, new.phase),
        num_checks=new.num_checks + wanted.astype(jnp.int32),
      )
    new = ask_tell.select(checked, after_check, new)
    success = within(new) & (checked & yes if checking else True)
    image = _along(example.image, new.signs, held(new))
    return new._replace(
      vote=rule.init(), adversarial=jnp.where(new.found, image, example.image)
    ), success

  def tell(example, state, notes, rows):
    agreed = ask_tell.achieved(objective, rows, example.label)
    extra = jnp.where(state.phase == _CHECK, votes.caution(jnp.maximum(state.num_checks, 1)), 0)
    vote, verdict = rule.add(state.vote, agreed, extra)
    waiting = state._replace(vote=vote)
    new, success = moved(example, state, verdict.yes)
    new = ask_tell.select(verdict.decided, new, waiting)
    success &= verdict.decided
    loss = ask_tell.known(new.distance / math.sqrt(new.signs.size), rows)
    return new, ask_tell.report(loss, success, success & (radius is not None))

  return AskTell(init, ask, tell)


@factory
def rays(
  objective: Objective,
  *,
  radius: float | None = None,
  tolerance: float = 1e-3,
  lead: int = 1,
  num_rows: int = 1,
) -> Attack:
  """The Ray Searching attack, whole: the nearest boundary along a vector of signs.

  Flips the signs of ever smaller blocks; where the image at the record's distance along
  the new direction is still a success, it bisects for the new record. It uses labels
  only. Blocks run over height, width, channels in this order (channels first in the
  reference).

  Single looks under noise let the record fall to 0 by lucky flips. With `lead` above 1
  every question is put to a vote, and the record itself after every 20 directions and
  before it is claimed; if it loses, its distance grows by 5 %. Within a ball the vote is on the
  edge of the ball along the record's signs, which is handed in: on the boundary, where the record
  lies, every second answer says success, and a vote proves little.

  Args:
    objective: only its `achieved` is used.
    radius: in l_inf, at which it stops; None goes on for the smallest distance.
    tolerance: of a bisection, in l2; 1e-3 in the reference.
    lead: of every vote: see `theory.vote_lead`; 1, as published, is a single look.
    num_rows: looks a step, all at the same image.

  Returns:
    An `Attack` that asks `num_rows` rows a step. While nothing was found it would hand in
    the image as it is.

  Raises:
    ValueError: a number that no attack can use.

  References:
    Chen and Gu (2020), algorithms 1 to 3, and `RayS.py` of their code.
  """
  rule = votes.vote(lead=lead)
  return ask_tell.from_ask_tell(_rays(objective, radius, tolerance, rule, lead > 1, num_rows))
