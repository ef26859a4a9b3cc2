"""Random logit scaling: the law of its factor, the label, and the statistic that it leaves."""

from echo import answers_for
from echo import as_images
from echo import centred
from echo import echo_oracle
import jax
import numpy as np
import pytest
from scipy import stats

from orjax import defenses


def _answers(wrap, probs, seed=1):
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), as_images(probs)))


def _factors(answers, probs):
  """By which the logits were multiplied, of every row."""
  before, after = centred(np.log(np.float64(probs))), centred(np.log(np.float64(answers)))
  return (before * after).sum(-1) / (before**2).sum(-1)


def _pvalue(factors, law):
  return stats.kstest(factors, law.cdf).pvalue


def test_the_factor_is_uniform_and_one_for_a_row():
  probs = answers_for(0, 4000, 3, spread=0.5)
  answers = _answers(defenses.with_random_scaling, probs)
  factors = _factors(answers, probs)
  np.testing.assert_allclose(
    centred(np.log(np.float64(answers))),
    factors[:, None] * centred(np.log(np.float64(probs))),
    atol=2e-4,
  )
  assert _pvalue(factors, stats.uniform(0.5, 9.5)) > 1e-3
  assert _pvalue(factors, stats.uniform(0.5, 4.5)) < 1e-6
  assert _pvalue(factors, stats.uniform(1.0, 9.0)) < 1e-6
  assert np.abs(np.corrcoef(factors[:-1], factors[1:])[0, 1]) < 0.06
  half = defenses.random_scaling().settings(0.5)
  assert half == {"low": pytest.approx(0.5**0.5), "high": pytest.approx(10**0.5)}


def test_the_factor_is_normal_and_cut_off():
  probs = answers_for(0, 4000, 3, spread=0.05)  # so flat that a factor of 300 shows
  law = lambda stddev: stats.truncnorm((0.2 - 1) / stddev, np.inf, 1, stddev)
  for stddev in (1.0, 100.0):
    answers = _answers(lambda oracle: defenses.with_normal_scaling(oracle, stddev), probs)
    factors = _factors(answers, probs)
    assert factors.min() > 0.19
    assert _pvalue(factors, law(stddev)) > 1e-3
    assert _pvalue(factors, law(stddev * 3 / 2)) < 1e-6
    assert _pvalue(factors, law(stddev * 2 / 3)) < 1e-6


@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_every_label_and_order_is_kept(num_classes):
  probs = answers_for(3, 200, num_classes)
  probs[:100, 0] = np.nextafter(probs[:100].max(-1), np.float32(0))  # a rival one bit behind
  probs[100:105] = np.eye(num_classes, dtype=np.float32)[1]
  for wrap in (defenses.with_random_scaling, defenses.with_normal_scaling):
    for seed in range(3):
      answers = _answers(wrap, probs, seed)
      assert np.isfinite(answers).all()
      np.testing.assert_array_equal(answers.argmax(-1), probs.argmax(-1))
      order = np.argsort(probs, axis=-1)
      assert (np.diff(np.take_along_axis(answers, order, -1)[:, :-1], axis=-1) >= 0).all()


def _dlr(probs):
  """(z_1 - z_2) / (z_1 - z_3) of log p: the difference of logits ratio without a label."""
  ordered = np.sort(np.log(np.float64(probs)), -1)[:, ::-1]
  return (ordered[:, 0] - ordered[:, 1]) / (ordered[:, 0] - ordered[:, 2])


def test_a_ratio_of_differences_of_logs_is_free_of_noise():
  probs = np.repeat(answers_for(1, 5, 10, spread=1.0), 200, axis=0)
  answers = _answers(defenses.with_random_scaling, probs)
  of_row = lambda statistic: statistic.reshape(5, 200).std(-1)
  ordered = np.sort(answers, -1)
  margin = of_row(ordered[:, -1] - ordered[:, -2])
  log_margin = of_row(np.log(ordered[:, -1]) - np.log(ordered[:, -2]))
  assert of_row(_dlr(answers)).max() < 1e-5
  assert margin.min() > 0.05 and log_margin.min() > 0.1
  np.testing.assert_allclose(_dlr(answers), _dlr(probs), rtol=1e-4)


def test_with_two_classes_the_noise_vanishes_at_the_boundary():
  gaps = np.float32([1e-1, 1e-2, 1e-3])
  probs = np.repeat(np.stack([0.5 + gaps / 2, 0.5 - gaps / 2], -1), 500, axis=0)
  answers = _answers(defenses.with_random_scaling, probs)
  spread = (answers[:, 0] - answers[:, 1]).reshape(3, 500).std(-1)
  assert spread[1] < 0.15 * spread[0] and spread[2] < 0.15 * spread[1]
