"""Beginning anew, and ending: from another start, for another round, at a success."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.types import Attack


class UntilOutsideState(NamedTuple):
  """Whether a start was good, bool [], and the wrapped state."""

  inner: Any
  outside: jax.Array
  adversarial: jax.Array


@factory
def until_outside(attack: Attack) -> Attack:
  """Starts again, one step each, until the image where the attack starts is a success.

  For an attack that comes back to the image from a random start: from inside the class
  it would only fall back to the image. Every trial then has a success at once, far away;
  what it is worth is its distance. Under `binary_search` every repetition succeeds, so c
  is halved each time.

  Args:
    attack: what is wrapped; its `init` draws a start.

  Returns:
    An `Attack`; a step at a bad start is charged like any other.
  """

  def init(key, example):
    inner = attack.init(key, example)
    return UntilOutsideState(inner, jnp.zeros((), bool), inner.adversarial)

  def step(key, oracle, example, state):
    step_key, init_key = jax.random.split(key)
    inner, info = attack.step(step_key, oracle, example, state.inner)
    outside = state.outside | info.success
    again = attack.init(init_key, example)
    return UntilOutsideState(
      jax.tree.map(lambda a, b: jnp.where(outside, a, b), inner, again), outside, inner.adversarial
    ), info

  return Attack(init, step)


class InRoundsState(NamedTuple):
  """The wrapped state, steps taken in this round int32 [], rounds begun int32 []."""

  inner: Any
  num_steps: jax.Array
  num_rounds: jax.Array
  adversarial: jax.Array


@factory
def in_rounds(attack: Attack, *, num_steps: int, num_rounds: int) -> Attack:
  """Begins anew after every `num_steps` steps, and finishes after so many rounds.

  Restarts of an attack that draws its start; one round just bounds its steps.

  Args:
    attack: what is wrapped; its `init` draws a start, its `adversarial` is the image judged.
    num_steps: steps a round.
    num_rounds: rounds.

  Returns:
    An `Attack` that takes num_steps num_rounds steps.
  """

  def init(key, example):
    inner = attack.init(key, example)
    return InRoundsState(inner, jnp.int32(0), jnp.int32(1), inner.adversarial)

  def step(key, oracle, example, state):
    step_key, init_key = jax.random.split(key)
    inner, info = attack.step(step_key, oracle, example, state.inner)
    over = state.num_steps + 1 == num_steps
    again = attack.init(init_key, example)
    return InRoundsState(
      jax.tree.map(lambda new, old: jnp.where(over, new, old), again, inner),
      jnp.where(over, 0, state.num_steps + 1),
      state.num_rounds + over.astype(jnp.int32),
      inner.adversarial,
    ), info._replace(finished=info.finished | (over & (state.num_rounds == num_rounds)))

  return Attack(init, step)


@factory
def until_success(attack: Attack) -> Attack:
  """Finishes at the first success, and hands in the image that was judged then.

  Args:
    attack: what is wrapped; its `adversarial` must be the image it judged.

  Returns:
    An `Attack` with the state of `attack`.
  """

  def step(key, oracle, example, state):
    state, info = attack.step(key, oracle, example, state)
    return state, info._replace(finished=info.finished | info.success)

  return Attack(attack.init, step)
