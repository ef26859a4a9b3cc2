"""SPSA: Adam on differences along random signs."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from orjax import geometry
from orjax.attacks import starts
from orjax.attacks import wrappers
from orjax.attacks.steps import ask_tell
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective
from orjax.types import teaches


class SpsaState(NamedTuple):
  """Where it is [H, W, C], Adam's state, steps taken int32 [], the image judged last."""

  image: jax.Array
  optimizer: Any
  num_steps: jax.Array
  adversarial: jax.Array


def _spsa(objective, radius, num_pairs, spacing, learning_rate, num_steps):
  optimizer = optax.adam(learning_rate)
  start = starts.uniform(radius)

  def init(key, example):
    image = start(key, example.image)
    return SpsaState(image, optimizer.init(image), jnp.int32(0), image)

  def ask(key, example, state):
    signs = jax.random.bernoulli(key, 0.5, (num_pairs, *example.image.shape))
    directions = jnp.where(signs, 1.0, -1.0)
    image = state.image[None]
    points = (image, image + spacing * directions, image - spacing * directions)
    return jnp.clip(jnp.concatenate(points), 0, 1), directions

  def tell(example, state, notes, rows):
    losses = ask_tell.losses(objective, rows, example.label)
    slopes = (losses[1 : num_pairs + 1] - losses[num_pairs + 1 :]) / (2 * spacing)
    # A pair with a loss that is no number says nothing; the others still do.
    slopes = jnp.where(jnp.isfinite(slopes), slopes, 0)
    gradient = (slopes.reshape(-1, *[1] * example.image.ndim) * notes).mean(0)
    with jax.numpy_dtype_promotion("standard"):  # optax's own counter needs it
      updates, optimizer_state = optimizer.update(gradient, state.optimizer)
    image = geometry.project(state.image + updates, example.image, radius, "linf")
    success = ask_tell.achieved(objective, rows[:1], example.label)[0]
    learnt = success | teaches(gradient)
    info = ask_tell.report(losses[0], success, state.num_steps + 1 >= num_steps, learnt)
    return SpsaState(image, optimizer_state, state.num_steps + 1, state.image), info

  return AskTell(init, ask, tell)


@factory
def spsa(
  objective: Objective,
  *,
  radius: float = 0.05,
  num_pairs: int = 128,
  spacing: float = 0.01,
  learning_rate: float = 0.01,
  num_steps: int = 100,
  lead: int = 1,
) -> Attack:
  """The SPSA attack, whole, in an l_inf ball, until the first success.

  Adam on a gradient from antithetic differences along vectors of random signs, projected
  into the ball after every step, from a uniform start. A probe is spacing sqrt(d) long,
  ten times as long as QL's on the same image. Probes are clipped to the box.

  (cleverhans' PyTorch version never looks at its iterate: it takes the gradient at twice
  the image. Here, as in the paper, it is taken at the iterate.)

  Args:
    objective: `objectives.margin` in the reference, on logits.
    radius: of the ball, in units of [0, 1].
    num_pairs: antithetic pairs a step; up to 8192 points in the paper.
    spacing: delta, of a difference.
    learning_rate: of Adam.
    num_steps: after which it gives up.
    lead: of looks that say success, before one is believed: 1, as published, is a single
      look; see `theory.vote_lead`.

  Returns:
    An `Attack` that asks 2 num_pairs + 1 rows a step, the first of them about the image.

  Raises:
    ValueError: a number that no attack can use.

  References:
    Uesato et al. (2018), section 4.1; `spsa.py` of cleverhans.
  """
  search = _spsa(objective, radius, num_pairs, spacing, learning_rate, num_steps)
  if lead > 1:
    search = votes.voted(search, objective, rule=votes.vote(lead=lead))
  return wrappers.until_success(ask_tell.from_ask_tell(search))
