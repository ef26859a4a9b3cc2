"""ZOO with a modifier that begins coarse: sizes, importance, resets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import attacks
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax.engine import trials
from orjax.types import Example

SHAPE = (32, 32, 1)


def _smooth_predict(images):
  """Two classes told apart by a smooth pattern: one period across the image."""
  line = jnp.sin(2 * jnp.pi * (jnp.arange(32.0) + 0.5) / 32)
  pattern = (line[:, None] * line[None, :]).reshape(-1)
  score = (images.reshape(len(images), -1) @ pattern) / 4
  return jax.nn.softmax(jnp.stack([score + 3.0, -score], -1))


@pytest.mark.parametrize("few, many", [(32, 224), (4, 4), (3, 7), (8, 16)])
def test_bilinear_weights_are_tensorflows_old_map(few, many):
  """Output i reads position i few / many, written here as the loop it was."""
  line = np.random.default_rng(0).normal(size=few)
  wanted = []
  for i in range(many):
    position = i * (few / many)
    low = int(position)
    high = min(low + 1, few - 1)
    wanted.append(line[low] + (line[high] - line[low]) * (position - low))
  weights = geometry.bilinear_weights(few, many)
  np.testing.assert_allclose(weights @ line, wanted, atol=1e-6)
  assert few == many or not np.allclose(
    weights @ line, np.asarray(jax.image.resize(jnp.asarray(line), (many,), "linear"))
  )


def test_weighted_coordinates_follow_their_weights():
  """One of two draws without replacement: the same law as NumPy's."""
  weights = np.array([1, 2, 3, 4, 0])
  log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = np.asarray(
    jax.vmap(lambda key: estimators.draw_coordinates(key, 5, 2, log_weights))(keys)
  )
  assert (drawn[:, 0] != drawn[:, 1]).all() and not (drawn == 4).any()
  p = weights / 10
  first = np.bincount(drawn[:, 0], minlength=5) / len(drawn)
  np.testing.assert_allclose(first, p, atol=0.015)
  second = np.array([sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i) for i in range(5)])
  np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=5) / len(drawn), second, atol=0.015)


def _queries_until(coarse, distance):
  """Queries until the best image is within `distance`, with the images of every step."""
  image = jnp.full(SHAPE, 0.5)
  attack = attacks.zoo(
    objectives.log_margin(),
    solver=attacks.adam(learning_rate=0.02),
    num_coordinates=16,
    tanh_space=True,
    initial_trade_off=1.0,
    binary_search_steps=1,
    max_steps=3000,
    check_every=None,
    spacing=1e-2,
    coarse=coarse,
  )
  oracle = oracles.from_predict(_smooth_predict)
  key = jax.random.key(0)
  zero = jnp.zeros((), jnp.int32)
  trial = trials.start(attack, key, Example(image, zero), zero, zero, None)

  def body(trial, _):
    trial = trials.step(attack, oracle, key, trial, 10**9)
    return trial, (trial.claimed, geometry.l2(trial.state.adversarial - image))

  with oracles.full_precision():
    claimed, reached = jax.jit(lambda trial: jax.lax.scan(body, trial, length=1500)[1])(trial)
  good = np.flatnonzero(np.asarray(claimed) & (np.asarray(reached) < distance))
  return (good[0] + 1) * 33 if len(good) else 10**9


def test_a_coarse_modifier_needs_fewer_queries_where_the_solution_is_smooth():
  """The closest image of the other class is a multiple of the pattern, known exactly."""
  line = np.sin(2 * np.pi * (np.arange(32) + 0.5) / 32)
  closest = (3 / 2) / (np.linalg.norm(line) ** 2 / 4)
  coarse = attacks.CoarseToFine((8, 16), (400,))
  fast = _queries_until(coarse, 1.25 * closest)
  slow = _queries_until(None, 1.25 * closest)
  assert fast < 10**9, "never near"
  assert fast < slow / 2, (fast, slow)


class _Seen(NamedTuple):
  """What a solver was told last, and how often since it was started."""

  coordinates: jax.Array
  slopes: jax.Array
  num_updates: jax.Array


def _recording(num_coordinates, move=0.0):
  """A solver that remembers, and moves every coordinate by as much as its index says."""

  def init(size):
    del size
    return _Seen(
      jnp.zeros(num_coordinates, jnp.int32), jnp.zeros(num_coordinates), jnp.zeros((), jnp.int32)
    )

  def update(state, coordinates, slopes, curvatures):
    del curvatures
    moves = move * (1 + coordinates % 7).astype(jnp.float32)
    return moves, _Seen(coordinates, slopes, state.num_updates + 1)

  return attacks.Solver(init, update)


def _steps(
  coarse, num_steps, *, num_coordinates=40, move=0.01, shape=(24, 40, 3), brightness=False
):
  """The states after each step of the attack on a linear two-class model."""
  image = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, shape), jnp.float32)
  weights = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)

  def predict(images):
    score = (
      20 * (images.mean((1, 2, 3)) - 0.5)
      if brightness
      else (images * weights[None]).sum((1, 2, 3)) / 30
    )
    return jax.nn.softmax(jnp.stack([score + 2.0, -score], -1))

  attack = attacks.coarse_to_fine_descent(
    objectives.log_margin(),
    _recording(num_coordinates, move),
    coarse,
    trade_off=jnp.float32(1.0),
    num_coordinates=num_coordinates,
    spacing=1e-3,
  )
  example = Example(image, jnp.int32(0))
  oracle = oracles.from_predict(predict)
  state, states = attack.init(jax.random.key(0), example), []
  step = jax.jit(lambda key, state: attack.step(key, oracle, example, state))
  for number in range(num_steps):
    state, info = step(jax.random.key(number), state)
    states.append(jax.device_get(state))
    assert int(info.num_queries) == 2 * num_coordinates + 1
  return image, predict, states


def _corner_of(coordinates, side, channels=3):
  return max((coordinates // (side * channels)).max(), (coordinates // channels % side).max())


def test_slopes_are_those_of_the_enlarged_modifier():
  """At both sizes, against automatic differentiation of the whole."""
  coarse = attacks.CoarseToFine((8, 16), (2,), importance="uniform", reset_adam=False)
  image, predict, states = _steps(coarse, 4)
  origin = geometry.to_tanh_space(image)
  reference = geometry.from_tanh_space(origin)
  for before, after in ((states[0], states[1]), (states[2], states[3])):
    size = 8 if after is states[1] else 16
    tall, wide = (geometry.bilinear_weights(size, pixels) for pixels in image.shape[:2])

    def loss(modifier):
      bump = jnp.einsum("hs,stc,wt->hwc", tall, modifier, wide)
      x = geometry.from_tanh_space(origin + bump)
      return jnp.sum((x - reference) ** 2) + objectives.log_margin().loss(
        predict(x[None])[0], jnp.int32(0)
      )

    with oracles.full_precision():
      gradient = np.asarray(jax.grad(loss)(before.modifier[:size, :size]))
    full = np.zeros_like(before.modifier)
    full[:size, :size] = gradient
    np.testing.assert_allclose(
      after.solver.slopes, full.ravel()[after.solver.coordinates], atol=2e-3
    )
    assert np.abs(gradient).max() > 0.02


def test_the_modifier_is_enlarged_and_adam_starts_anew():
  coarse = attacks.CoarseToFine((8, 16), (3,), reset_adam=False)
  _, _, states = _steps(coarse, 6)
  assert [int(s.solver.num_updates) for s in states] == [1, 2, 3, 1, 2, 3]
  for state in states[:3]:
    assert _corner_of(state.solver.coordinates, 16) < 8
    assert not state.modifier[8:].any() and not state.modifier[:, 8:].any()
  assert _corner_of(np.concatenate([s.solver.coordinates for s in states[3:]]), 16) > 8
  # Undo the first move after the enlargement: what is left is the old one, enlarged.
  after = states[3].modifier.reshape(-1).copy()
  np.subtract.at(
    after,
    states[3].solver.coordinates,
    0.01 * (1 + states[3].solver.coordinates % 7).astype(np.float32),
  )
  growth = geometry.bilinear_weights(8, 16)
  np.testing.assert_allclose(
    after.reshape(16, 16, 3),
    np.einsum("st,tuc,vu->svc", growth, states[2].modifier[:8, :8], growth),
    atol=1e-6,
  )


@pytest.mark.parametrize("importance", ["refreshed", "frozen", "uniform"])
def test_importance_is_the_largest_entry_of_each_block(importance):
  coarse = attacks.CoarseToFine((16, 32), (2,), importance=importance, reset_adam=False)
  _, _, states = _steps(coarse, 5, num_coordinates=20)
  blocks = lambda m, size: (
    np.abs(m[:size, :size]).reshape(8, size // 8, 8, size // 8, 3).max((1, 3))
  )
  ones = np.ones((8, 8, 3))
  wanted = {
    "uniform": [ones] * 5,
    "frozen": [ones] * 2 + [blocks(states[1].modifier, 16)] * 3,
    "refreshed": [ones] * 2
    + [blocks(states[1].modifier, 16)]
    + [blocks(states[i].modifier, 32) for i in (2, 3)],
  }[importance]
  for state, grid in zip(states, wanted):
    np.testing.assert_allclose(state.importance, grid, atol=1e-6)
  if importance == "frozen":  # coordinates come from blocks that were moved before
    old = blocks(states[1].modifier, 16) > 0
    for state in states[2:]:
      row, column, channel = np.unravel_index(state.solver.coordinates, (32, 32, 3))
      assert old[row // 4, column // 4, channel].all()


def test_adam_starts_anew_after_the_first_success():
  for reset in (True, False):
    coarse = attacks.CoarseToFine((8,), (), reset_adam=reset)
    _, _, states = _steps(coarse, 12, num_coordinates=190, move=-0.008, brightness=True)
    first = next(i for i, s in enumerate(states) if s.succeeded)
    counts = [int(s.solver.num_updates) for s in states[first - 2 : first + 2]]
    assert np.subtract(counts, counts[0] - 1)[:2].tolist() == [1, 2]
    assert counts[2:] == ([0, 1] if reset else [counts[1] + 1, counts[1] + 2])


@pytest.mark.parametrize(
  "change, message",
  [
    ({"importance": "none"}, "importance must be one of refreshed, frozen, uniform"),
    ({"sizes": (64, 32), "resize_at": (5,)}, "sizes must rise"),
    ({"sizes": (32, 64), "resize_at": ()}, "one rising resize_at for each after the first"),
  ],
)
def test_settings_that_make_no_sense(change, message):
  with pytest.raises(ValueError, match=message):
    attacks.zoo(
      objectives.log_margin(), tanh_space=True, coarse=attacks.CoarseToFine()._replace(**change)
    ).init(jax.random.key(0), Example(jnp.zeros(SHAPE), jnp.int32(0)))
  with pytest.raises(ValueError, match="a coarse modifier lives in tanh space"):
    attacks.zoo(objectives.log_margin(), coarse=attacks.CoarseToFine())
