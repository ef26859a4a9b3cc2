"""APGD: projected gradient descent that chooses its own step sizes, also under noise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax import objectives
from orjax.attacks.steps import ask_tell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective
from orjax.types import StepInfo
from orjax.types import teaches

COMPARISONS = ("cached", "same_draws")
_RANK, _RUN, _VOTE = range(3)  # what a step is about
_SHARE = 0.75  # of the new direction, beside the momentum
_ROSE = 0.75  # of the steps of a window that must improve the loss


class ApgdState(NamedTuple):
  """Where it is, its best, and what the window in progress knows.

  Attributes:
    phase: int32 [].
    image, previous: where it is and was before [H, W, C].
    gradient: there [H, W, C].
    best, best_gradient: the point of the lowest loss and its gradient [H, W, C].
    loss, best_loss: of the last point and the best, as they were seen then [].
    step_size: [].
    num_steps: of this round, the start included, int32 [].
    num_better: steps of this window that were better than the one before, int32 [].
    in_window, window: steps taken in it, and its length, int32 [].
    improved: the best has changed in this window, bool [].
    reduced: the step was halved at the last checkpoint, bool [].
    num_rounds: rounds done, int32 [].
    targets: classes that the rounds aim at, int32 [T].
    vote: in progress.
    adversarial: the image judged last [H, W, C].
  """

  phase: jax.Array
  image: jax.Array
  previous: jax.Array
  gradient: jax.Array
  best: jax.Array
  best_gradient: jax.Array
  loss: jax.Array
  best_loss: jax.Array
  step_size: jax.Array
  num_steps: jax.Array
  num_better: jax.Array
  in_window: jax.Array
  window: jax.Array
  improved: jax.Array
  reduced: jax.Array
  num_rounds: jax.Array
  targets: jax.Array
  vote: votes.VoteState
  adversarial: jax.Array


class _Numbers(NamedTuple):
  radius: float
  norm: str
  num_steps: int
  num_rounds: int
  num_draws: int
  paired: bool
  lead: int


# loss(row [K], label, target) -> []
_Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def _begin(key, image, numbers):
  """A random point of the ball's surface."""
  if numbers.norm == "linf":
    draw = jax.random.uniform(key, image.shape, image.dtype, -1, 1)
    draw = draw / jnp.maximum(geometry.linf(draw), 1e-12)
  else:
    draw = geometry.steepest(jax.random.normal(key, image.shape, image.dtype), "l2")
  return geometry.project(image + numbers.radius * draw, image, numbers.radius, numbers.norm)


def _round(key, image, numbers, phase, num_rounds, targets):
  """The state at the start of a round."""
  begin = _begin(key, image, numbers)
  zero, none, false = jnp.float32(0), jnp.int32(0), jnp.zeros((), bool)
  nothing = jnp.zeros_like(image)
  window = jnp.int32(max(int(0.22 * numbers.num_steps), 1))
  return ApgdState(
    phase, begin, begin, nothing, begin, nothing, zero, jnp.float32(jnp.inf),
    jnp.float32(2 * numbers.radius), none, none, none, window, false, jnp.ones((), bool),
    num_rounds, targets, votes.VoteState(none, none), begin,
  )  # fmt: skip


def _moved(state, image, numbers):
  """A step against the gradient, with momentum, inside the ball."""
  into = lambda point: geometry.project(point, image, numbers.radius, numbers.norm)
  step = state.step_size * geometry.steepest(state.gradient, numbers.norm)
  share = jnp.where(state.num_steps == 1, 1.0, _SHARE)
  momentum = (1 - share) * (state.image - state.previous)
  moved = into(state.image + share * (into(state.image - step) - state.image) + momentum)
  return jnp.where(state.num_steps == 0, state.image, moved)


class _Seen(NamedTuple):
  """Of the new point, the one before and the best: losses []; of the new one the rest."""

  loss: jax.Array
  before: jax.Array
  best: jax.Array
  gradient: jax.Array
  rows: jax.Array


def _seen(key, oracle, loss_of, points, state, label, numbers):
  """Asks about a point, the one before and the best; with cached losses the first only."""
  target = state.targets[jnp.minimum(state.num_rounds, len(state.targets) - 1)]

  def ask(image):  # the same key each time: points are compared under common draws
    copies = jnp.broadcast_to(image[None], (numbers.num_draws, *image.shape))
    rows = oracle.query(jax.random.clone(key), copies)
    losses = jax.vmap(loss_of, in_axes=(0, None, None))(rows, label, target)
    return losses.mean(), (losses, rows)

  new, before, best = points
  (mean, (losses, rows)), gradient = jax.value_and_grad(ask, has_aux=True)(new)
  gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
  if not numbers.paired:  # the gradient of all draws, the loss of the last, as published
    return _Seen(losses[-1], state.loss, state.best_loss, gradient, rows[-1:])
  (before, (_, others)), (best, (_, more)) = ask(before), ask(best)
  return _Seen(mean, before, best, gradient, jnp.concatenate([rows, others, more]))


def _checkpoint(state, numbers):
  """At the end of a window: halves the step if it helped too little, and goes back."""
  num = numbers.num_steps
  shrinkage, least = max(int(0.03 * num), 1), max(int(0.06 * num), 1)
  rarely = state.num_better.astype(jnp.float32) <= _ROSE * state.window.astype(jnp.float32)
  halve = rarely | (~state.reduced & ~state.improved)
  back = state._replace(
    step_size=state.step_size / 2, image=state.best, gradient=state.best_gradient
  )
  checked = ask_tell.select(halve, back, state)._replace(
    num_better=jnp.int32(0),
    in_window=jnp.int32(0),
    window=jnp.maximum(state.window - shrinkage, least),
    improved=jnp.zeros((), bool),
    reduced=halve,
  )
  return ask_tell.select(state.in_window == state.window, checked, state)


def _finite(loss):
  return jnp.where(jnp.isfinite(loss), loss, jnp.inf)


def _told(state, new, seen, numbers):
  """The state after the new point was seen."""
  first = state.num_steps == 0
  record = first | (seen.loss < seen.best)
  better = ~first & (seen.loss < seen.before)
  state = state._replace(
    image=new,
    previous=state.image,
    gradient=seen.gradient,
    best=jnp.where(record, new, state.best),
    best_gradient=jnp.where(record, seen.gradient, state.best_gradient),
    loss=_finite(seen.loss),
    best_loss=_finite(jnp.where(record, seen.loss, seen.best)),
    num_steps=state.num_steps + 1,
    num_better=state.num_better + better.astype(jnp.int32),
    in_window=state.in_window + (~first).astype(jnp.int32),
    improved=state.improved | (record & ~first),
    adversarial=new,
  )
  return _checkpoint(state, numbers)


def _apgd(objective, loss_of: _Loss, num_targets, numbers):
  rule = votes.vote(lead=numbers.lead, max_looks=max(64, 8 * numbers.num_draws))
  first_phase = jnp.int32(_RANK if num_targets else _RUN)
  num_rows = numbers.num_draws * (3 if numbers.paired else 1)

  def init(key, example):
    targets = jnp.zeros(max(num_targets, 1), jnp.int32)
    return _round(key, example.image, numbers, first_phase, jnp.int32(0), targets)

  def ranked(state, rows, label):
    """The classes that lead the answers, but the label, as targets."""
    means = rows.mean(0)
    if len(means) <= num_targets:
      raise ValueError(
        f"num_targets={num_targets} is more than the {len(means) - 1} other classes: "
        f"ask for at most that many"
      )
    others = jnp.where(jnp.arange(len(means)) == label, -jnp.inf, means)
    targets = jax.lax.top_k(others, num_targets)[1].astype(jnp.int32)
    return state._replace(phase=jnp.int32(_RUN), targets=targets)

  def after_vote(state, agreed, again):
    """The vote on the best point goes on, or the next round begins."""
    vote, verdict = rule.add(state.vote, agreed, votes.caution(state.num_rounds + 1))
    voted = ask_tell.select(verdict.decided, again, state._replace(vote=vote))
    voting = state.phase == _VOTE
    return (
      voted._replace(adversarial=state.best),
      voting & verdict.decided & verdict.yes,
      voting & verdict.decided,
    )

  def step(key, oracle, example, state):
    query_key, round_key = jax.random.split(key)
    image, label, running = example.image, example.label, state.phase == _RUN
    new = jax.lax.select_n(state.phase, image, _moved(state, image, numbers), state.best)
    before, best = (jnp.where(running, x, new) for x in (state.adversarial, state.best))
    seen = _seen(query_key, oracle, loss_of, (new, before, best), state, label, numbers)
    agreed = ask_tell.achieved(objective, seen.rows, label)
    told = _told(state, new, seen, numbers)
    over = running & (told.num_steps > numbers.num_steps)
    again = _round(round_key, image, numbers, jnp.int32(_RUN), state.num_rounds + 1, state.targets)
    voted, success, last = after_vote(state, agreed, again)
    if numbers.paired:
      told = ask_tell.select(over, told._replace(phase=jnp.int32(_VOTE)), told)
    else:
      told = ask_tell.select(over, again._replace(adversarial=new), told)
      success, last = running & agreed[0], over
    ranking = ranked(state, seen.rows, label) if num_targets else state
    after = jax.tree.map(
      lambda *leaves: jax.lax.select_n(state.phase, *leaves), ranking, told, voted
    )
    return after, StepInfo(
      seen.loss,
      success,
      success | (last & (state.num_rounds + 1 >= numbers.num_rounds)),
      jnp.int32(num_rows * oracle.queries_per_row),
      ~running | agreed.any() | teaches(seen.gradient),
    )

  return Attack(init, step)


def _checked(radius, norm, num_steps, num_rounds, num_draws, comparison, lead):
  geometry.check_norm(norm)
  if comparison not in COMPARISONS:
    raise ValueError(f"comparison must be one of {', '.join(COMPARISONS)}, not {comparison!r}")
  paired = comparison == "same_draws"
  if lead > 1 and not paired:
    raise ValueError("a vote needs comparison='same_draws': a cached attack believes one look")
  return _Numbers(radius, norm, num_steps, num_rounds, num_draws, paired, lead)


@factory
def apgd(
  objective: Objective,
  *,
  radius: float = 8 / 255,
  norm: str = "linf",
  num_steps: int = 100,
  num_restarts: int = 1,
  num_draws: int = 1,
  comparison: str = "cached",
  lead: int = 1,
) -> Attack:
  """The Auto-PGD attack, whole, through exact gradients.

  Steps of twice the radius with momentum, from a random start on the ball's surface. At
  checkpoints the step is halved, and it goes back to the best point, if the loss got
  better in at most three quarters of the steps since, or the best did not change.

  As published with `num_draws` above 1 (20 in AutoAttack's "rand") only the gradient is
  averaged: the loss, and with it the best point and every checkpoint, is that of the
  last draw, and any lucky miss is a success. With `comparison="same_draws"` all of them
  are means over the same draws; points are compared under common draws; and only the
  best point is put to a vote, at the end.

  Args:
    objective: on logits: `objectives.logit_cross_entropy` (also `by_margin`) or
      `objectives.dlr` in the reference. On probabilities ask `oracles.log_answers`.
    radius: of the ball, in units of [0, 1].
    norm: `linf` or `l2`.
    num_steps: from each start.
    num_restarts: starts, each drawn anew.
    num_draws: answers to each point.
    comparison: "cached", as published, or "same_draws".
    lead: of the vote at the end; see `theory.vote_lead`.

  Returns:
    An `Attack` that asks num_draws rows a step, num_restarts (num_steps + 1) steps; with
    "same_draws" three times as many rows (the point, the one before, the best), and a few
    steps more for the votes. (In the reference the first step is compared with a loss of
    0, here with the start's.)

  Raises:
    ValueError: a number that no attack can use, or a vote on cached losses.

  References:
    Croce and Hein (2020), algorithm 1, and `autopgd_base.py` of AutoAttack.
  """
  numbers = _checked(radius, norm, num_steps, num_restarts, num_draws, comparison, lead)
  return _apgd(objective, lambda row, label, target: objective.loss(row, label), 0, numbers)


@factory
def apgd_targeted(
  *,
  radius: float = 8 / 255,
  norm: str = "linf",
  num_steps: int = 100,
  num_targets: int = 9,
  num_draws: int = 1,
  comparison: str = "cached",
  lead: int = 1,
) -> Attack:
  """Auto-PGD on the targeted DLR loss, whole: one round for each of the likeliest classes.

  (z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) for the true class y and a target t. The
  attack itself is untargeted: any other class is a success.

  Args:
    radius, norm, num_steps, num_draws, comparison, lead: as in `apgd`.
    num_targets: classes, in the order of the answer to the image, for which the first
      step asks.

  Returns:
    An `Attack` as `apgd`, with num_targets rounds.

  Raises:
    ValueError: as `apgd`; or fewer than four classes, or not so many targets.

  References:
    Croce and Hein (2020), section 4; `autopgd_base.py` of AutoAttack.
  """
  numbers = _checked(radius, norm, num_steps, num_targets, num_draws, comparison, lead)

  def loss_of(row, label, target):
    if row.shape[-1] < 4:
      raise ValueError(f"the targeted DLR loss needs four classes or more, not {row.shape[-1]}")
    top = jax.lax.top_k(row, 4)[0]
    return (row[label] - row[target]) / (top[0] - (top[2] + top[3]) / 2 + 1e-12)

  untargeted = Objective(lambda row, label: row[label], objectives.achieved(False))
  return _apgd(untargeted, loss_of, num_targets, numbers)
