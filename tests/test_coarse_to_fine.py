"""ZOO with a modifier that begins coarse: sizes, importance, resets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import orjax
from orjax import attacks
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax import trials
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
      weights @ line, np.asarray(jax.image.resize(jnp.asarray(line), (many,), "linear")))


def test_weighted_coordinates_follow_their_weights():
  """One of two draws without replacement: the same law as NumPy's."""
  weights = np.array([1, 2, 3, 4, 0])
  log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = np.asarray(jax.vmap(
      lambda key: estimators.draw_coordinates(key, 5, 2, log_weights))(keys))
  assert (drawn[:, 0] != drawn[:, 1]).all() and not (drawn == 4).any()
  p = weights / 10
  first = np.bincount(drawn[:, 0], minlength=5) / len(drawn)
  np.testing.assert_allclose(first, p, atol=0.015)
  second = np.array([sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i)
                     for i in range(5)])
  np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=5) / len(drawn), second,
                             atol=0.015)


def _queries_until(coarse, distance):
  """Queries until the best image is within `distance`, with the images of every step."""
  image = jnp.full(SHAPE, 0.5)
  attack = attacks.zoo(
      objectives.log_margin(), solver=attacks.adam(learning_rate=0.02), num_coordinates=16,
      tanh_space=True, initial_trade_off=1.0, binary_search_steps=1, max_steps=3000,
      check_every=None, spacing=1e-2, coarse=coarse)
  oracle = oracles.from_predict(_smooth_predict)
  key = jax.random.key(0)
  zero = jnp.zeros((), jnp.int32)
  trial = trials.start(attack, key, Example(image, zero), zero, zero, None)

  def body(trial, _):
    trial = trials.step(attack, oracle, key, trial, 10**9)
    return trial, (trial.claimed, geometry.l2(trial.state.adversarial - image))

  with oracles.full_precision():
    claimed, reached = jax.jit(
        lambda trial: jax.lax.scan(body, trial, length=1500)[1])(trial)
  good = np.flatnonzero(np.asarray(claimed) & (np.asarray(reached) < distance))
  return (good[0] + 1) * 33 if len(good) else 10**9


def test_a_coarse_modifier_needs_fewer_queries_where_the_solution_is_smooth():
  """The closest image of the other class is a multiple of the pattern, known exactly."""
  line = np.sin(2 * np.pi * (np.arange(32) + 0.5) / 32)
  closest = (3 / 2) / (np.linalg.norm(line)**2 / 4)
  coarse = attacks.CoarseToFine((8, 16), (400,))
  fast = _queries_until(coarse, 1.25 * closest)
  slow = _queries_until(None, 1.25 * closest)
  assert fast < 10**9, "never near"
  assert fast < slow / 2, (fast, slow)
