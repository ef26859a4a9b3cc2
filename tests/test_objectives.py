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
      _loss(objectives.log_margin(non_positive=rule), row, label)
      for rule in objectives.NON_POSITIVE)
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


def test_success_tests():
  row = jnp.array([0.2, 0.5, 0.3])
  for targeted in (False, True):
    achieved = jax.vmap(objectives.margin(targeted=targeted).achieved, in_axes=(None, 0))
    expected = np.arange(3) == 1
    np.testing.assert_array_equal(achieved(row, jnp.arange(3)),
                                  expected if targeted else ~expected)
