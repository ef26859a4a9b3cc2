"""The probe-length law and the sizes of votes, each against a count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from orjax import estimators
from orjax.theory import probes


def _linear(gradient, loss_stddev):
  """A linear loss with noise, as an estimator asks it."""

  def loss_fn(key, points):
    noise = loss_stddev * jax.random.normal(key, (len(points),))
    losses = (points.reshape(len(points), -1) * gradient.reshape(1, -1)).sum(1) + noise
    return losses, losses[:, None]

  return loss_fn


def _estimates(gradient, loss_stddev, smoothing, num_pairs, num=300):
  estimator = estimators.nes(num_pairs=num_pairs, smoothing=smoothing)
  image = jnp.zeros_like(gradient)
  estimate = lambda key: estimator.estimate(key, _linear(gradient, loss_stddev), image).gradient
  keys = jax.random.split(jax.random.key(num_pairs), num)
  return np.asarray(jax.jit(lambda keys: jax.lax.map(estimate, keys, batch_size=20))(keys))


@pytest.mark.parametrize("num_pairs, rho", [(20, 0.0), (20, 3.0), (200, 20.0)])
def test_cosine_of_nes(num_pairs, rho):
  d, smoothing = 60, 0.1
  rng = np.random.default_rng(0)
  gradient = rng.normal(size=d).astype(np.float32)
  norm = np.linalg.norm(gradient)
  loss_stddev = np.sqrt(2 * rho) * smoothing * norm
  np.testing.assert_allclose(
    probes.noise_to_signal(loss_stddev, smoothing, norm), rho, rtol=1e-5, atol=1e-9
  )
  found = _estimates(jnp.asarray(gradient), float(loss_stddev), smoothing, num_pairs)
  cosines = found @ gradient / np.linalg.norm(found, axis=1) / norm
  expected = float(probes.nes_cosine(num_pairs, d, rho))
  assert abs(cosines.mean() - expected) < 0.02
  assert abs(cosines.mean() - float(probes.nes_cosine(num_pairs, d, 2 * rho + 1))) > 0.04


@pytest.mark.parametrize("num_pairs, rho", [(400, 5.0), (2000, 50.0), (100, 0.0)])
def test_wrong_signs_of_nes(num_pairs, rho):
  d, smoothing = 64, 0.1
  rng = np.random.default_rng(1)
  gradient = np.sign(rng.normal(size=d)).astype(np.float32)
  loss_stddev = np.sqrt(2 * rho) * smoothing * np.sqrt(d)
  found = _estimates(jnp.asarray(gradient), float(loss_stddev), smoothing, num_pairs, num=100)
  wrong = (np.sign(found) != gradient).mean()
  assert abs(wrong - float(probes.nes_wrong_signs(num_pairs, d, rho))) < 0.015


def test_break_even_smoothing_doubles_the_pairs():
  h = probes.break_even_smoothing(0.02, 1.5)
  np.testing.assert_allclose(probes.noise_to_signal(0.02, h, 1.5), 1, rtol=1e-6)


def _fall(estimates, gradient, norm):
  """Mean fall of a linear loss over the most possible, of one step in the ball."""
  if norm == "linf":
    return (np.sign(estimates) @ gradient).mean() / np.abs(gradient).sum()
  cosines = estimates @ gradient / np.linalg.norm(estimates, axis=1)
  return cosines.mean() / np.linalg.norm(gradient)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_estimate_of_the_predicted_queries_crosses_the_margin(norm):
  """Drawn: NES at the queries of its law, central differences at those of the floor."""
  d, smoothing, share = 100, 0.1, 0.4
  gradient = np.full(d, 0.3, np.float32)
  dual = np.abs(gradient).sum() if norm == "linf" else np.linalg.norm(gradient)
  l2 = float(np.linalg.norm(gradient))
  for loss_stddev in (0.0, float(2 * smoothing * l2)):
    rho = probes.noise_to_signal(loss_stddev, smoothing, l2)
    queries = float(probes.nes_queries(share * dual, 1.0, dual, d, rho, norm=norm))
    found = _estimates(jnp.asarray(gradient), loss_stddev, smoothing, round(queries / 2), num=400)
    assert abs(_fall(found, gradient, norm) - share) < 0.02
  floor = probes.floor_queries(share * dual, 1.0, dual, d, 5.0, 0.4, norm=norm, l2_norm=l2)
  pairs = round(float(floor) / (2 * d))
  assert pairs > 10
  noise = np.random.default_rng(3).normal(size=(400, d)) * 5.0 / np.sqrt(2 * pairs) / 0.4
  assert abs(_fall(gradient + noise, gradient, norm) - share) < 0.02


def test_at_break_even_twice_the_pairs_give_the_cosine_without_noise():
  d, pairs, loss_stddev = 200, 60, 0.05
  gradient = np.full(d, 0.1, np.float32)
  h = float(probes.break_even_smoothing(loss_stddev, np.linalg.norm(gradient)))
  noisy = _estimates(jnp.asarray(gradient), loss_stddev, h, 2 * pairs)
  clear = _estimates(jnp.asarray(gradient), 0.0, h, pairs)
  assert abs(_fall(noisy, gradient, "l2") - _fall(clear, gradient, "l2")) < 0.02


def test_central_differences_meet_the_floors():
  """One coordinate a probe: the estimator that the bounds allow, at probe length h."""
  d, per_coordinate, h, loss_stddev = 50, 8, 0.2, 0.4
  num_queries = 2 * d * per_coordinate
  rng = np.random.default_rng(2)
  gradient = np.full(d, 0.3)
  noise = loss_stddev * rng.normal(size=(400, 2, per_coordinate, d))
  estimate = gradient + (noise[:, 0] - noise[:, 1]).mean(1) / (2 * h)
  floor = float(probes.least_squared_error(num_queries, d, loss_stddev, h))
  np.testing.assert_allclose(np.square(estimate - gradient).sum(1).mean(), floor, rtol=0.03)
  numbers = (num_queries, d, loss_stddev, h, np.linalg.norm(gradient))
  wrong = (estimate < 0).mean()
  assert abs(wrong - float(probes.least_wrong_signs(*numbers))) < 0.01
  assert float(probes.least_wrong_signs(*numbers, adaptive=True)) <= wrong
  assert float(probes.least_wrong_signs(1.0, d, 9.0, h, 1.0, adaptive=True)) > 0.4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_predicted_queries_are_where_the_estimate_just_suffices(norm):
  """Solved for the pairs, the law gives back the share that was asked for."""
  d, rho, radius = 400, 7.0, 0.1
  gradient = np.full(d, 0.05)
  dual = np.abs(gradient).sum() if norm == "linf" else np.linalg.norm(gradient)
  margin = 0.3 * radius * dual
  queries = probes.nes_queries(margin, radius, dual, d, rho, norm=norm)
  if norm == "linf":
    wrong = probes.nes_wrong_signs(queries / 2, d, rho)
    np.testing.assert_allclose(radius * dual * (1 - 2 * wrong), margin, rtol=1e-4)
  else:
    cosine = probes.nes_cosine(queries / 2, d, rho)
    np.testing.assert_allclose(radius * dual * cosine, margin, rtol=1e-4)
  assert probes.nes_queries(2 * radius * dual, radius, dual, d, rho, norm=norm) == np.inf
  # At NES's own probe length and much noise it needs what the best needs.
  smoothing, l2 = 0.01, np.linalg.norm(gradient)
  loss_stddev = 200 * smoothing * l2
  floor = probes.floor_queries(
    margin, radius, dual, d, loss_stddev, smoothing * np.sqrt(d), norm=norm, l2_norm=l2
  )
  noisy = probes.noise_to_signal(loss_stddev, smoothing, l2)
  needed = probes.nes_queries(margin, radius, dual, d, noisy, norm=norm)
  np.testing.assert_allclose(needed, floor, rtol=1e-3)
  with pytest.raises(ValueError, match="norm must be one of"):
    probes.nes_queries(margin, radius, dual, d, rho, norm="l1")


def test_floors_of_known_attacks():
  """A quarter of the signs wrong at stddev .01 on the margin, |g| = 1: only r differs."""
  quarter = stats.norm.ppf(0.75) ** 2
  loss_stddev = 0.01 * np.sqrt(2)
  for num_pixels, probe_length, queries in (
    (784, 1e-4, 6e9),  # ZOO on MNIST
    (3072, 0.1, 9e4),  # Bandits on CIFAR10
    (150_528, 0.39, 1e7),  # QL on ImageNet
  ):
    floor = quarter * probes.least_squared_error(1.0, num_pixels, loss_stddev, probe_length)
    np.testing.assert_allclose(floor, queries, rtol=0.4)


def test_the_floor_in_linf_needs_both_norms():
  with pytest.raises(ValueError, match="linf needs l2_norm"):
    probes.floor_queries(0.1, 0.1, 10.0, 100, 0.1, 0.1, norm="linf")


@pytest.mark.parametrize("rho, offset", [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0)])
def test_gradients_from_labels(rho, offset):
  """Labels of probes around a plane, flipped by noise on the score."""
  d, num_probes, trials = 40, 300, 200
  rng = np.random.default_rng(3)
  u = rng.normal(size=(trials, num_probes, d))
  u /= np.linalg.norm(u, axis=-1, keepdims=True)
  score = np.sqrt(d) * u[..., 0] + offset + np.sqrt(2 * rho) * rng.normal(size=(trials, num_probes))
  label = np.sign(score)
  attenuation = float(probes.label_attenuation(rho, offset))
  np.testing.assert_allclose((label * np.sqrt(d) * u[..., 0]).mean(), attenuation, atol=0.015)
  centred = label - label.mean(1, keepdims=True)
  # The mean label carries no direction, and its variance no noise.
  found = (centred[..., None] * u).mean(1) / centred.std(1)[:, None]
  cosines = found[:, 0] / np.linalg.norm(found, axis=1)
  expected = float(probes.label_cosine(num_probes, d, attenuation / centred.std(1).mean()))
  assert abs(cosines.mean() - expected) < 0.02


def test_a_noisy_label_tells_two_over_pi_of_the_noisy_score():
  np.testing.assert_allclose(probes.label_information(0.0, 0.3), 2 / np.pi, rtol=1e-5)
  rng = np.random.default_rng(4)
  scores = 0.1 + rng.normal(size=(4000, 400))
  by_label = stats.norm.ppf((scores > 0).mean(1))
  ratio = scores.mean(1).var() / by_label.var()
  np.testing.assert_allclose(ratio, probes.label_information(0.1, 1.0), rtol=0.08)


def test_flips_give_the_margin():
  rng = np.random.default_rng(5)
  answers = np.asarray([0.55, 0.45]) + 0.1 * rng.normal(size=(200_000, 2))
  rate = (answers[:, 1] > answers[:, 0]).mean()
  np.testing.assert_allclose(probes.margin_from_flips(rate, 0.1), 0.1, rtol=0.03)


def test_bits():
  rng = np.random.default_rng(6)
  for rho in (0.05, 1.0):
    signal = rng.normal(size=200_000)
    seen = signal + np.sqrt(2 * rho) * rng.normal(size=200_000)
    correlation = np.corrcoef(signal, seen)[0, 1]
    bits = -np.log2(1 - correlation**2) / 2
    np.testing.assert_allclose(probes.bits_per_query(rho), bits, rtol=0.03)
  np.testing.assert_allclose(probes.bits_per_query(1e4), 3.6e-5, rtol=0.02)
  answers = rng.normal(size=(5000, 3)).astype(np.float32) * np.float32([1, 2, 0])
  found = probes.bits_of_answers(jnp.asarray(answers), 1.0)
  np.testing.assert_allclose(found, np.log2([2, 5]).sum() / 2, rtol=0.02)


def test_two_models_are_not_told_apart_sooner():
  """The best test of two means errs more often than allowed at the bound's answers."""
  for error in (0.05, 0.2):
    num = float(probes.two_point_queries(0.02, 0.1, error))
    best = stats.norm.cdf(-np.sqrt(num) * 0.02 / (2 * 0.1))
    assert error < best < 0.5
    assert stats.norm.cdf(-np.sqrt(8 * num) * 0.02 / (2 * 0.1)) < error


@pytest.mark.parametrize(
  "flip_rate, lead, looks", [(0.001, 1, 1), (0.05, 1, 1), (0.2, 3, 4.8), (0.31, 4, 9.7)]
)
def test_votes(flip_rate, lead, looks):
  assert float(probes.vote_lead(flip_rate, 0.05)) == lead
  np.testing.assert_allclose(probes.vote_looks(lead, flip_rate), looks, rtol=0.01)
  rng = np.random.default_rng(7)
  steps = np.where(rng.uniform(size=(20_000, 300)) < flip_rate, -1, 1)
  walks = steps.cumsum(1)
  stopped = np.abs(walks) >= lead
  assert stopped.any(1).all()
  first = stopped.argmax(1)
  wrong = (walks[np.arange(20_000), first] < 0).mean()
  assert abs(wrong - float(probes.vote_error(lead, flip_rate))) < 0.005
  np.testing.assert_allclose(first.mean() + 1, looks, rtol=0.03)


def test_votes_that_cannot_end():
  assert float(probes.vote_lead(0.5, 0.05)) == np.inf
  np.testing.assert_allclose(probes.vote_looks(5, 0.5), 25)
  assert float(probes.vote_lead(0.45, 0.05)) == 15


@pytest.mark.parametrize("error", [0.05, 0.01])
def test_sequential_tests(error):
  loss_stddev, gain = 1.0, 0.2
  limit = float(probes.sequential_limit(loss_stddev, gain, error))
  rng = np.random.default_rng(8)
  sums = (gain + np.sqrt(2) * loss_stddev * rng.normal(size=(4000, 1500))).cumsum(1)
  stopped = np.abs(sums) >= limit
  assert stopped.any(1).mean() > 0.999
  first = stopped.argmax(1)
  assert (sums[np.arange(4000), first] < 0).mean() <= 1.1 * error
  pairs = float(probes.sequential_pairs(loss_stddev, gain, error))
  assert 1.0 < (first.mean() + 1) / pairs < 1.2, "the overshoot costs some"
  assert 0.4 < pairs / float(probes.fixed_pairs(loss_stddev, gain, error)) < 0.5


def test_repeats():
  np.testing.assert_allclose(probes.resubmission_rate(0.31, 10), 1 - 0.69**10, rtol=1e-5)
  for rate, num in ((0.3, 9), (0.05, 3)):
    tail = stats.binom.sf((num - 1) / 2, num, rate)
    np.testing.assert_allclose(probes.majority_error(rate, num), tail, rtol=1e-4)
  rng = np.random.default_rng(9)
  p = rng.uniform(size=100_000)
  np.testing.assert_allclose((np.round(p, 2) - p).std(), probes.rounding_stddev(2), rtol=0.01)
