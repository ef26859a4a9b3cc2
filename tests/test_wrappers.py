"""Which successes are believed, where a descent begins, and when it gives up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax.engine import trials
from orjax.types import Attack
from orjax.types import Example
from orjax.types import StepInfo


def _clean():
  return oracles.from_predict(linear_predict, linear_variables())


def _constant(success, loss=1.0):
  """An attack that asks nothing, stays at the image and reports what it is told."""

  def init(key, example):
    del key
    return _State(example.image)

  def step(key, oracle, example, state):
    del key, oracle, example
    return state, StepInfo(
      jnp.float32(loss), jnp.asarray(success), jnp.zeros((), bool), jnp.int32(0), jnp.ones((), bool)
    )

  return Attack(init, step)


class _State:
  """A state with nothing but `adversarial`."""

  def __init__(self, adversarial):
    self.adversarial = adversarial


jax.tree_util.register_pytree_node(
  _State, lambda s: ((s.adversarial,), None), lambda _, x: _State(*x)
)


def test_confirmation_rejects_lucky_answers_and_charges_for_it(linear_images):
  image, label = jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0])
  objective = objectives.log_margin()
  noisy = oracles.with_output_noise(_clean(), 0.02)
  steps = lambda: jax.random.split(jax.random.key(0), 50)
  for example, expected in (
    (Example(image, label), False),
    (Example(image, (label + 1) % 3), True),
  ):
    attack = attacks.confirmed(_constant(True), objective, num_queries=9)
    state = attack.init(None, example)
    _, info = jax.vmap(lambda key: attack.step(key, noisy, example, state))(steps())
    assert (np.asarray(info.success) == expected).mean() > 0.95
    assert (np.asarray(info.num_queries) == 9).all()
  never = attacks.confirmed(_constant(False), objective, num_queries=9)
  assert not never.step(jax.random.key(0), noisy, example, state)[1].success
  with pytest.raises(ValueError, match="num_queries must be at least 1"):
    attacks.confirmed(_constant(True), objective, num_queries=0)


def test_starts_are_drawn_until_one_is_outside(linear_images):
  image, label = jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0])
  drawn = []

  def init(key, example):
    del example
    return _State(jax.random.uniform(key, (1,)))

  def step(key, oracle, example, state):  # a success if the start is above 0.8
    del key, oracle, example
    moved = _State(state.adversarial + 1)
    drawn.append(float(state.adversarial[0]))
    return moved, StepInfo(
      jnp.float32(0),
      state.adversarial[0] > 0.8,
      jnp.zeros((), bool),
      jnp.int32(5),
      jnp.ones((), bool),
    )

  attack = attacks.until_outside(Attack(init, step))
  example = Example(image, label)
  state = attack.init(jax.random.key(1), example)
  for number in range(30):
    state, info = attack.step(jax.random.key(number), None, example, state)
    assert int(info.num_queries) == 5
  first = next(i for i, value in enumerate(drawn) if value > 0.8)
  assert first > 0 and len(set(drawn[:first])) == first
  np.testing.assert_allclose(np.diff(drawn[first:]), 1, rtol=1e-5)  # then it goes on, never again


def test_far_starts_are_images_of_large_tiles():
  start = attacks.low_frequency_noise(scale=1.0, cells=2)
  image = jnp.full((6, 6, 3), 0.5)
  first, second = (np.asarray(start(jax.random.key(k), image)) for k in (0, 1))
  assert first.min() >= 0 and first.max() <= 1 and (first != second).any()
  tiles = first.reshape(2, 3, 2, 3, 3)
  assert (tiles == tiles[:, :1, :, :1]).all() and np.unique(tiles).size > 4


def _patience_steps(losses, **kwargs):
  """After how many of the losses patience ends."""

  def step(key, oracle, example, state):
    del oracle, example
    return state, StepInfo(
      key, jnp.ones((), bool), jnp.zeros((), bool), jnp.int32(0), jnp.ones((), bool)
    )

  inner = _constant(True)
  attack = attacks.patience(Attack(inner.init, step), max_steps=10**6, **kwargs)
  state = attack.init(None, Example(jnp.zeros(1), jnp.int32(0)))
  for number, loss in enumerate(losses, 1):
    state, info = attack.step(jnp.float32(loss), None, None, state)
    if info.finished:
      return number
  return None


def test_patience_on_averages_sees_through_noise():
  rng = np.random.default_rng(0)
  falling = np.linspace(10, 5, 500) + rng.normal(size=500)
  flat = 10 + 1e-3 * rng.normal(size=500)
  single = [
    _patience_steps(
      np.linspace(10, 5, 500) + np.random.default_rng(s).normal(size=500), check_every=10
    )
    for s in range(5)
  ]
  assert all(steps is not None for steps in single)
  assert _patience_steps(falling, check_every=50, average=True) is None
  assert _patience_steps(flat, check_every=50, average=True) is not None
  assert _patience_steps(falling, check_every=None) is None


@pytest.mark.parametrize("level", [5.0, -5.0])
def test_patience_ends_on_a_plateau_of_either_sign(level):
  assert _patience_steps(np.full(100, level), check_every=5) == 6
  assert _patience_steps(level + 0.1 * np.arange(100), check_every=5) == 6
  assert _patience_steps(level - 0.1 * np.arange(100), check_every=5) is None


def test_a_block_is_broken_by_any_of_its_steps(linear_images):
  example = Example(jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0]))
  for lost in range(6):

    def step(key, oracle, example, state, lost=lost):
      count = state.adversarial[0, 0, 0] + 1
      state = _State(jnp.full_like(state.adversarial, count))
      loss = jnp.where(count == lost + 1, jnp.nan, 1.0)
      no = jnp.zeros((), bool)
      return state, StepInfo(loss, no, count == 4, jnp.int32(1), no)

    inner = Attack(lambda key, example: _State(jnp.zeros_like(example.image)), step)
    attack = attacks.in_blocks(inner, num_steps=5)
    info = attack.step(jax.random.key(0), _clean(), example, attack.init(None, example))[1]
    assert bool(jnp.isnan(info.loss)) == (lost < 4), "a step after the end says nothing"


@pytest.mark.parametrize("num_steps", [1, 3, 4])
def test_a_block_is_its_steps(linear_images, num_steps):
  """Asked for one row in every step; a success in the fifth, the end after the seventh."""
  image, label = jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0])

  def step(key, oracle, example, state):
    oracle.query(key, example.image[None])
    count = state.adversarial[0, 0, 0] + 1
    fifth, last = count == 5, count == 7
    state = _State(jnp.full_like(state.adversarial, count))
    return state, StepInfo(-count, fifth, last, jnp.int32(oracle.queries_per_row), fifth)

  inner = Attack(lambda key, example: _State(jnp.zeros_like(example.image)), step)
  attack = attacks.in_blocks(inner, num_steps=num_steps)
  example = Example(image, label)
  assert trials.queries_per_step(attack, oracles.averaged(_clean(), 2), example) == 2 * num_steps
  state, reports = attack.init(jax.random.key(0), example), []
  while not reports or not reports[-1][0].finished:
    state, info = attack.step(jax.random.key(len(reports)), _clean(), example, state)
    reports.append((info, float(state.adversarial[0, 0, 0])))
  number = 4 // num_steps  # of the block of the fifth step
  assert len(reports) == -(-7 // num_steps)
  assert [bool(info.success) for info, _ in reports].index(True) == number
  assert sum(bool(info.success) for info, _ in reports) == 1
  assert reports[number][1] == 5 and bool(reports[number][0].learnt)
  assert float(reports[number][0].loss) == -5, "of the image that is reported"
  assert all(int(info.num_queries) == num_steps for info, _ in reports)
