"""NES on little information: the top label alone, or with its probability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks import starts
from orjax.attacks import wrappers
from orjax.attacks.starts import Start
from orjax.attacks.steps import ask_tell
from orjax.attacks.steps import draws
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_START, _PROBE, _MOVE = range(3)  # what the rows of a step are about
_FIRST_RADIUS, _FIRST_SHRINKAGE, _LEAST_SHRINKAGE = 1.0, 0.5, 0.1
_NO_SHRINKAGE = 2e-3  # below which the radius stays
_MOMENTUM, _PLATEAU_LENGTH, _PLATEAU_FACTOR = 0.9, 20, 2.0


class LabelOnlyState(NamedTuple):
  """Where it is, and what the phase in progress knows.

  Attributes:
    phase: int32 [].
    image: a success [H, W, C], from the first step on that found one.
    gradient: averaged [H, W, C].
    product: sum of losses times directions of this estimate [H, W, C].
    total: sum of losses [].
    num_good, num_pairs: points that had a loss, and pairs asked, int32 [].
    losses, num_losses: the last mean losses, newest last [20], and how many are valid.
    step_size: the longest step [].
    radius: of the ball it is in, shrinking [].
    shrinkage: by how much the radius would next shrink [].
    wanted: by how much it is tried to shrink in this move [].
    num_tried: steps tried in this move, int32 [].
    adversarial: the image [H, W, C].
  """

  phase: jax.Array
  image: jax.Array
  gradient: jax.Array
  product: jax.Array
  total: jax.Array
  num_good: jax.Array
  num_pairs: jax.Array
  losses: jax.Array
  num_losses: jax.Array
  step_size: jax.Array
  radius: jax.Array
  shrinkage: jax.Array
  wanted: jax.Array
  num_tried: jax.Array
  adversarial: jax.Array


class _Numbers(NamedTuple):
  radius: float
  smoothing: float
  num_pairs: int
  num_proxies: int
  proxy_radius: float
  threshold: float
  first_step_size: float
  min_step_size: float
  caution: float


def _proxy_losses(objective, rows, label, numbers):
  """Losses of a pair of points [2], and whether each has one: by labels of points around."""
  del numbers
  agreed = ask_tell.achieved(objective, rows, label).reshape(2, -1)
  return 1 - agreed.astype(jnp.float32).mean(1), jnp.ones(2, bool)


def _top_losses(objective, rows, label, numbers):
  """Losses of a pair of points [2]; one whose top class is another has none."""
  del numbers
  losses = ask_tell.losses(objective, rows, label)
  good = ask_tell.achieved(objective, rows, label) & jnp.isfinite(losses)
  return jnp.where(good, losses, 0), good


def _moves(state, numbers):
  """The next steps to try: their sizes and shrinkages [R], and which there are, bool [R].

  Sizes are halved down to the least, then again with half the shrinkage, until that is 0.
  """
  num_rows = 2 * numbers.num_proxies
  index = state.num_tried + jnp.arange(num_rows, dtype=jnp.int32)
  ratio = jnp.log2(state.step_size / numbers.min_step_size)
  num_sizes = jnp.maximum(jnp.floor(ratio + 1e-4), 0).astype(jnp.int32) + 1
  level, halvings = index // num_sizes, index % num_sizes
  sizes = state.step_size * jnp.exp2(-halvings.astype(jnp.float32))
  exact = state.wanted * jnp.exp2(-level.astype(jnp.float32))
  before = state.wanted * jnp.exp2(1 - level.astype(jnp.float32))
  there = (level == 0) | (before >= _NO_SHRINKAGE)
  return sizes, jnp.where((exact >= _NO_SHRINKAGE) | (level == 0), exact, 0), there


def _annealed(state, loss):
  """Notes the mean loss; shortens the steps if it rose over the plateau."""
  losses = jnp.concatenate([state.losses[1:], loss[None]])
  num = jnp.minimum(state.num_losses + 1, _PLATEAU_LENGTH)
  rose = (num == _PLATEAU_LENGTH) & (losses[-1] > losses[0])
  return losses, jnp.where(rose, 0, num), rose


def _estimated(state, numbers):
  """The gradient from all pairs, and the first move to try."""
  count = jnp.maximum(state.num_good, 1).astype(jnp.float32)
  loss = jnp.where(state.num_good > 0, state.total / count, 1e9)
  estimate = state.product / (count * numbers.smoothing)
  losses, num_losses, rose = _annealed(state, loss)
  shorter = jnp.maximum(state.step_size / _PLATEAU_FACTOR, numbers.min_step_size)
  shrinks = (loss < numbers.threshold) & (state.radius > numbers.radius)
  return state._replace(
    phase=jnp.int32(_MOVE),
    gradient=_MOMENTUM * state.gradient + (1 - _MOMENTUM) * estimate,
    losses=losses,
    num_losses=num_losses,
    step_size=jnp.where(rose, shorter, state.step_size),
    wanted=jnp.where(shrinks, state.shrinkage, 0),
    num_tried=jnp.int32(0),
  )


def _fresh(state):
  """Ready for another estimate."""
  zero = jnp.int32(0)
  return state._replace(
    phase=jnp.int32(_PROBE),
    product=jnp.zeros_like(state.product),
    total=jnp.float32(0),
    num_good=zero,
    num_pairs=zero,
  )


def _moved(state, images, agreed, shrinkages, there, numbers):
  """The first step that is still a success is taken; without any, another estimate."""
  agreed = agreed & there
  chosen, any_agreed = agreed.argmax(), agreed.any()
  shrunk = shrinkages[chosen]
  taken = _fresh(state)._replace(
    image=images[chosen],
    radius=jnp.maximum(state.radius - shrunk / numbers.caution, numbers.radius),
    shrinkage=jnp.where(shrunk > 0, jnp.maximum(shrunk, _LEAST_SHRINKAGE), state.shrinkage),
    num_losses=jnp.where(shrunk > 0, 0, state.num_losses),
  )
  more = state._replace(num_tried=state.num_tried + len(agreed))
  stuck = ask_tell.select(there.all(), more, _fresh(state))
  return ask_tell.select(any_agreed, taken, stuck), any_agreed


def _limited(objective, start, pair_losses, numbers):
  num_rows = 2 * numbers.num_proxies

  def init(key, example):
    image, zero = start(key, example.image), jnp.int32(0)
    nothing, none = jnp.zeros_like(image), jnp.float32(0)
    return LabelOnlyState(
      jnp.int32(_START), image, nothing, nothing, none, zero, zero,
      jnp.zeros(_PLATEAU_LENGTH, jnp.float32), zero, jnp.float32(numbers.first_step_size),
      jnp.float32(max(_FIRST_RADIUS, numbers.radius)), jnp.float32(_FIRST_SHRINKAGE), none,
      zero, image,
    )  # fmt: skip

  def ask(key, example, state):
    start_key, direction_key, proxy_key = jax.random.split(key, 3)
    shape = example.image.shape
    direction = jax.random.normal(direction_key, shape)
    pair = state.image[None] + numbers.smoothing * jnp.stack([direction, -direction])
    probes = jnp.repeat(pair, numbers.num_proxies, axis=0)
    if numbers.proxy_radius:
      reach = numbers.proxy_radius
      probes += draws.uniform(proxy_key, (num_rows, *shape), -reach, reach)
    sizes, shrinkages, there = _moves(state, numbers)
    limits = jnp.maximum(state.radius - shrinkages, numbers.radius)[:, None, None, None]
    steps = sizes[:, None, None, None] * jnp.sign(state.gradient)[None]
    center = example.image[None]
    moves = center + jnp.clip(state.image[None] - steps - center, -limits, limits)
    begun = jnp.broadcast_to(state.image[None], (num_rows, *shape))
    images = jnp.clip(jax.lax.select_n(state.phase, begun, probes, moves), 0, 1)
    return images, (images, direction, shrinkages, there, start(start_key, example.image))

  def tell(example, state, notes, rows):
    images, direction, shrinkages, there, another = notes
    agreed = ask_tell.achieved(objective, rows, example.label)
    losses, good = pair_losses(objective, rows, example.label, numbers)
    probed = state._replace(
      product=state.product + (losses[0] - losses[1]) * direction,
      total=state.total + losses.sum(),
      num_good=state.num_good + good.sum().astype(jnp.int32),
      num_pairs=state.num_pairs + 1,
    )
    moved, any_agreed = _moved(state, images, agreed, shrinkages, there, numbers)
    after = (
      ask_tell.select(agreed.mean() > 0.5, _fresh(state), state._replace(image=another)),
      ask_tell.select(probed.num_pairs >= numbers.num_pairs, _estimated(probed, numbers), probed),
      moved,
    )
    new = jax.tree.map(lambda *leaves: jax.lax.select_n(state.phase, *leaves), *after)
    success = (state.phase == _MOVE) & any_agreed & (new.radius <= numbers.radius)
    blind = (new.gradient == 0).all() & (state.phase == _PROBE) & (new.phase == _MOVE)
    info = ask_tell.report(ask_tell.known(new.radius, rows), success, learnt=success | ~blind)
    return new._replace(adversarial=new.image), info

  return AskTell(init, ask, tell)


def _whole(objective, start, pair_losses, numbers, lead):
  if numbers.min_step_size > numbers.first_step_size:
    raise ValueError(
      f"min_step_size={numbers.min_step_size} must be at most step_size={numbers.first_step_size}"
    )
  start = starts.low_frequency_noise() if start is None else start
  search = _limited(objective, start, pair_losses, numbers)
  if lead > 1:
    search = votes.voted(search, objective, rule=votes.vote(lead=lead))
  return wrappers.until_success(ask_tell.from_ask_tell(search))


@factory
def label_only(
  objective: Objective,
  *,
  radius: float = 0.05,
  smoothing: float = 1e-3,
  num_pairs: int = 50,
  num_proxies: int = 50,
  proxy_radius: float = 2e-3,
  step_size: float = 1e-2,
  start: Start | None = None,
  lead: int = 1,
) -> Attack:
  """The label-only NES attack, whole, in an l_inf ball, until the first success.

  From an image of the wanted class it comes back to the ball: as long as the loss is low
  the ball shrinks, and steps are taken only as far as they keep the label. The score of a
  point is the share of points around it, drawn uniformly, that have the label; NES
  differentiates that.

  The reference gives up where no step keeps the label; here another gradient is estimated.
  Its test whether the image is a success is not asked anew: the step's own answer says so.

  Args:
    objective: only its `achieved` is used: targeted in the reference.
    radius: of the ball in the end, in units of [0, 1].
    smoothing: scale of NES; 1e-3 in the reference.
    num_pairs: antithetic pairs an estimate.
    num_proxies: points around each point of a pair.
    proxy_radius: how far around, in l_inf.
    step_size: the longest step; the shortest is 1e-4.
    start: `start(key, image) -> image`, drawn until most answers have the label: an image
      of the target class in the reference; low-frequency noise by default, which serves
      untargeted attacks.
    lead: of looks that say success, before one is believed: 1, as published, is a single
      look; see `theory.vote_lead`.

  Returns:
    An `Attack` that asks 2 num_proxies rows a step: one pair, or so many steps to take.

  Raises:
    ValueError: a number that no attack can use.

  References:
    Ilyas et al. (2018a), section 2.4; `attacks.py` and `label-only.sh` of their code.
  """
  numbers = _Numbers(
    radius, smoothing, num_pairs, num_proxies, proxy_radius, 0.15, step_size, 1e-4, 4.0
  )
  return _whole(objective, start, _proxy_losses, numbers, lead)


@factory
def partial_information(
  objective: Objective,
  *,
  radius: float = 0.05,
  smoothing: float = 1e-5,
  num_pairs: int = 50,
  step_size: float = 1e-2,
  start: Start | None = None,
  lead: int = 1,
) -> Attack:
  """The partial-information NES attack, whole: the top class and its probability.

  As `label_only`, with the loss of the answer itself where its top class is the wanted
  one; other answers say nothing. Its probes are the shortest of all: 1e-5 sqrt(d).
  Untargeted, the loss must say more than that another class leads: `cross_entropy` is the
  log probability of the true class, which such a server must show, and is never above the
  published threshold of 0.2; hinges (`log_margin`, `margin`) are 0 there, and teach nothing.

  Args:
    objective: `objectives.cross_entropy(targeted=True)` in the reference.
    radius, num_pairs, start, lead: as in `label_only`.
    smoothing: scale of NES; 1e-5 in the reference.
    step_size: the longest step; the shortest is 1e-3.

  Returns:
    An `Attack` that asks 2 rows a step.

  Raises:
    ValueError: a number that no attack can use.

  References:
    Ilyas et al. (2018a), section 2.3; `attacks.py` and `partial-info.sh` of their code.
  """
  numbers = _Numbers(radius, smoothing, num_pairs, 1, 0.0, 0.2, step_size, 1e-3, 2.0)
  return _whole(objective, start, _top_losses, numbers, lead)
