"""Random search: an attack made of proposals, each kept if it looks better.

Three ways to compare. The published one caches the loss of the image it stands on, a
running minimum: under output noise that is too low by 2.5 standard deviations after 100
answers, and nothing is accepted any more. One may ask about both images again at every
comparison; or until a sequential test is sure.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks.steps import ask_tell
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective

COMPARISONS = ("cached", "asked_again", "sequential")
_NUM_GAINS = 20  # whose median is taken for the gain of a better image
_MEMORY = 200  # looks over which the variance of the loss is averaged


class Proposals(NamedTuple):
  """Where to go from an image.

  Attributes:
    init: `init(key, example) -> (image, memory)`: the first image.
    propose: `propose(key, example, image, memory, num_asked int32 []) -> (image, forced)`;
      a forced one is kept whatever it is.
    learn: `learn(example, image, memory, kept) -> memory`, after a proposal was or was not
      kept; `image` is where the search now stands.
  """

  init: Callable[[Key, Example], tuple[jax.Array, Any]]
  propose: Callable[..., tuple[jax.Array, jax.Array]]
  learn: Callable[..., Any]


class Evidence(NamedTuple):
  """The test in progress, of `proposal` [H, W, C] against the image.

  `old` and `new` are looks at either, `squares` the squared deviations whose mean is the
  variance of one loss, `gains` [20] what accepted proposals gained.
  """

  proposal: jax.Array
  forced: jax.Array
  pending: jax.Array
  old: votes.Looks
  new: votes.Looks
  squares: votes.Looks
  gains: jax.Array
  num_gains: jax.Array


class HillClimbState(NamedTuple):
  """The image it stands on [H, W, C], the proposals' memory, the cached loss [].

  Further what a sequential test knows, looks at the image that were successes less those
  that were not, images it stood on, and rows asked, each int32 [].
  """

  image: jax.Array
  memory: Any
  loss: jax.Array
  evidence: Evidence | None
  support: jax.Array
  num_images: jax.Array
  num_asked: jax.Array
  adversarial: jax.Array


def _no_evidence(image):
  false = jnp.zeros((), bool)
  nothing = votes.no_looks()
  gains = jnp.zeros(_NUM_GAINS, jnp.float32)
  return Evidence(image, false, false, nothing, nothing, nothing, gains, jnp.int32(0))


def _usual_gain(evidence, variance):
  """The median of the last gains; before the first, the noise of one loss."""
  few = jnp.minimum(evidence.num_gains, _NUM_GAINS)
  used = jnp.where(jnp.arange(_NUM_GAINS) < few, evidence.gains, jnp.inf)
  median = jnp.sort(used)[jnp.maximum(few - 1, 0) // 2]
  return jnp.maximum(jnp.where(few > 0, median, jnp.sqrt(variance)), 1e-12)


def _seen_again(evidence, loss):
  """One more look at the image it stands on, from which the variance is learnt, too."""
  old, squares = evidence.old, evidence.squares
  count = old.count.astype(jnp.float32)
  again = (old.count > 0) & jnp.isfinite(loss)
  deviation = jnp.square(loss - old.mean()) * count / (count + 1)
  squares = ask_tell.select(again, votes.look(squares, deviation), squares)
  full = squares.count >= _MEMORY
  halved = votes.Looks(squares.total / 2, squares.count // 2)
  return evidence._replace(
    old=votes.look(old, loss), squares=ask_tell.select(full, halved, squares)
  )


def _tested(evidence, old_loss, new_loss, error, max_looks, ties):
  """Adds a pair of looks; what the sequential test says of them."""
  evidence = _seen_again(evidence, old_loss)
  evidence = evidence._replace(new=votes.look(evidence.new, new_loss))
  variance = evidence.squares.mean()
  verdict = votes.better(
    evidence.old,
    evidence.new,
    variance,
    _usual_gain(evidence, variance),
    error=error,
    max_looks=max_looks,
  )
  # Two looks teach the noise; one cannot know whether there is any.
  sure = evidence.squares.count >= 2
  tied = evidence.new.mean() <= evidence.old.mean()
  decided = (verdict.decided & sure) | (evidence.new.count >= max_looks)
  return evidence, votes.Verdict(decided, tied if ties else verdict.yes)


def _moved_on(evidence, decided, kept):
  """The evidence once a test is over: an image just accepted is looked at afresh."""
  gain = jnp.maximum(evidence.old.mean() - evidence.new.mean(), 0)
  where = evidence.num_gains % _NUM_GAINS
  earned = kept & ~evidence.forced
  return evidence._replace(
    pending=~decided,
    new=ask_tell.select(decided, votes.no_looks(), evidence.new),
    old=ask_tell.select(kept, votes.no_looks(), evidence.old),
    gains=jnp.where(earned, evidence.gains.at[where].set(gain), evidence.gains),
    num_gains=evidence.num_gains + earned.astype(jnp.int32),
  )


def hill_climb(
  proposals: Proposals,
  objective: Objective,
  *,
  comparison: str = "cached",
  ties: bool = False,
  lead: int = 1,
  error: float = 0.05,
  max_looks: int = 16,
) -> AskTell:
  """Keeps proposals that look better than the image it stands on; never finishes.

  The first step judges the start. With a cached loss a success is claimed of the proposal.
  Otherwise it is claimed of the image it stands on, of which every comparison is one more
  look, once `lead` more of them say success than do not, and more for every further image
  (see `votes.caution`). While more say so than not, it makes no comparison but looks at
  the image only.

  Args:
    proposals: where to go.
    objective: what the attacker wants.
    comparison: "cached", as published, asks one row a step; "asked_again" asks two, the
      image and the proposal, and decides at once; "sequential" asks two until a test of
      `error` is over (see `votes.better`), and takes from answers what noise there is
      and how much a better image usually gains.
    ties: keep a proposal that is as good.
    lead: 1 believes a single look.
    error: of the sequential test.
    max_looks: at a proposal, of the sequential test.

  Returns:
    An `AskTell`.

  Raises:
    ValueError: the comparison is unknown, or the lead below 1.
  """
  if comparison not in COMPARISONS:
    raise ValueError(f"comparison must be one of {', '.join(COMPARISONS)}, not {comparison!r}")
  cached, sequential = comparison == "cached", comparison == "sequential"

  def init(key, example):
    image, memory = proposals.init(key, example)
    evidence = _no_evidence(image) if sequential else None
    zero = jnp.int32(0)
    return HillClimbState(
      image, memory, jnp.float32(jnp.inf), evidence, zero, jnp.int32(1), zero, image
    )

  def ask(key, example, state):
    proposal, forced = proposals.propose(key, example, state.image, state.memory, state.num_asked)
    first = state.num_asked == 0
    proposal, forced = jnp.where(first, state.image, proposal), forced | first
    if cached:
      return proposal[None], (proposal, forced)
    if sequential:
      waiting = (state.evidence.proposal, state.evidence.forced)
      proposal, forced = ask_tell.select(state.evidence.pending, waiting, (proposal, forced))
    other = jnp.where(state.support > 0, state.image, proposal)
    return jnp.stack([state.image, other]), (proposal, forced)

  def compared(state, proposal, forced, losses):
    """Whether the comparison is over, whether the proposal is kept, and the evidence."""
    old, new = (state.loss if cached else losses[0]), losses[-1]
    if not sequential:
      return jnp.ones((), bool), forced | (new <= old if ties else new < old), None
    evidence = state.evidence._replace(proposal=proposal, forced=forced)
    evidence, verdict = _tested(evidence, old, new, error, max_looks, ties)
    decided = verdict.decided | forced
    kept = decided & (verdict.yes | forced)
    return decided, kept, _moved_on(evidence, decided, kept)

  def compare(example, state, proposal, forced, losses):
    """The state after a look at the image it stands on and one at the proposal."""
    decided, kept, evidence = compared(state, proposal, forced, losses)
    image = jnp.where(kept, proposal, state.image)
    learnt = proposals.learn(example, image, state.memory, kept)
    return state._replace(
      image=image,
      memory=ask_tell.select(decided, learnt, state.memory),
      loss=jnp.where(kept & jnp.isfinite(losses[-1]), losses[-1], state.loss),
      evidence=evidence,
      support=jnp.where(kept, 0, state.support),
      num_images=state.num_images + kept.astype(jnp.int32),
    )

  def tell(example, state, notes, rows):
    losses = ask_tell.losses(objective, rows, example.label)
    proposal, forced = notes
    seen = ask_tell.achieved(objective, rows, example.label)
    state = state._replace(num_asked=state.num_asked + len(rows))
    if cached:
      new = compare(example, state, proposal, forced, losses)
      judged = jnp.where(seen[0], proposal, new.image)
      return new._replace(adversarial=judged), ask_tell.report(losses[0], seen[0])
    voting = state.support > 0
    looks = jnp.where(seen, 1, -1)
    support = state.support + looks[0] + jnp.where(voting, looks[1], 0)
    needed = lead + (votes.caution(state.num_images) if lead > 1 else 0)
    success = support >= needed
    state = state._replace(support=support)
    new = compare(example, state, proposal, forced, losses)
    new = ask_tell.select(voting, state, new)
    judged = jnp.where(success, state.image, new.image)
    return new._replace(adversarial=judged), ask_tell.report(losses[0], success)

  return AskTell(init, ask, tell)


def whole(search: AskTell, objective: Objective, *, comparison: str, lead: int) -> AskTell:
  """A hill climb whose successes are voted on where the comparisons are no votes.

  Args:
    search: from `hill_climb`.
    objective: whose `achieved` is voted on.
    comparison: of `search`.
    lead: of the vote; 1 believes a single look.
  """
  if comparison == "cached" and lead > 1:
    return votes.voted(search, objective, rule=votes.vote(lead=lead))
  return search
