"""What an attacker who knows of the noise believes: votes, and tests of who is better.

Both go on for as many looks as they need, and stop at a cap. A look is charged like any
other row; shapes are static, so that a test takes several steps of an attack.
"""

from collections.abc import Callable
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks.steps import ask_tell
from orjax.attacks.steps.ask_tell import AskTell
from orjax.types import Objective


class Verdict(NamedTuple):
  """Whether a test is over, and if so whether it says yes: both bool []."""

  decided: jax.Array
  yes: jax.Array


class VoteState(NamedTuple):
  """Votes for minus votes against, and looks so far: both int32 []."""

  lead: jax.Array
  num_looks: jax.Array


class Vote(NamedTuple):
  """A vote on one image.

  Attributes:
    init: `init() -> VoteState`.
    add: `add(state, agreed bool [B], extra int32 []) -> (state, Verdict)`; a yes needs a
      lead that is greater by `extra`.
  """

  init: Callable[[], VoteState]
  add: Callable[[VoteState, jax.Array, jax.Array], tuple[VoteState, Verdict]]


def vote(*, lead: int = 4, max_looks: int = 64) -> Vote:
  """Looks again until one side leads by so many; what stays undecided is a no.

  Where one answer is wrong with probability e < 1/2, so is the vote with probability
  1 / (1 + ((1 - e) / e)^lead): `theory.vote_error`; `theory.vote_lead` inverts it.

  Args:
    lead: by how much one side must lead; 1 believes a single look.
    max_looks: the cap.

  Returns:
    A `Vote`.

  Raises:
    ValueError: the lead is below 1, or more than the cap.

  References:
    Wald (1945), the sequential probability ratio test of a coin.
  """
  if not 1 <= lead <= max_looks:
    raise ValueError(f"lead must be at least 1 and at most max_looks={max_looks}, not {lead}")

  def init():
    return VoteState(jnp.int32(0), jnp.int32(0))

  def add(state, agreed, extra):
    state = VoteState(
      state.lead + jnp.where(agreed, 1, -1).sum().astype(jnp.int32), state.num_looks + len(agreed)
    )
    yes = state.lead >= lead + extra
    return state, Verdict(yes | (state.lead <= -lead) | (state.num_looks >= max_looks), yes)

  return Vote(init, add)


def caution(num_votes: jax.Array) -> jax.Array:
  """Votes that the k-th vote of a trial needs on top: 2 floor(log2 k), int32 [].

  Whoever votes often enough wins by luck. With this, and flip rates up to 1/3, the k-th
  vote of a trial goes wrong at most 4 / k^2 times as often as the first, and all of them
  together less than twice as often.

  Args:
    num_votes: k, int32 [], at least 1.
  """
  return 2 * (31 - jax.lax.clz(num_votes))


class Looks(NamedTuple):
  """A sum of numbers, float32 [], and of how many, int32 []."""

  total: jax.Array
  count: jax.Array

  def mean(self):
    return self.total / jnp.maximum(self.count, 1).astype(self.total.dtype)


def no_looks() -> Looks:
  """None yet."""
  return Looks(jnp.float32(0), jnp.int32(0))


def look(looks: Looks, value: jax.Array) -> Looks:
  """One more; what is no number, or infinite, is no look."""
  fine = jnp.isfinite(value)
  return Looks(looks.total + jnp.where(fine, value, 0), looks.count + fine.astype(jnp.int32))


def better(
  old: Looks,
  new: Looks,
  loss_variance: jax.Array,
  gain: jax.Array,
  *,
  error: float = 0.05,
  max_looks: int = 16,
) -> Verdict:
  """Whether the new image's loss is below the old one's: a sequential test.

  Stops where the log likelihood ratio of "better by `gain`" against "worse by `gain`"
  exceeds ln((1 - error) / error). With as many looks at both, this is a sum of paired
  differences that stops at loss_variance ln((1 - error) / error) / gain; looks at the
  old image from earlier tests make it shorter. Without noise the first looks decide.

  Args:
    old: losses of the old image. They must be fresh: the answers by which it was
      selected are too good (the winner's curse).
    new: losses of the new image.
    loss_variance: of one loss.
    gain: how much better a better image usually is, above 0.
    error: how often the worse may win.
    max_looks: at the new image; then the smaller mean wins.

  Returns:
    A `Verdict`.

  References:
    Wald (1945), the sequential probability ratio test.
  """
  difference = new.mean() - old.mean()
  spread = sum(1 / jnp.maximum(looks.count, 1).astype(jnp.float32) for looks in (old, new))
  evidence = 2 * gain * jnp.abs(difference)
  enough = evidence >= loss_variance * spread * math.log((1 - error) / error)
  seen = (old.count > 0) & (new.count > 0)
  return Verdict((seen & enough) | (new.count >= max_looks), seen & (difference < 0))


class VotedState(NamedTuple):
  """The wrapped state, the vote, whether it is on, and votes begun int32 []."""

  inner: Any
  vote: VoteState
  voting: jax.Array
  num_votes: jax.Array
  adversarial: jax.Array


def voted(search: AskTell, objective: Objective, *, rule: Vote) -> AskTell:
  """Believes a success only after a vote on it; meanwhile the search stands still.

  Otherwise one lucky answer about a harmless image ends the search. All rows of a step
  look at the image in question, and each vote of a trial needs a greater lead than the
  one before (see `caution`), but no greater one to be lost.

  Args:
    search: what is wrapped; its `adversarial` must be the image it judged.
    objective: whose `achieved` is voted on.
    rule: from `vote`.

  Returns:
    An `AskTell` that asks as many rows a step as `search`.
  """

  def init(key, example):
    inner = search.init(key, example)
    return VotedState(inner, rule.init(), jnp.zeros((), bool), jnp.int32(0), inner.adversarial)

  def ask(key, example, state):
    images, notes = search.ask(key, example, state.inner)
    return jnp.where(state.voting, state.inner.adversarial[None], images), notes

  def tell(example, state, notes, rows):
    inner, info = search.tell(example, state.inner, notes, rows)
    inner = ask_tell.select(state.voting, state.inner, inner)
    agreed = ask_tell.achieved(objective, rows, example.label)
    votes, verdict = rule.add(state.vote, agreed, caution(jnp.maximum(state.num_votes, 1)))
    called = ~state.voting & info.success
    voting = called | (state.voting & ~verdict.decided)
    loss = jnp.where(
      state.voting, ask_tell.losses(objective, rows, example.label).mean(), info.loss
    )
    return VotedState(
      inner,
      ask_tell.select(state.voting, votes, rule.init()),
      voting,
      state.num_votes + called.astype(jnp.int32),
      inner.adversarial,
    ), ask_tell.report(
      loss,
      state.voting & verdict.yes,
      info.finished & ~state.voting & ~called,
      info.learnt | state.voting,
    )

  return AskTell(init, ask, tell)
