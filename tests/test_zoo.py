"""ZOO against its arithmetic written again in NumPy, and where the answer is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import closest_distance
from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax.attacks import wrappers
from orjax.types import Attack
from orjax.types import Example
from orjax.types import StepInfo


def _oracle():
  return oracles.from_predict(linear_predict, linear_variables())


def _numpy_zoo(image, label, coordinates_of_step, tanh_space, *, c=2.0, h=1e-2, lr=0.01):
  """`blackbox_optimizer` of the official code, in float64, for an untargeted attack."""
  weights = np.asarray(linear_variables()["weights"], np.float64)
  bias = np.asarray(linear_variables()["bias"], np.float64)
  x0 = image.astype(np.float64).ravel()
  w0 = np.arctanh((2 * x0 - 1) * 0.9999995)
  to_image = (lambda m: (np.tanh(m + w0) + 1) / 2) if tanh_space else (lambda m: x0 + m)
  reference = to_image(np.zeros_like(x0))

  def loss(m):
    x = to_image(m)
    z = x @ weights + bias
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    other = np.max(np.where(np.arange(3) == label, -10000, p))
    hinge = max(0, np.log(p[label] + 1e-30) - np.log(other + 1e-30))
    return np.sum((x - reference) ** 2) + c * hinge

  modifier, mt, vt = np.zeros(16), np.zeros(16), np.zeros(16)
  epoch = np.ones(16)
  losses = []
  for coordinates in coordinates_of_step:
    losses.append(loss(modifier))
    moves = np.zeros(16)
    for i in coordinates:
      e = np.eye(16)[i] * h
      g = (loss(modifier + e) - loss(modifier - e)) / (2 * h)
      mt[i] = 0.9 * mt[i] + 0.1 * g
      vt[i] = 0.999 * vt[i] + 0.001 * g**2
      corr = np.sqrt(1 - 0.999 ** epoch[i]) / (1 - 0.9 ** epoch[i])
      moves[i] = -lr * corr * mt[i] / (np.sqrt(vt[i]) + 1e-8)
      epoch[i] += 1
    modifier += moves
    if not tanh_space:
      modifier = np.clip(modifier, -x0, 1 - x0)
  return np.array(losses), modifier


@pytest.mark.parametrize("tanh_space", [False, True])
def test_iterations_equal_the_official_arithmetic(linear_images, tanh_space):
  image, label = linear_images[0][0], int(linear_images[1][0])
  attack = attacks.coordinate_descent(
    objectives.log_margin(),
    attacks.adam(),
    trade_off=2.0,
    num_coordinates=6,
    spacing=1e-2,
    tanh_space=tanh_space,
  )
  example = Example(jnp.asarray(image), jnp.int32(label))
  state = attack.init(jax.random.key(0), example)
  coordinates, losses = [], []
  for number in range(40):
    key = jax.random.key(number)
    before = np.asarray(state.solver.count)
    state, info = attack.step(key, _oracle(), example, state)
    coordinates.append(np.flatnonzero(np.asarray(state.solver.count) - before))
    losses.append(float(info.loss))
    assert int(info.num_queries) == 13
  expected_losses, expected_modifier = _numpy_zoo(image, label, coordinates, tanh_space)
  np.testing.assert_allclose(losses, expected_losses, atol=1e-4)
  np.testing.assert_allclose(state.modifier.ravel(), expected_modifier, atol=2e-3)
  assert np.abs(expected_modifier).max() > 0.1  # it did move


@pytest.mark.parametrize("targeted", [False, True])
def test_zoo_reaches_the_closest_point_of_a_linear_model(linear_images, targeted):
  images, labels = linear_images
  objective = objectives.log_margin(targeted=targeted)
  wanted = (labels + 1) % 3 if targeted else labels
  attack = attacks.zoo(
    objective,
    num_coordinates=8,
    spacing=1e-3,
    initial_trade_off=0.1,
    binary_search_steps=6,
    max_steps=300,
  )
  result = jax.jit(
    lambda key: orjax.attack_batch(key, attack, _oracle(), images, wanted, max_queries=10**7)
  )(jax.random.key(0))
  assert np.asarray(result.claimed).all()
  distances = np.linalg.norm((np.asarray(result.adversarial) - images).reshape(8, -1), axis=1)
  classes = np.asarray(linear_logits(linear_variables(), result.adversarial).argmax(-1))
  assert ((classes == wanted) == targeted).all()
  if targeted:
    variables = linear_variables()
    logits = np.asarray(linear_logits(variables, images), np.float64)
    weights = np.asarray(variables["weights"], np.float64)
    rows = np.arange(8)
    closest = (logits[rows, labels] - logits[rows, wanted]) / np.linalg.norm(
      weights[:, labels] - weights[:, wanted], axis=0
    )
  else:
    closest = np.array([closest_distance(x, y) for x, y in zip(images, labels)])
  assert (distances > closest - 1e-4).all()
  # A third class may lie in the way of a target; untargeted the bound is attained.
  assert np.median(distances / closest) < 1.05


def test_images_stay_in_the_box():
  image = jnp.asarray(np.random.default_rng(0).integers(0, 2, (1, 4, 4, 1)), jnp.float32)
  label = linear_logits(linear_variables(), image).argmax(-1)
  for tanh_space in (False, True):
    attack = attacks.zoo(
      objectives.log_margin(),
      num_coordinates=16,
      spacing=1e-3,
      initial_trade_off=100.0,
      binary_search_steps=1,
      max_steps=100,
      tanh_space=tanh_space,
    )
    result = orjax.attack_batch(
      jax.random.key(0), attack, _oracle(), image, label, max_queries=10**6
    )
    assert (result.adversarial >= 0).all() and (result.adversarial <= 1).all()


def test_tanh_space_maps_back():
  image = jnp.linspace(0.0, 1.0, 11)
  np.testing.assert_allclose(
    geometry.from_tanh_space(geometry.to_tanh_space(image)), image, atol=1e-6
  )
  assert jnp.isfinite(geometry.to_tanh_space(image)).all()


def test_slopes_that_are_no_numbers_move_nothing():
  solver = attacks.adam()
  slopes = jnp.array([1.0, jnp.nan, jnp.inf, -1.0])
  moves, state = solver.update(solver.init(10), jnp.array([2, 3, 4, 5]), slopes, slopes)
  np.testing.assert_allclose(moves, [-0.01, 0, 0, 0.01], rtol=1e-4)
  np.testing.assert_array_equal(state.count, [1, 1, 2, 1, 1, 2, 1, 1, 1, 1])
  assert jnp.isfinite(state.first_moment).all()


class _Scripted(NamedTuple):
  """The image it would hand in, and how far it got."""

  adversarial: jax.Array
  num_steps: jax.Array


def _scripted(losses, successes=None):
  """An attack that reports given losses; its state counts steps and restarts."""
  losses = jnp.asarray(losses, jnp.float32)

  def init(key, example):
    del key
    return _Scripted(example.image, jnp.int32(0))

  def step(key, oracle, example, state):
    del key, oracle
    n = state.num_steps
    success = jnp.zeros((), bool) if successes is None else jnp.asarray(successes)[n]
    info = StepInfo(losses[n], success, jnp.zeros((), bool), jnp.int32(1), jnp.ones((), bool))
    adversarial = example.image + (n + 1).astype(jnp.float32)
    return state._replace(num_steps=n + 1, adversarial=adversarial), info

  return Attack(init, step)


_EXAMPLE = Example(jnp.zeros((1, 1, 1)), jnp.int32(0))


def _follow(attack, num_steps):
  state, infos = attack.init(jax.random.key(0), _EXAMPLE), []
  for number in range(num_steps):
    state, info = attack.step(jax.random.key(number + 1), None, _EXAMPLE, state)
    infos.append(info)
  return state, infos


def test_patience_gives_up_where_the_official_code_does():
  # Checks at steps 0, 2, 4: 5.0 < 1e6, 4.0 < 5.0, then 3.99995 > 0.9999 * 4.
  losses = [5.0, 9.0, 4.0, 9.0, 3.99995, 0.0, 0.0]
  attack = wrappers.patience(_scripted(losses, [True] * 7), max_steps=100, check_every=2)
  _, infos = _follow(attack, 5)
  assert [bool(info.finished) for info in infos] == [False] * 4 + [True]
  assert [bool(info.success) for info in infos] == [True] * 4 + [False]


def test_patience_counts_steps_and_can_be_off():
  attack = wrappers.patience(_scripted([1.0] * 9), max_steps=4, check_every=None)
  _, infos = _follow(attack, 4)
  assert [bool(info.finished) for info in infos] == [False, False, False, True]
  infinite = wrappers.patience(_scripted([jnp.inf] * 9), max_steps=9, check_every=1)
  assert not any(bool(info.finished) for info in _follow(infinite, 5)[1])


def test_binary_search_follows_the_official_rule():
  seen = []

  def succeeds_from(threshold):
    def make(trade_off):
      def init(key, example):
        del key
        return _Scripted(example.image, jnp.int32(0))

      def step(key, oracle, example, state):
        del key, oracle, example
        seen.append(float(trade_off))
        true = jnp.ones((), bool)
        return state, StepInfo(jnp.float32(0), trade_off >= threshold, true, jnp.int32(1), true)

      return Attack(init, step)

    return make

  attack = wrappers.binary_search(succeeds_from(2.0), num_steps=7, initial=0.01)
  _, infos = _follow(attack, 7)
  np.testing.assert_allclose(seen, [0.01, 0.1, 1, 10, 5.5, 3.25, 2.125], rtol=1e-6)
  assert [bool(info.finished) for info in infos] == [False] * 6 + [True]
  seen.clear()
  _follow(wrappers.binary_search(succeeds_from(2.0), num_steps=10, initial=1.0), 10)
  np.testing.assert_allclose(seen[:5], [1, 10, 5.5, 3.25, 2.125], rtol=1e-6)
  np.testing.assert_allclose(seen[-1], min(c for c in seen[:-1] if c >= 2.0), rtol=1e-6)


def test_keep_best_hands_in_the_closest_success():
  attack = wrappers.keep_best(_scripted([0.0] * 6, [False, False, True, False, True, False]))
  state, _ = _follow(attack, 2)
  assert float(state.adversarial.max()) == 2 and not state.found
  state, _ = _follow(attack, 6)
  assert float(state.adversarial.max()) == 3 and state.found
