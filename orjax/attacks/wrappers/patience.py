"""Giving up: an attack that stops improving, or has taken its steps, is over."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.types import Attack


class PatienceState(NamedTuple):
  """`num_steps` int32 [], the loss [] at the last check, the losses since, the inner state."""

  inner: Any
  num_steps: jax.Array
  checked_loss: jax.Array
  total: jax.Array
  num_summed: jax.Array
  adversarial: jax.Array


@factory
def patience(
  attack: Attack,
  *,
  max_steps: int,
  check_every: int | None = 100,
  tolerance: float = 0.9999,
  average: bool = False,
  first_loss: float = 1e6,
) -> Attack:
  """Finishes an attack that stops improving, or after `max_steps`.

  At steps 0, check_every, 2 check_every, ... it finishes if the loss exceeds
  `tolerance` times the loss at the check before, as ZOO's and C&W's abort_early.
  Under output noise this compares two noisy numbers and mostly stops a sound attack.

  Args:
    attack: what is wrapped.
    max_steps: steps at most.
    check_every: steps between checks; None never gives up early.
    tolerance: 0.9999 in ZOO and C&W.
    average: compare means of all losses between two checks, not single losses: the same
      test for an attacker who knows of the noise.
    first_loss: what the first check compares with: 1e6 in ZOO, which gives up at once where
      c times the lead is more; infinity in C&W.

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
      jnp.full((), first_loss, jnp.float32),
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
    before = state.checked_loss
    wanted = before - jnp.where(jnp.isfinite(before), (1 - tolerance) * jnp.abs(before), 0)
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
