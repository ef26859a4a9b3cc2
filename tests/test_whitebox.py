"""White-box PGD: where it lands, what masks it, restarts, float64, transfers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
from orjax import attacks
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import runner
from orjax.threats import threat_model
from orjax.types import Attack
from orjax.types import Example
from orjax.types import StepInfo

_RADIUS = 0.08


class _State(NamedTuple):
  adversarial: jax.Array


def _logits(variables, images):
  """As `conftest.linear_logits`, which compiles slowly; the order of sums does not matter."""
  pixels = images.reshape(len(images), -1)
  return pixels @ variables["weights"] + variables["bias"][None]


def _two_logits(variables, images):
  return _logits(variables, images)[:, :2]


def _run(attack, objective, asked, images, labels, *, clean=None, variables=None):
  """Outcomes of the engine, by image, undefended."""
  variables = conftest.linear_variables() if variables is None else variables
  clean = asked if clean is None else clean
  threats = threat_model(
    lambda v: oracles.from_predict(clean, v),
    defenses.no_defense(),
    asks=lambda v: oracles.from_predict(asked, v),
  )
  tasks = [
    runner.Task({"index": i}, images[i], int(labels[i]), 0, i, {"stddev": 0.0})
    for i in range(len(images))
  ]
  found = runner.run(
    attack,
    objective,
    threats,
    (variables, variables),
    tasks,
    seed=0,
    max_queries=10**6,
    num_draws=2,
    plan=runner.Plan(2),
  )
  return sorted(found, key=lambda outcome: outcome.task.index)


@pytest.mark.parametrize(
  "objective", [objectives.logit_cross_entropy(), objectives.margin(confidence=50.0)]
)
@pytest.mark.parametrize("num_restarts", [1, 3])
def test_lands_on_the_worst_corner_of_a_linear_model(objective, num_restarts):
  images = np.random.default_rng(1).uniform(0, 1, (6, *conftest.IMAGE_SHAPE)).astype(np.float32)
  variables = conftest.linear_variables()
  labels = np.asarray(_two_logits(variables, jnp.asarray(images)).argmax(-1))
  weights = np.asarray(variables["weights"]).reshape(4, 4, 1, 3)
  attack = attacks.whitebox_pgd(
    objective,
    radius=_RADIUS,
    step_size=0.02,
    num_steps=12,
    num_restarts=num_restarts,
    stop_at_success=False,
  )
  for outcome, image, label in zip(
    _run(attack, objective, _two_logits, images, labels), images, labels
  ):
    down = weights[..., label] - weights[..., 1 - label]
    corner = np.clip(image - _RADIUS * np.sign(down), 0, 1)
    np.testing.assert_allclose(outcome.adversarial, corner, atol=1e-6)
    assert outcome.num_steps == outcome.num_queries == 13 * num_restarts
    assert outcome.zero_gradients == 0
    margin = lambda x: (x * down).sum() + 0.1 * (1 - 2 * label)
    assert outcome.clean_success == (margin(corner) < 0)


def test_a_saturated_softmax_has_no_gradient_and_a_scaled_one_has(linear_images):
  images, labels = linear_images
  steep = lambda variables, x: 1e5 * _logits(variables, x)
  shared = {"radius": 0.3, "step_size": 0.05, "num_steps": 10}
  masked = objectives.logit_cross_entropy()
  blind = _run(attacks.whitebox_pgd(masked, **shared), masked, steep, images, labels)
  # The random start may itself be a success; all others are stuck there.
  stuck = [outcome for outcome in blind if not outcome.clean_success]
  assert len(stuck) > 3 and all(outcome.zero_gradients > 0.8 for outcome in stuck)
  for objective in (
    objectives.margin(confidence=50.0),
    objectives.dlr(),
    objectives.logit_cross_entropy(by_margin=True),
    objectives.logit_cross_entropy(divisor=1e5),
  ):
    seeing = _run(attacks.whitebox_pgd(objective, **shared), objective, steep, images, labels)
    assert all(outcome.clean_success and outcome.claimed for outcome in seeing)
    assert all(outcome.zero_gradients == 0 for outcome in seeing)
    assert all(outcome.num_steps <= 11 for outcome in seeing)
    assert max(np.abs(o.adversarial - o.task.image).max() for o in seeing) <= 0.3 + 1e-6


def test_margin_has_a_slope_at_logits_of_a_hundred_thousand():
  # A mask of -1e4 would take the rival's place.
  row, label = jnp.asarray([-1.0e5, -3.0e5, -2.0e5]), 0
  loss, slope = jax.value_and_grad(objectives.margin(confidence=50.0).loss)(row, label)
  assert loss == 1.0e5
  np.testing.assert_array_equal(slope, [1, 0, -1])
  # Once the rival leads by 50 it stays flat, unless there is no bound.
  for confidence, wanted in ((50.0, [0, 0, 0]), (np.inf, [-1, 1, 0])):
    slope = jax.grad(objectives.margin(confidence=confidence).loss)(row, 1)
    np.testing.assert_array_equal(slope, wanted)
  for objective in (objectives.dlr(), objectives.logit_cross_entropy(by_margin=True)):
    slope = jax.grad(objective.loss)(row, label)
    assert np.isfinite(slope).all() and slope[0] > 0 > slope[2]


def test_logit_cross_entropy_is_exact_and_its_divisors_divide():
  row = jnp.asarray([2.0, -1.0, 0.5])
  reference = lambda z: z - np.log(np.exp(z).sum())
  for divisor in (1.0, 4.0):
    objective = objectives.logit_cross_entropy(divisor=divisor)
    np.testing.assert_allclose(
      objective.loss(row, 0), reference(np.asarray(row, float) / divisor)[0], rtol=1e-6
    )
  by_margin = objectives.logit_cross_entropy(by_margin=True)
  for scale in (1.0, 1e4):
    np.testing.assert_allclose(
      by_margin.loss(scale * row, 0), reference(np.asarray(row, float) / 1.5)[0], rtol=1e-5
    )
  targeted = objectives.logit_cross_entropy(targeted=True)
  assert targeted.loss(row, 1) == -objectives.logit_cross_entropy().loss(row, 1)
  assert targeted.achieved(row, 0) and not targeted.achieved(row, 1)
  with pytest.raises(ValueError, match="divisor must be above 0"):
    objectives.logit_cross_entropy(divisor=0)


def test_dlr_is_the_formula_and_blind_to_scale_and_shift():
  row = jnp.asarray([4.0, 1.0, 3.0, -2.0])
  objective = objectives.dlr()
  np.testing.assert_allclose(objective.loss(row, 0), (4 - 3) / (4 - 1), rtol=1e-6)
  np.testing.assert_allclose(objective.loss(row, 1), (1 - 4) / (4 - 1), rtol=1e-6)
  np.testing.assert_allclose(objective.loss(1e4 * row + 7, 0), 1 / 3, rtol=1e-3)
  with pytest.raises(ValueError, match="three classes or more, not 2"):
    objective.loss(row[:2], 0)


def test_float64_sees_what_float32_does_not(linear_images):
  images, labels = linear_images
  steep = lambda variables, x: 150 * _logits(variables, x)
  objective = objectives.logit_cross_entropy()
  attack = attacks.whitebox_pgd(objective, radius=0.3, step_size=0.05, num_steps=10)
  blind = _run(attack, objective, steep, images, labels)
  with jax.enable_x64(True):
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), conftest.linear_variables())
    seeing = _run(attack, objective, steep, images.astype(np.float64), labels, variables=variables)
  assert seeing[0].adversarial.dtype == np.float64
  count = lambda outcomes: sum(outcome.clean_success for outcome in outcomes)
  zeros = lambda outcomes: np.mean([outcome.zero_gradients for outcome in outcomes])
  assert count(blind) < len(images) == count(seeing)
  assert zeros(blind) > 0.2 and zeros(seeing) == 0


def test_transfer_follows_the_substitute_and_is_judged_by_the_target(linear_images):
  images, labels = linear_images
  variables = {"target": conftest.linear_variables(), "other": conftest.linear_variables(5)}
  target = lambda v, x: _logits(v["target"], x)
  other = lambda v, x: _logits(v["other"], x)
  objective = objectives.margin(confidence=50.0)
  attack = attacks.whitebox_pgd(
    objective, radius=0.3, step_size=0.05, num_steps=10, stop_at_success=False
  )
  found = _run(attack, objective, other, images, labels, clean=target, variables=variables)
  for outcome in found:
    x = jnp.asarray(outcome.adversarial)[None]
    label = outcome.task.label
    assert outcome.claimed and other(variables, x).argmax() != label
    assert outcome.clean_success == bool(target(variables, x).argmax() != label)
  assert not all(outcome.clean_success for outcome in found)


def test_rounds_begin_anew_and_end():
  drawn = []

  def init(key, example):
    del example
    return _State(jax.random.uniform(key))

  def step(key, oracle, example, state):
    del key, oracle, example
    drawn.append(float(state.adversarial))
    return state, StepInfo(
      state.adversarial, jnp.zeros((), bool), jnp.zeros((), bool), jnp.int32(1), jnp.ones((), bool)
    )

  attack = attacks.in_rounds(Attack(init, step), num_steps=2, num_rounds=3)
  key, example = jax.random.key(0), Example(jnp.zeros(()), jnp.int32(0))
  state = attack.init(jax.random.fold_in(key, 99), example)
  finished = []
  for number in range(6):
    state, info = attack.step(jax.random.fold_in(key, number), None, example, state)
    finished.append(bool(info.finished))
    assert state.adversarial == drawn[-1]
  assert finished == [False] * 5 + [True]
  assert drawn[::2] == drawn[1::2] and len(set(drawn)) == 3


def test_bad_numbers_are_refused():
  objective = objectives.logit_cross_entropy()
  with pytest.raises(ValueError, match="num_steps must be at least 1"):
    attacks.whitebox_pgd(objective, num_steps=0)
  with pytest.raises(ValueError, match="radius must be above 0"):
    attacks.whitebox_pgd(objective, radius=-1)
