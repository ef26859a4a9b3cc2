"""Closed forms against Monte Carlo and known values: the corrected hold, the printed fail."""

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy import stats

from orjax import records
from orjax import theory
from orjax.types import LOG_FLOOR

_SETTINGS = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)


def _overtaken(probs, stddev, num_draws=20_000, seed=0):
  """How often noise changes the class: a count."""
  rng = np.random.default_rng(seed)
  noisy = probs + stddev * rng.normal(size=(num_draws, len(probs)))
  return (noisy.argmax(-1) != probs.argmax()).sum()


def _within(count, num_draws, rate):
  # 99.99 % intervals, as hundreds of them are asked.
  low, high = records.wilson(count, num_draws, z=3.9)
  return low - 1e-9 <= rate <= high


@_SETTINGS
@hypothesis.given(
  logits=strategies.sampled_from((2, 3, 12)).flatmap(
    lambda size: strategies.lists(strategies.floats(-4, 4), min_size=size, max_size=size)
  ),
  stddev=strategies.floats(0.01, 2),
  seed=strategies.integers(0, 1000),
)
def test_exact_rate_and_union_bound_hold_for_random_answers(logits, stddev, seed):
  probs = np.asarray(jax.nn.softmax(jnp.asarray(logits, jnp.float32)))
  count = _overtaken(probs, stddev, seed=seed)
  exact = float(theory.exact_misclassification_rate(probs, stddev))
  assert _within(count, 20_000, exact)
  assert float(theory.union_bound(probs, stddev)) >= exact - 1e-5


@_SETTINGS
@hypothesis.given(
  margin=strategies.floats(0.05, 1),
  stddev=strategies.floats(0.05, 1),
  rival_stddev=strategies.floats(0.05, 1),
  mean=strategies.floats(-0.2, 0.2),
  rival_mean=strategies.floats(-0.2, 0.2),
)
def test_rate_of_one_rival(margin, stddev, rival_stddev, mean, rival_mean):
  rng = np.random.default_rng(0)
  top = margin + mean + stddev * rng.normal(size=20_000)
  rival = rival_mean + rival_stddev * rng.normal(size=20_000)
  rate = theory.misclassification_rate(
    margin, stddev, rival_stddev=rival_stddev, mean=mean, rival_mean=rival_mean
  )
  assert _within((rival > top).sum(), 20_000, float(rate))


@_SETTINGS
@hypothesis.given(margin=strategies.floats(0.05, 1), rate=strategies.floats(1e-3, 0.4))
def test_allowed_stddev_keeps_the_rate(margin, rate):
  stddev = theory.allowed_stddev(margin, rate)
  assert float(theory.misclassification_rate(margin, stddev)) == pytest.approx(rate, rel=1e-3)
  noise = np.random.default_rng(0).normal(size=(2, 20_000)) * float(stddev)
  assert _within((noise[0] > margin + noise[1]).sum(), 20_000, rate)


@pytest.mark.parametrize(
  "margin, rate, printed_error",
  [
    (1.0, 0.01, 0.0634),
    (0.5, 0.01, 0.1405),
    (0.5, 0.05, 0.1824),
    (0.1, 0.01, 0.3145),
    (0.9, 0.10, 0.1417),
    (0.9, 0.20, 0.1920),
  ],
)
def test_printed_stddev_misses_the_rate(margin, rate, printed_error):
  noise = np.random.default_rng(1).normal(size=(2, 400_000))
  errors = {}
  for as_printed in (False, True):
    stddev = float(theory.allowed_stddev(margin, rate, as_printed=as_printed))
    errors[as_printed] = (stddev * noise[0] > margin + stddev * noise[1]).mean()
  assert errors[False] == pytest.approx(rate, abs=0.002)
  assert errors[True] == pytest.approx(printed_error, abs=0.003)
  assert abs(errors[True] - rate) > 0.005


def test_printed_signs_of_the_means_are_wrong():
  arguments = {"margin": 0.3, "stddev": 0.2, "mean": -0.05, "rival_mean": 0.1}
  assert float(theory.misclassification_rate(**arguments)) == pytest.approx(0.298, abs=1e-3)
  assert float(theory.misclassification_rate(**arguments, as_printed=True)) < 1e-8


def test_one_rival_is_not_the_error():
  probs = lambda k: np.r_[0.9 + 0.1 / k, np.full(k - 1, 0.1 / k)].astype(np.float32)
  exact = lambda k, stddev: float(theory.exact_misclassification_rate(probs(k), stddev))
  assert exact(10, 0.3) == pytest.approx(0.0975, abs=2e-4)
  assert exact(1000, 0.24) == pytest.approx(0.314, abs=1e-3)
  assert float(theory.union_bound(probs(1000), 0.24)) == pytest.approx(4.0, abs=0.01)
  assert float(theory.misclassification_rate(0.9, 0.24)) == pytest.approx(0.004, abs=1e-4)


def test_tails_and_edges():
  probs = jnp.asarray([1.0, 0.0])
  for scale in (6, 9):  # of the normal's tail: 1e-9 and 1e-19
    rate = float(theory.exact_misclassification_rate(probs, 1 / (np.sqrt(2) * scale)))
    assert rate == pytest.approx(stats.norm.sf(scale), rel=1e-2)
  assert float(theory.exact_misclassification_rate(probs, 0.0)) == 0
  assert float(theory.exact_misclassification_rate(jnp.full(4, 0.25), 0.0)) == 0
  assert float(theory.exact_misclassification_rate(jnp.full(4, 0.25), 1.0)) == (
    pytest.approx(0.75, abs=1e-5)
  )
  assert theory.exact_misclassification_rate(jnp.full((3, 2, 4), 0.25), 0.1).shape == (3, 2)


def test_float64_keeps_its_digits():
  with jax.enable_x64(True):
    probs = jnp.asarray([1.0, 0.0], jnp.float64)
    rate = theory.exact_misclassification_rate(probs, 1 / (np.sqrt(2) * 12))
    assert rate.dtype == jnp.float64
    assert float(rate) == pytest.approx(stats.norm.sf(12), rel=1e-5)


def test_calibrate():
  rng = np.random.default_rng(0)
  probs = np.asarray(jax.nn.softmax(3 * jnp.asarray(rng.normal(size=(300, 10)), jnp.float32)))
  stddev = float(jax.jit(theory.calibrate)(probs, 0.05))
  wrong = sum(_overtaken(p, stddev, 2000, seed) for seed, p in enumerate(probs))
  assert _within(wrong, 300 * 2000, 0.05)
  # Twice the noise is too much, as the same test says.
  assert not _within(
    sum(_overtaken(p, 2 * stddev, 200, i) for i, p in enumerate(probs)), 300 * 200, 0.05
  )
  each = theory.calibrate(probs[:5], 0.05, per_image=True)
  np.testing.assert_allclose(theory.exact_misclassification_rate(probs[:5], each), 0.05, rtol=1e-3)
  assert np.isinf(theory.calibrate(probs[:5], 0.95))


@pytest.mark.parametrize(
  "p, stddev", [(0.3, 0.2), (0.05, 0.1), (0.3, 0.05), (0.001, 0.01), (0.9, 1.0), (0.9, 0.01)]
)
def test_moments_of_a_noisy_logarithm(p, stddev):
  density = lambda x, n: np.log(x) ** n * stats.norm.pdf(x, p, stddev)
  first, second = (
    integrate.quad(
      density,
      0,
      p + 12 * stddev,
      args=(n,),
      limit=2000,
      epsrel=1e-10,
      points=[min(p, 1e-3 * stddev), p],
    )[0]
    + stats.norm.cdf(-p / stddev) * np.log(1e-30) ** n
    for n in (1, 2)
  )
  mean, variance = theory.noisy_log_moments(p, stddev)
  assert float(mean) == pytest.approx(first, abs=1e-5)
  assert float(variance) == pytest.approx(second - first**2, rel=1e-5)


def test_slope_errors_against_monte_carlo():
  plus, minus, stddev, spacing = (0.6, 0.3), (0.55, 0.33), 0.05, 0.1
  rng = np.random.default_rng(0)
  noisy = [p + stddev * rng.normal(size=400_000) for p in (*plus, *minus)]
  logs = [np.log(np.maximum(x, 0) + LOG_FLOOR) for x in noisy]
  for values, exact, found in (
    (
      logs,
      np.log(plus[0] / plus[1]) - np.log(minus[0] / minus[1]),
      theory.log_slope_error(plus, minus, stddev, spacing),
    ),
    (noisy, plus[0] - plus[1] - minus[0] + minus[1], theory.margin_slope_error(stddev, spacing)),
  ):
    slopes = (values[0] - values[1] - values[2] + values[3]) / (2 * spacing)
    bias, deviation = map(float, found)
    assert slopes.mean() - exact / (2 * spacing) == pytest.approx(bias, abs=0.008)
    assert slopes.std() == pytest.approx(deviation, rel=0.01)
    assert slopes.std() != pytest.approx(deviation / np.sqrt(2), rel=0.01)


def test_deviation_grows_as_spacing_falls_and_bias_does_not():
  found = {}
  for spacing in (1e-1, 1e-4):  # the slope of p_c is 1, of p_o -0.5
    plus, minus = (0.6 + spacing, 0.3 - spacing / 2), (0.6 - spacing, 0.3 + spacing / 2)
    with jax.enable_x64(True):
      found[spacing] = [
        float(abs(x))
        for x in theory.log_slope_error(*jax.tree.map(np.float64, (plus, minus)), 0.01, spacing)
      ]
  assert found[1e-4][0] == pytest.approx(found[1e-1][0], rel=0.3)
  assert found[1e-4][1] == pytest.approx(1000 * found[1e-1][1], rel=0.1)


def test_bias_survives_float32_at_the_papers_spacing():
  h = 1e-4
  plus, minus = (0.6 + h, 0.3 - h / 2), (0.6 - h, 0.3 + h / 2)
  with jax.enable_x64(True):
    exact = float(theory.log_slope_error(*jax.tree.map(np.float64, (plus, minus)), 0.01, h)[0])
  found = float(theory.log_slope_error(*jax.tree.map(np.float32, (plus, minus)), 0.01, h)[0])
  assert found == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
  "stddev, exact, printed, expanded", [(0.05, 0.565, 0.524, 0.519), (0.24, None, 14.5, 11.95)]
)
def test_expanded_bias_and_the_spurious_cross_term(stddev, exact, printed, expanded):
  with jax.enable_x64(True):
    plus, minus = jax.tree.map(np.float64, ((0.6, 0.3), (0.599, 0.301)))
    found = [
      float(theory.expanded_log_slope_bias(plus, minus, stddev, 1e-4, as_printed=p))
      for p in (True, False)
    ]
    bias = abs(float(theory.log_slope_error(plus, minus, stddev, 1e-4)[0]))
  assert found == pytest.approx([printed, expanded], rel=2e-3)
  if exact is not None:
    assert bias == pytest.approx(exact, rel=5e-3)


def test_regulariser_has_a_half_and_sees_correlations():
  rng = np.random.default_rng(0)
  logits = jnp.asarray([2.0, 0.5, 0, -1, 0.2])
  factor = 0.1 * rng.normal(size=(5, 5)) + 0.1
  covariance = jnp.asarray(factor @ factor.T, jnp.float32)
  noise = rng.normal(size=(400_000, 5)) @ factor.T
  noise = np.concatenate([noise, -noise])  # antithetic: the linear term cancels
  loss = lambda z: np.log(np.exp(z).sum(-1)) - z[..., 0]
  excess = loss(np.asarray(logits, np.float64) + noise).mean() - loss(np.asarray(logits))
  assert float(theory.training_regulariser(logits, covariance)) == pytest.approx(excess, rel=0.03)
  printed = float(theory.training_regulariser(logits, covariance, as_printed=True))
  assert abs(printed / excess - 1) > 0.3
  isotropic = 0.01 * jnp.eye(5)
  assert float(theory.training_regulariser(logits, isotropic, as_printed=True)) == (
    pytest.approx(2 * float(theory.training_regulariser(logits, isotropic)))
  )


def test_training_loss_under_large_noise():
  logits = jnp.zeros(10).at[3].set(150.0)
  noise = 100 * np.random.default_rng(0).normal(size=(400_000, 10))
  noisy = np.asarray(logits) + noise
  loss = (noisy.max(-1) - noisy[:, 3]).mean()
  assert float(theory.asymptotic_training_loss(logits, 3, 100.0)) == pytest.approx(loss, rel=0.02)
  expected = [1.538, 0.745, 0.253, 0.055, 0.0074, 0.0006, 2.9e-5]
  found = [
    float(theory.asymptotic_training_loss(jnp.zeros(10).at[0].set(100.0 * k), 0, 100.0)) / 100
    for k in range(7)
  ]
  np.testing.assert_allclose(found, expected, rtol=0.02)
  assert float(theory.expected_largest(1000)) == pytest.approx(3.2414, abs=1e-3)


def test_mills_ratio_bounds():
  t = jnp.asarray([0.0, 0.5, 1, 3, 10])
  ratio = np.asarray(theory.mills_ratio(t))
  np.testing.assert_allclose(ratio[[0, 2, 3, 4]], [1.2533, 0.6557, 0.3046, 0.0990], rtol=1e-3)
  low, high = theory.mills_ratio_bounds(t)
  assert (low <= ratio * (1 + 1e-6)).all() and (ratio <= high * (1 + 1e-6)).all()
  low, high = theory.mills_ratio_bounds(t, as_printed=True)
  assert (low <= ratio).all() and (high < ratio).all()  # the printed upper bound is none


def test_lemma_1():
  for delta in (0.5, 0.1, 1e-3):
    exact = stats.norm.cdf(np.sqrt(2 * np.log(1 / delta)))
    assert exact >= float(theory.lemma_1(delta))
    assert exact < float(theory.lemma_1(delta, as_printed=True))


def test_lemma_2():
  for num_classes in (10, 1000):
    for scale in (0.5, 5.0, 60.0):
      q, bound = map(float, theory.lemma_2(num_classes, scale))
      assert stats.norm.cdf(q) ** num_classes <= bound
  assert float(theory.lemma_2(10, 66.7)[1]) == pytest.approx(0.665, abs=1e-3)
  assert np.isnan(float(theory.lemma_2(10, 70.0)[1]))
  q, bound = map(float, theory.lemma_2(1000, 3609.0))
  assert (q, bound) == (pytest.approx(2.07, abs=0.01), pytest.approx(0.05, abs=1e-3))


def test_noise_of_nes_and_the_best_spacing():
  assert float(theory.nes_slope_deviation(0.02, 0.1, 50)) == pytest.approx(0.02)
  h = float(theory.best_spacing(0.01, 1.0))
  error = lambda h: (h**2 / 6) ** 2 + 0.01**2 / (2 * h**2)
  assert error(h) < min(error(0.9 * h), error(1.1 * h))


def test_zero_bias_does_not_mean_equal_losses():
  # The paper: the error is never zero unless the losses are equal.
  plus, minus = (0.6, 0.3), (0.5302, 0.29)
  assert abs(np.log(plus[0] / plus[1]) - np.log(minus[0] / minus[1])) > 0.08
  bias = float(theory.expanded_log_slope_bias(plus, minus, 0.01, 1.0))
  other = float(theory.expanded_log_slope_bias(plus, (0.5302, 0.27), 0.01, 1.0))
  assert bias < other / 1000
