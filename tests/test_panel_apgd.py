"""APGD: published checkpoints, the optimum of a linear model, safety from noise."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest

from conftest import linear_logits
from conftest import linear_variables
from orjax import objectives
from orjax import oracles
from orjax.attacks.apgd import apgd
from orjax.attacks.apgd import apgd_targeted
from orjax.types import Example

module = importlib.import_module("orjax.attacks.apgd")
DLR = objectives.dlr()


def _logits():
  return oracles.from_predict(linear_logits, linear_variables())


def _five_logits():
  """The linear model with two classes more that nothing is taken for."""

  def predict(variables, images):
    others = jnp.broadcast_to(jnp.asarray([[-8.0, -9.0]]), (len(images), 2))
    return jnp.concatenate([linear_logits(variables, images), others], 1)

  return oracles.from_predict(predict, linear_variables())


@pytest.mark.parametrize("num_steps", [100, 25])
def test_checkpoints_are_the_published_ones(num_steps):
  """Windows of .22, .19, ... .06 of the steps; halved where too few steps were better."""
  rng = np.random.default_rng(0)
  losses = rng.normal(size=num_steps + 1).cumsum() * 0.1
  losses[40:] -= np.arange(len(losses[40:]))
  numbers = module._Numbers(0.1, "linf", num_steps, 1, 1, False, 1)
  image = jnp.full((2, 2, 1), 0.5)
  state = module._round(
    jax.random.key(0), image, numbers, jnp.int32(1), jnp.int32(0), jnp.zeros(1, jnp.int32)
  )
  tell = jax.jit(
    lambda state, loss: module._told(
      state,
      jnp.full_like(image, loss),
      module._Seen(loss, state.loss, state.best_loss, jnp.zeros_like(image), None),
      numbers,
    )
  )
  # The reference, with the start's loss before the first step.
  window, since, halved, step = max(int(0.22 * num_steps), 1), 0, True, 0.2
  checked = best = losses[0]
  for number, loss in enumerate(losses):
    state = tell(state, jnp.float32(loss))
    if number == 0:
      continue
    best, since = min(best, loss), since + 1
    if since == window:
      steps = np.diff(losses[number - window : number + 1])
      halve = (steps < 0).sum() <= 0.75 * window or (not halved and best >= checked)
      halved, checked, since = halve, best, 0
      step = step / 2 if halve else step
      window = max(window - max(int(0.03 * num_steps), 1), max(int(0.06 * num_steps), 1))
      if halve:
        np.testing.assert_allclose(state.image, best, rtol=1e-6)
    assert float(state.step_size) == pytest.approx(step), number
    assert int(state.window) == window
  assert step < 0.1


@pytest.mark.parametrize(
  "objective, norm, factor, wins",
  [
    (objectives.logit_cross_entropy(), "linf", 1.01, True),
    (objectives.logit_cross_entropy(by_margin=True), "l2", 1.01, True),
    (DLR, "linf", 1.01, True),
    (DLR, "linf", 0.99, False),
  ],
  ids=["ce", "ce_by_margin", "dlr", "dlr_too_near"],
)
def test_the_optimum_of_a_linear_model(objective, norm, factor, wins):
  """Within 1 %, in 25 steps."""
  distance = {"linf": 0.06, "l2": 0.2}[norm]
  images, labels = panel.images_at(distance, norm)
  attack = apgd(objective, radius=factor * distance, norm=norm, num_steps=25)
  result = panel.run(attack, _logits(), images, labels, 100)
  assert (np.asarray(result.claimed) == wins).all()
  assert (panel.fooled(result.adversarial, labels) == wins).all()
  assert (np.asarray(result.num_queries) == 26).all() != wins


def test_each_target_has_its_round():
  images, labels = panel.images_at(0.06, "linf")
  attack = apgd_targeted(radius=1.01 * 0.06, num_steps=25, num_targets=3)
  result = panel.run(attack, _five_logits(), images, labels, 200)
  assert np.asarray(result.claimed).all() and panel.fooled(result.adversarial, labels).all()
  example = Example(jnp.asarray(images[0]), jnp.asarray(labels[0]))
  state = attack.init(jax.random.key(0), example)
  oracle = _five_logits()
  state, info = attack.step(jax.random.key(1), oracle, example, state)
  order = np.asarray(oracle.query(None, example.image[None])[0]).argsort()[::-1]
  np.testing.assert_array_equal(state.targets, [k for k in order if k != labels[0]][:3])
  assert int(state.phase) == 1 and not info.success


def test_the_targeted_loss_leads_to_its_target():
  """From one image to either class: the gradient of z_y - z_t over the spread."""
  images, labels = panel.images_at(0.06, "linf")
  weights = np.asarray(linear_variables()["weights"])
  numbers = module._Numbers(0.06, "linf", 25, 3, 1, False, 1)
  attack = apgd_targeted(radius=0.06, num_steps=25, num_targets=3)
  example = Example(jnp.asarray(images[0]), jnp.asarray(labels[0]))
  for target in (0, 1):
    state = module._round(
      jax.random.key(0),
      example.image,
      numbers,
      jnp.int32(1),
      jnp.int32(0),
      jnp.full(3, target, jnp.int32),
    )
    state, _ = attack.step(jax.random.key(1), _five_logits(), example, state)
    down = np.asarray(state.gradient).reshape(-1)
    wanted = weights[:, labels[0]] - weights[:, target]
    # The spread has a gradient of its own, which is not the difference's.
    assert down @ wanted / np.linalg.norm(down) / np.linalg.norm(wanted) > 0.5


def test_noise_does_not_make_a_success_of_the_same_draws():
  """Logits with noise of stddev 0.2: out of reach, and in reach."""
  images, labels = panel.images_at(0.06, "linf")
  noisy = oracles.with_output_noise(_logits(), 0.2)
  shared = {"num_steps": 25, "num_draws": 5}
  published = panel.run(apgd(DLR, radius=0.05, **shared), noisy, images, labels, 1000)
  assert np.asarray(published.claimed).all(), "one lucky draw"
  assert not panel.fooled(published.adversarial, labels).any()
  safe = {"comparison": "same_draws", "lead": 8, **shared}
  far = panel.run(apgd(DLR, radius=0.05, **safe), noisy, images, labels, 1000)
  assert not np.asarray(far.claimed).any()
  near = panel.run(apgd(DLR, radius=0.08, **safe), noisy, images, labels, 1000)
  assert np.asarray(near.claimed).all() and panel.fooled(near.adversarial, labels).all()
  assert (np.asarray(near.num_queries) % 15 == 0).all()


@pytest.mark.parametrize(
  "attack, oracle",
  [
    (apgd(DLR, radius=0.05, num_steps=8, num_restarts=2, num_draws=2), _logits),
    (
      apgd_targeted(
        radius=0.05, norm="l2", num_steps=6, num_targets=2, comparison="same_draws", lead=3
      ),
      _five_logits,
    ),
  ],
  ids=["cached", "same_draws"],
)
def test_contract(attack, oracle, linear_images):
  noisy = oracles.averaged(oracles.with_output_noise(oracle(), 0.3), 2)
  images, labels = linear_images
  norm = "l2" if oracle is _five_logits else "linf"
  panel.check_contract(attack, noisy, images, labels, 150, None, norm)


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: apgd(DLR, norm="l1"), "norm must be one of"),
    (lambda: apgd(DLR, comparison="asked"), "comparison must be one of cached, same_draws"),
    (lambda: apgd(DLR, lead=2), "a vote needs comparison='same_draws'"),
    (lambda: apgd(DLR, num_draws=0), "must be at least 1"),
  ],
)
def test_bad_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.parametrize(
  "oracle, num_targets, message",
  [(_logits, 2, "four classes or more"), (_five_logits, 9, "more than the 4 other classes")],
)
def test_too_few_classes_are_refused(oracle, num_targets, message, linear_images):
  with pytest.raises(ValueError, match=message):
    panel.run(apgd_targeted(num_targets=num_targets), oracle(), *linear_images, 100)
