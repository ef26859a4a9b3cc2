"""Losses on rows whose value is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import objectives


def _loss(objective, row, label):
  return float(objective.loss(jnp.asarray(row, jnp.float32), jnp.int32(label)))


def test_log_margin_untargeted_and_targeted():
  row = [0.6, 0.3, 0.1]
  untargeted, targeted = objectives.log_margin(), objectives.log_margin(targeted=True)
  np.testing.assert_allclose(_loss(untargeted, row, 0), np.log(2), rtol=1e-6)
  np.testing.assert_allclose(_loss(targeted, row, 2), np.log(6), rtol=1e-6)
  assert _loss(untargeted, row, 1) == 0  # already misclassified: the floor is 0
  assert _loss(targeted, row, 0) == 0


@pytest.mark.parametrize("row, label", [([0.9, -0.2, -0.1], 0), ([-0.5, -0.2, -0.1], 0)])
def test_three_rules_for_a_negative_probability(row, label):
  clamp, zero, discard = (
    _loss(objectives.log_margin(non_positive=rule), row, label) for rule in objectives.NON_POSITIVE
  )
  leader = np.log(max(row[0], 0) + 1e-30)
  np.testing.assert_allclose(clamp, max(0, leader - np.log(1e-30)), rtol=1e-5)
  assert zero == 0
  assert discard == np.inf


def test_unknown_rule_is_refused():
  with pytest.raises(ValueError, match="non_positive"):
    objectives.log_margin(non_positive="guess")


@pytest.mark.parametrize("rule", objectives.NON_POSITIVE)
def test_nan_answers_give_nan_losses(rule):
  assert np.isnan(_loss(objectives.log_margin(non_positive=rule), [np.nan] * 3, 0))


def test_margin_masks_with_infinity():
  row = [2e5, -3e5, -4e5]
  assert _loss(objectives.margin(), row, 0) == 5e5
  assert _loss(objectives.margin(targeted=True), row, 2) == 6e5
  assert _loss(objectives.margin(confidence=7.0), [0.0, 100.0, 0.0], 0) == -7


def test_a_margin_may_be_demanded_of_a_success():
  row = jnp.array([1.0, 8.0, 0.0])
  for demanded, wanted in ((0.0, True), (6.9, True), (7.1, False)):
    untargeted = objectives.margin(confidence=9.0, success_margin=demanded)
    targeted = objectives.margin(targeted=True, confidence=9.0, success_margin=demanded)
    assert bool(untargeted.achieved(row, 0)) == bool(targeted.achieved(row, 1)) == wanted
    assert not untargeted.achieved(row, 1) and not targeted.achieved(row, 0)
  assert objectives.margin(confidence=50.0).achieved(jnp.array([0.2, 0.5, 0.3]), 0)
  with pytest.raises(ValueError, match="from 0 to the confidence of 1"):
    objectives.margin(confidence=1.0, success_margin=2.0)


def test_success_tests():
  row = jnp.array([0.2, 0.5, 0.3])
  for targeted in (False, True):
    achieved = jax.vmap(objectives.margin(targeted=targeted).achieved, in_axes=(None, 0))
    expected = np.arange(3) == 1
    np.testing.assert_array_equal(achieved(row, jnp.arange(3)), expected if targeted else ~expected)


@pytest.mark.parametrize("targeted", [False, True])
def test_cross_entropy_is_that_of_the_logits(targeted):
  """Also where the probability is 1 in float32, and at its slope."""
  objective = objectives.cross_entropy(targeted=targeted)
  loss = lambda z: objective.loss(jax.nn.softmax(z), jnp.int32(1))
  for lead in (-30.0, -1.0, 0.0, 3.0, 12.0, 25.0):
    logits = np.array([0.3, lead, -0.2, 0.1])
    exact = logits[1] - np.log(np.exp(logits).sum())
    exact = -np.log1p(sum(np.exp(logits[[0, 2, 3]] - lead))) if lead > 0 else exact
    sign = -1 if targeted else 1
    z = jnp.asarray(logits, jnp.float32)
    assert float(loss(z)) == pytest.approx(sign * exact, rel=1e-4)
    others = np.exp(logits[[0, 2, 3]]).sum() / np.exp(logits).sum()
    assert float(jax.grad(loss)(z)[1]) == pytest.approx(sign * others, rel=1e-4)


def test_cross_entropy_of_a_noisy_answer_looks_at_its_own_probability_only():
  row = jnp.asarray([0.97, 0.5, -0.3, 0.2])
  for label, wanted in ((0, np.log(0.97)), (2, np.log(1e-30))):
    assert float(objectives.cross_entropy().loss(row, jnp.int32(label))) == pytest.approx(
      wanted, rel=1e-5
    )
  assert objectives.cross_entropy().achieved(row, jnp.int32(1))


def test_dlr_of_log_probabilities_does_not_see_a_scale_of_the_logits():
  logits = np.array([3.0, 1.0, -0.5, 0.2])
  found = [
    _loss(objectives.log_dlr(), jax.nn.softmax(jnp.asarray(scale * logits)), 0)
    for scale in (0.5, 1.0, 4.0)
  ]
  np.testing.assert_allclose(found, (3.0 - 1.0) / (3.0 - 0.2), rtol=1e-5)
  assert _loss(objectives.log_dlr(), jax.nn.softmax(jnp.asarray(logits)), 1) < 0
  np.testing.assert_allclose(_loss(objectives.log_dlr(), [0.8, 0.2], 0), np.log(4), rtol=1e-6)
  assert np.isfinite(_loss(objectives.log_dlr(), [1.1, -0.1, 0.2], 0))
  assert np.isnan(_loss(objectives.log_dlr(), [np.nan, 0.5, 0.5], 1))


def test_the_probability_of_the_label_and_the_vote():
  row = [0.6, 0.3, 0.1]
  own, target = (objectives.label_probability(targeted=x) for x in (False, True))
  np.testing.assert_allclose([_loss(own, row, 1), _loss(target, row, 1)], [0.3, -0.3])
  own, target = (objectives.vote(targeted=x) for x in (False, True))
  assert [_loss(own, row, label) for label in range(3)] == [1, 0, 0]
  assert [_loss(target, row, label) for label in range(3)] == [0, 1, 1]
  assert np.isnan(_loss(own, [np.nan, 1.0, 0.0], 0))
  for objective in (own, objectives.label_probability(), objectives.log_dlr()):
    assert objective.achieved(jnp.asarray(row), jnp.int32(1))
    assert not objective.achieved(jnp.asarray(row), jnp.int32(0))
