"""Fewer digits, fewer classes, labels: exact values."""

from echo import answers_for
from echo import as_images
from echo import echo_oracle
import jax
import numpy as np
import pytest
from scipy import stats

from orjax import defenses


def _answers(wrap, probs, seed=1):
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), as_images(probs)))


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
def test_digits_are_those_of_decimal_numbers(digits):
  probs = answers_for(0, 50, 10)
  levels = defenses.rounded().settings(float(digits))["levels"]
  answers = _answers(lambda oracle: defenses.with_rounding(oracle, levels), probs)
  expected = np.round(probs, digits)
  np.testing.assert_array_equal(answers, expected)
  assert all(np.float32(f"{number:.{digits}f}") == number for number in answers.ravel())
  coarser = _answers(lambda oracle: defenses.with_rounding(oracle, levels / 10), probs)
  assert (coarser != expected).any()


def test_halves_go_to_the_even_side_and_infinity_rounds_nothing():
  probs = np.float32([[0.125, 0.375, 0.5]])
  answers = _answers(lambda oracle: defenses.with_rounding(oracle, 4.0), probs)
  np.testing.assert_array_equal(answers, [[0, 0.5, 0.5]])
  np.testing.assert_array_equal(
    _answers(lambda oracle: defenses.with_rounding(oracle, np.inf), probs), probs
  )


def test_rounding_is_as_noise_of_a_level_over_the_square_root_of_twelve():
  probs = answers_for(0, 3000, 3)
  error = _answers(lambda oracle: defenses.with_rounding(oracle, 100.0), probs) - probs
  np.testing.assert_allclose(error.std(), 0.01 / np.sqrt(12), rtol=0.05)


def test_the_most_probable_classes_are_shown():
  probs = np.float32([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]])
  show = lambda number: _answers(lambda oracle: defenses.with_top_k(oracle, number), probs)
  np.testing.assert_array_equal(show(2), np.float32([[0, 0.4, 0, 0.3], [0.25, 0.25, 0, 0]]))
  np.testing.assert_array_equal(show(1), np.float32([[0, 0.4, 0, 0], [0.25, 0, 0, 0]]))
  np.testing.assert_array_equal(show(4), probs)
  np.testing.assert_array_equal(show(99), probs)
  with pytest.raises(ValueError, match="must be 1, 2"):
    defenses.top_k().settings(1.5)


def test_the_label_alone_is_a_one_hot_row():
  probs = answers_for(0, 20, 5)
  answers = _answers(defenses.with_label, probs)
  np.testing.assert_array_equal(answers, np.eye(5, dtype=np.float32)[probs.argmax(-1)])
  np.testing.assert_array_equal(_answers(defenses.with_label, np.float32([[0.5, 0.5]])), [[1, 0]])
  with pytest.raises(ValueError, match="strength 1 only"):
    defenses.label_only().settings(0.0)


def _frequencies(beta, num_rows=20000):
  probs = np.broadcast_to(np.float32([0.7, 0.2, 0.1, 0.0]), (num_rows, 4))
  answers = _answers(lambda oracle: defenses.with_sampled_label(oracle, beta), probs)
  assert ((answers == 0) | (answers == 1)).all() and (answers.sum(-1) == 1).all()
  return answers.sum(0)


def test_a_sampled_label_comes_with_its_probability():
  counts, law = _frequencies(1.0), np.array([0.7, 0.2, 0.1])
  assert counts[3] == 0
  assert stats.chisquare(counts[:3], 20000 * law).pvalue > 1e-3
  for wrong in (law**2, law**0.5):
    assert stats.chisquare(counts[:3], 20000 * wrong / wrong.sum()).pvalue < 1e-6
  sharper = law**2 / (law**2).sum()
  assert stats.chisquare(_frequencies(2.0)[:3], 20000 * sharper).pvalue > 1e-3
  assert _frequencies(1e6)[0] == 20000
