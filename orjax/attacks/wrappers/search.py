"""The smallest distance: a search over the trade-off between distance and loss."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.attacks.wrappers.confirmation import confirmed
from orjax.attacks.wrappers.keep_best import keep_best
from orjax.attacks.wrappers.rounds import until_outside
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


def _select(condition, new, old):
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


class BinarySearchState(NamedTuple):
  """The trade-off c in use, its bounds, and the state of the current repetition."""

  inner: Any
  trade_off: jax.Array
  lower: jax.Array
  upper: jax.Array
  succeeded: jax.Array
  repetition: jax.Array
  adversarial: jax.Array


@factory
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


def smallest(
  make_attack: Callable[[jax.Array], Attack],
  objective: Objective,
  *,
  initial_trade_off: float,
  binary_search_steps: int,
  give_up: Callable[[Attack], Attack],
  outside: bool,
  confirmations: int,
  agreement: jax.typing.ArrayLike = 0.5,
) -> Attack:
  """The closest success of a descent, as ZOO and C&W put it together.

  Args:
    make_attack: from the trade-off c to a descent that never finishes.
    objective: for the confirmations.
    initial_trade_off: see `binary_search`.
    binary_search_steps: see `binary_search`.
    give_up: wraps each repetition in `patience`.
    outside: whether `until_outside` is wanted.
    confirmations: see `confirmed`; 0 for none.
    agreement: see `confirmed`.

  Returns:
    An `Attack`.
  """

  def with_trade_off(trade_off):
    attack = make_attack(trade_off)
    if confirmations:
      attack = confirmed(attack, objective, num_queries=confirmations, agreement=agreement)
    if outside:
      attack = until_outside(attack)
    return give_up(attack)

  return keep_best(
    binary_search(with_trade_off, num_steps=binary_search_steps, initial=initial_trade_off)
  )
