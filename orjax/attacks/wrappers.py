"""Attacks made of attacks: patience, binary search over the trade-off, keep the best."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import geometry
from orjax.attacks import successes
from orjax.types import Attack
from orjax.types import Objective


def _select(condition, new, old):
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


class PatienceState(NamedTuple):
  """`num_steps` int32 [], the loss [] at the last check, the losses since, the inner state."""

  inner: Any
  num_steps: jax.Array
  checked_loss: jax.Array
  total: jax.Array
  num_summed: jax.Array
  adversarial: jax.Array


def patience(
  attack: Attack,
  *,
  max_steps: int,
  check_every: int | None = 100,
  tolerance: float = 0.9999,
  average: bool = False,
) -> Attack:
  """Finishes an attack that stops improving, or after `max_steps`.

  At steps 0, check_every, 2 check_every, ... it finishes if the loss exceeds
  `tolerance` times the loss at the check before (1e6 at first), as ZOO's abort_early.
  Under output noise this compares two noisy numbers and mostly stops a sound attack.

  Args:
    attack: what is wrapped.
    max_steps: steps at most.
    check_every: steps between checks; None never gives up early.
    tolerance: 0.9999 in ZOO and C&W.
    average: compare means of all losses between two checks, not single losses: the same
      test for an attacker who knows of the noise.

  Returns:
    An `Attack`; a success at the very step at which it gives up is not reported, as in
    the official code, and an infinite loss is no information.
  """

  def init(key, example):
    inner = attack.init(key, example)
    zero = jnp.zeros((), jnp.int32)
    return PatienceState(
      inner,
      zero,
      jnp.full((), 1e6, jnp.float32),
      jnp.zeros((), jnp.float32),
      zero,
      inner.adversarial,
    )

  def step(key, oracle, example, state):
    inner, info = attack.step(key, oracle, example, state.inner)
    known = jnp.isfinite(info.loss)
    total = state.total + jnp.where(known, info.loss, 0)
    num_summed = state.num_summed + known.astype(jnp.int32)
    judged = total / jnp.maximum(num_summed, 1).astype(jnp.float32) if average else info.loss
    checking = num_summed > 0 if average else known
    if check_every is None:
      checking = jnp.zeros_like(checking)
    else:
      checking &= state.num_steps % check_every == 0
    # tolerance * checked_loss for a positive loss; right for a negative one too.
    wanted = state.checked_loss - (1 - tolerance) * jnp.abs(state.checked_loss)
    stalled = checking & (judged > wanted)
    num_steps = state.num_steps + 1
    info = info._replace(
      success=info.success & ~stalled, finished=info.finished | stalled | (num_steps >= max_steps)
    )
    return PatienceState(
      inner,
      num_steps,
      jnp.where(checking, judged, state.checked_loss),
      jnp.where(checking, 0, total),
      jnp.where(checking, 0, num_summed),
      inner.adversarial,
    ), info

  return Attack(init, step)


class BinarySearchState(NamedTuple):
  """The trade-off c in use, its bounds, and the state of the current repetition."""

  inner: Any
  trade_off: jax.Array
  lower: jax.Array
  upper: jax.Array
  succeeded: jax.Array
  repetition: jax.Array
  adversarial: jax.Array


def binary_search(
  make_attack: Callable[[jax.Array], Attack], *, num_steps: int, initial: float
) -> Attack:
  """Repeats an attack for several trade-offs c between distance and loss.

  A repetition that succeeded halves c towards its lower bound; one that failed multiplies
  it by 10 until the first success and bisects afterwards. One step of it is one step of
  the inner attack; a new repetition starts from `init`.

  Args:
    make_attack: from a (traced) trade-off to the attack that is repeated.
    num_steps: repetitions. From 10 on, the last one uses the upper bound, as in C&W.
    initial: the first c.

  Returns:
    An `Attack`, finished after the last repetition.

  References:
    Carlini and Wagner (2017), section VI; ZOO's `attack_batch`.
  """
  limit = 1e10

  def init(key, example):
    inner = make_attack(jnp.float32(initial)).init(key, example)
    return BinarySearchState(
      inner,
      jnp.float32(initial),
      jnp.float32(0),
      jnp.float32(limit),
      jnp.zeros((), bool),
      jnp.zeros((), jnp.int32),
      inner.adversarial,
    )

  def step(key, oracle, example, state):
    step_key, init_key = jax.random.split(key)
    attack = make_attack(state.trade_off)
    inner, info = attack.step(step_key, oracle, example, state.inner)
    succeeded = state.succeeded | info.success
    c = state.trade_off
    upper = jnp.where(succeeded, jnp.minimum(state.upper, c), state.upper)
    lower = jnp.where(succeeded, state.lower, jnp.maximum(state.lower, c))
    next_c = jnp.where(upper < 1e9, (lower + upper) / 2, jnp.where(succeeded, c, c * 10))
    repetition = state.repetition + 1
    if num_steps >= 10:
      next_c = jnp.where(repetition == num_steps - 1, upper, next_c)
    restarted = BinarySearchState(
      attack.init(init_key, example),
      next_c,
      lower,
      upper,
      jnp.zeros((), bool),
      repetition,
      inner.adversarial,
    )
    continued = state._replace(inner=inner, succeeded=succeeded, adversarial=inner.adversarial)
    done = info.finished & (repetition >= num_steps)
    return (_select(info.finished, restarted, continued), info._replace(finished=done))

  return Attack(init, step)


class KeepBestState(NamedTuple):
  """The closest success so far, if `found`, and its distance."""

  inner: Any
  distance: jax.Array
  found: jax.Array
  adversarial: jax.Array


def keep_best(attack: Attack, distance=geometry.l2) -> Attack:
  """Hands in the closest image that the attack judged a success.

  Args:
    attack: what is wrapped; its `adversarial` must be the image it judged.
    distance: of a perturbation.

  Returns:
    An `Attack`; while nothing was found it would hand in the last image judged.
  """

  def init(key, example):
    inner = attack.init(key, example)
    return KeepBestState(
      inner, jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), bool), inner.adversarial
    )

  def step(key, oracle, example, state):
    inner, info = attack.step(key, oracle, example, state.inner)
    reached = distance(inner.adversarial - example.image)
    better = info.success & (reached < state.distance)
    found = state.found | info.success
    return KeepBestState(
      inner,
      jnp.where(better, reached, state.distance),
      found,
      jnp.where(better | ~found, inner.adversarial, state.adversarial),
    ), info

  return Attack(init, step)


def smallest(
  make_attack: Callable[[jax.Array], Attack],
  objective: Objective,
  *,
  initial_trade_off: float,
  binary_search_steps: int,
  max_steps: int,
  check_every: int | None,
  check_average: bool,
  outside: bool,
  confirmations: int,
) -> Attack:
  """The closest success of a descent, as ZOO and C&W put it together.

  Args:
    make_attack: from the trade-off c to a descent that never finishes.
    objective: for the confirmations.
    initial_trade_off: see `binary_search`.
    binary_search_steps: see `binary_search`.
    max_steps: see `patience`.
    check_every: see `patience`.
    check_average: see `patience`.
    outside: whether `until_outside` is wanted.
    confirmations: see `confirmed`; 0 for none.

  Returns:
    An `Attack`.
  """

  def with_trade_off(trade_off):
    attack = make_attack(trade_off)
    if confirmations:
      attack = successes.confirmed(attack, objective, num_queries=confirmations)
    if outside:
      attack = successes.until_outside(attack)
    return patience(attack, max_steps=max_steps, check_every=check_every, average=check_average)

  return keep_best(
    binary_search(with_trade_off, num_steps=binary_search_steps, initial=initial_trade_off)
  )
