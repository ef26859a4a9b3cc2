"""SignHunter: the signs of the gradient, chunk by chunk."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.attacks import wrappers
from orjax.attacks.steps import ask_tell
from orjax.attacks.wrappers import hill_climbing
from orjax.attacks.wrappers.hill_climbing import Proposals
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


class SignMemory(NamedTuple):
  """The signs [H, W, C] around a center [H, W, C], and the chunk to flip, int32 [].

  A chunk of -1 says that the signs are all new and not asked about yet.
  """

  signs: jax.Array
  center: jax.Array
  level: jax.Array
  chunk: jax.Array


def _bounds(memory):
  size = memory.signs.size
  length = (size + (1 << memory.level) - 1) >> memory.level
  start = memory.chunk * length
  return start, jnp.minimum(start + length, size)


def _flipped(memory):
  """The signs with the chunk flipped; as they are where they are new."""
  start, end = _bounds(memory)
  index = jnp.arange(memory.signs.size, dtype=jnp.int32).reshape(memory.signs.shape)
  here = (index >= start) & (index < end) & (memory.chunk >= 0)
  return jnp.where(here, -memory.signs, memory.signs)


def _proposals(radius, norm):
  def corner(example, memory, signs):
    length = radius if norm == "linf" else radius / math.sqrt(signs.size)
    return geometry.project(memory.center + length * signs, example.image, radius, norm)

  def init(key, example):
    del key
    memory = SignMemory(jnp.ones_like(example.image), example.image, jnp.int32(0), jnp.int32(-1))
    return corner(example, memory, memory.signs), memory

  def propose(key, example, image, memory, num_asked):
    del key, image, num_asked
    return corner(example, memory, _flipped(memory)), memory.chunk < 0

  def learn(example, image, memory, kept):
    del example
    signs = jnp.where(kept, _flipped(memory), memory.signs)
    _, end = _bounds(memory)
    last = (memory.chunk + 1 == 1 << memory.level) | (end == signs.size)
    last &= memory.chunk >= 0
    level = memory.level + last.astype(jnp.int32)
    over = level == math.ceil(math.log2(signs.size)) + 1
    go_on = SignMemory(signs, memory.center, level, jnp.where(last, 0, memory.chunk + 1))
    anew = SignMemory(jnp.ones_like(signs), image, jnp.int32(0), jnp.int32(-1))
    return ask_tell.select(over, anew, go_on)

  return Proposals(init, propose, learn)


@factory
def sign_hunter(
  objective: Objective,
  *,
  radius: float = 0.05,
  norm: str = "linf",
  comparison: str = "cached",
  lead: int = 1,
) -> Attack:
  """The SignHunter attack, whole, until the first success.

  From the image plus the radius everywhere it flips the signs of chunks: all entries, both
  halves, quarters, ... down to single ones, and keeps a flip unless it makes the loss
  worse. Then it begins anew from where it is. Chunks run over height, width, channels in
  this order.

  The reference also evaluates the loss at the center at every flip, charges one of the two
  evaluations, and subtracts it from both sides of a comparison. It cancels nothing under
  noise and is left out here; as there, ties keep the flip.

  Args:
    objective: `objectives.cross_entropy` in the reference.
    radius: of the ball, in units of [0, 1]: 0.3 (l2: 3) for MNIST, 12/255 (l2: 127/255)
      for CIFAR10, 0.05 (l2: 5) for ImageNet in the reference.
    norm: `linf` or `l2`.
    comparison: "cached", as published; "asked_again" or "sequential": see
      `wrappers.hill_climbing.hill_climb`.
    lead: of looks that say success, before one is believed: 1, as published, is a single
      look; see `theory.vote_lead`.

  Returns:
    An `Attack` that asks one row a step, or two unless `comparison` is "cached".

  Raises:
    ValueError: the norm or the comparison is unknown, or a number that no attack can use.

  References:
    Al-Dujaili and O'Reilly (2020), algorithm 2, and `sign_attack.py` of their code.
  """
  geometry.check_norm(norm)
  search = hill_climbing.hill_climb(
    _proposals(radius, norm), objective, comparison=comparison, ties=True, lead=lead
  )
  search = hill_climbing.whole(search, objective, comparison=comparison, lead=lead)
  return wrappers.until_success(ask_tell.from_ask_tell(search))
