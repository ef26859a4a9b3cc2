"""One trial: start it, move it by a step, say when it is over.

A trial is one (setting, run, image). Everything here is a pure function of one trial;
`programs` and `orjax.closed` put vmaps and loops around it. It knows no attack and no
defense by name.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import border
from orjax import factories
from orjax import host
from orjax.precision import full_precision
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Oracle

# Folded into a trial's key: 0 starts it, 1, 2, ... are its steps, this verifies it.
_VERIFICATION = 2**32 - 1


class Trial(NamedTuple):
  """A trial in a slot.

  Attributes:
    example: what is attacked.
    run: repeat number int32 [].
    index: of the image in its data set, int32 [].
    setting: traced numbers of the threat model, such as {"stddev": []}.
    state: the attack's.
    loss: reported by the last step, float32 [].
    num_steps: taken so far, int32 [].
    num_queries: asked so far, int32 [].
    num_zero_gradients: steps that learnt nothing from the answers, int32 [].
    claimed: some step saw a success through the oracle, bool [].
    broken: some step's loss was NaN: the model does not answer numbers, bool [].
    finished: bool [].
  """

  example: Example
  run: jax.Array
  index: jax.Array
  setting: Any
  state: Any
  loss: jax.Array
  num_steps: jax.Array
  num_queries: jax.Array
  num_zero_gradients: jax.Array
  claimed: jax.Array
  broken: jax.Array
  finished: jax.Array


def trial_key(seed_key: Key, run: jax.Array, index: jax.Array) -> Key:
  """The key of (run, image): independent of batch, order, device and interruption."""
  return jax.random.fold_in(jax.random.fold_in(seed_key, run), index)


def verification_key(key: Key) -> Key:
  """The key for judging the trial with key `key`: fresh noise for the verdict."""
  return jax.random.fold_in(key, _VERIFICATION)


def start(
  attack: Attack, key: Key, example: Example, run: jax.Array, index: jax.Array, setting: Any
) -> Trial:
  """A trial that has taken no step; `key` is the trial's own.

  Raises:
    TypeError: the attack's state has a `chosen` that is not one number by name.
  """
  with full_precision():  # of substitutes; it asks the oracle nothing
    state = attack.init(jax.random.fold_in(key, 0), example)
  told = chosen(state)
  if not isinstance(told, dict) or any(jnp.ndim(x) for x in told.values()):
    raise TypeError("`chosen` of an attack's state must be {name: number}: see orjax.types.Attack")
  zero, false = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
  return Trial(
    example,
    run,
    index,
    setting,
    state,
    jnp.zeros((), jnp.float32),
    zero,
    zero,
    zero,
    false,
    false,
    false,
  )


def chosen(state: Any) -> dict[str, Any]:
  """What an attack's state, or one that it wraps as `inner`, says that it chose; {} of most."""
  while not hasattr(state, "chosen") and hasattr(state, "inner"):
    state = state.inner
  return getattr(state, "chosen", {})


def step(attack: Attack, oracle: Oracle, key: Key, trial: Trial, max_queries: jax.Array) -> Trial:
  """Moves a trial by one step of its attack; a finished one stays as it is.

  It is finished when the attack is, when one more step would exceed `max_queries`, or
  when the model answered NaN. `key` is the trial's own.
  """
  with full_precision():
    step_key = jax.random.fold_in(key, trial.num_steps + 1)
    state, info = attack.step(step_key, oracle, trial.example, trial.state)
  num_queries = trial.num_queries + info.num_queries
  broken = jnp.isnan(info.loss)
  moved = trial._replace(
    state=state,
    loss=info.loss.astype(jnp.float32),
    num_steps=trial.num_steps + 1,
    num_queries=num_queries,
    num_zero_gradients=trial.num_zero_gradients + (~info.learnt).astype(jnp.int32),
    claimed=trial.claimed | info.success,
    broken=broken,
    # Every step of an attack asks the same number of rows: shapes are static.
    finished=info.finished | broken | (num_queries + info.num_queries > max_queries),
  )
  return jax.tree.map(lambda old, new: jnp.where(trial.finished, old, new), trial, moved)


def trace(
  attack: Attack,
  asked: Oracle,
  clean: Oracle,
  key: Key,
  trial: Trial,
  num_steps: int,
  max_queries: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Replays a trial from its start.

  Args:
    attack: what attacks.
    asked: what it asks.
    clean: the undefended model.
    key: the trial's own, which makes the replay the trial itself.
    trial: from `start`.
    num_steps: steps to show; a trial that is over stays where it is.
    max_queries: as in the trial.

  Returns:
    The loss of every step as the attack saw it, and what it would have been without
    noise, at the same image: both [num_steps].
  """

  def body(trial, _):
    moved = step(attack, asked, key, trial, max_queries)
    return moved, (moved.loss, step(attack, clean, key, trial, max_queries).loss)

  return jax.lax.scan(body, trial, length=num_steps)[1]


def queries_per_step(attack: Attack, oracle: Oracle, example: Example) -> int:
  """Queries of one step, counted at the oracle, from shapes alone; nothing is asked.

  Raises:
    ValueError: the attack reports fewer, or does not always ask as many.
  """
  image = example.image
  counter = host.Endpoint(_never, border.num_classes(oracle, image))

  @jax.custom_vjp  # a white-box attack differentiates through what it asks
  def count(key_data, images):
    key = jax.random.wrap_key_data(key_data)
    return host.ask(counter, key, images.astype(jnp.float32)).astype(images.dtype)

  count.defvjp(
    lambda key_data, images: (count(key_data, images), images),
    lambda images, _: (None, jnp.zeros_like(images)),
  )
  counted = Oracle(
    lambda key, images: count(jax.random.key_data(key), images), oracle.queries_per_row
  )

  def one_step(init_key, step_key, example):
    state = attack.init(init_key, example)
    return attack.step(step_key, counted, example, state)[1].num_queries

  with jax.ensure_compile_time_eval():
    keys = jax.random.key(0), jax.random.key(1)
  num_rows, reported = host.rows_asked(one_step, *keys, example)
  charged = num_rows * oracle.queries_per_row
  if int(reported) < charged:
    raise ValueError(
      f"a step of the attack asks {charged} queries and reports {int(reported)}: its "
      f"StepInfo.num_queries must be the rows it asks times oracle.queries_per_row"
    )
  return charged


def _never(images):
  raise AssertionError("rows are counted, not asked")


def check_budget(cost: int, max_queries: int) -> None:
  """Raises ValueError if `max_queries` is no whole number, or pays for no step."""
  factories.check_number("max_queries", max_queries, factories.LIMITS["max_queries"])
  if cost > max_queries:
    raise ValueError(
      f"max_queries={max_queries} does not pay for one step of the attack, "
      f"which asks {cost} queries: allow at least that many"
    )
  if max_queries + cost >= 2**31:
    raise ValueError(
      f"max_queries={max_queries} does not fit the 32-bit counter: stay below {2**31 - cost}"
    )
