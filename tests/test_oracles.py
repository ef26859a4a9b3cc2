"""The defense and the attacker's averaging, as distributions and as programs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
from orjax import models
from orjax import oracles
from orjax.types import LOG_FLOOR
from orjax.types import Oracle


def _clean():
  return oracles.from_predict(linear_predict, linear_variables())


def _images(num_images, seed=0):
  return jax.random.uniform(jax.random.key(seed), (num_images, 4, 4, 1))


def _noise(stddev, key=1, num_images=4000):
  images = _images(num_images)
  answers = oracles.with_output_noise(_clean(), stddev).query(jax.random.key(key), images)
  return np.asarray(answers - _clean().query(jax.random.key(0), images))


@pytest.mark.parametrize("stddev", [1e-2, 0.24, 1.0])
def test_noise_has_the_stated_stddev_and_no_other(stddev):
  noise = _noise(stddev).ravel()
  pvalue = lambda scale: stats.kstest(noise / (scale * stddev), stats.norm.cdf).pvalue
  assert pvalue(1) > 1e-3
  assert pvalue(2 / 3) < 1e-6
  assert pvalue(3 / 2) < 1e-6


def test_noise_is_independent_between_rows_classes_and_keys():
  noise = _noise(1.0)
  assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.08
  assert np.abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.08
  assert np.abs(np.corrcoef(noise[:, 0], _noise(1.0, key=2)[:, 0])[0, 1]) < 0.08


def test_answers_are_neither_clipped_nor_renormalised():
  noise = _noise(1.0)
  answers = noise + np.asarray(_clean().query(jax.random.key(0), _images(4000)))
  assert answers.min() < -1 and answers.max() > 2
  assert np.std(answers.sum(-1)) > 1


def test_per_class_stddev():
  stddev = np.array([0.1, 1.0, 10.0], np.float32)
  np.testing.assert_allclose(_noise(stddev).std(0), stddev, rtol=0.06)


def test_covariance_factor():
  factor = np.array([[1, 0, 0], [2, 1, 0], [0, 0.5, 0.3]], np.float32)
  np.testing.assert_allclose(
    np.cov(_noise(factor, num_images=40000).T), factor @ factor.T, atol=0.12
  )


def test_mean_shifts_the_answers():
  images = _images(5000)
  mean = np.array([1.0, 0.0, -2.0], np.float32)
  noisy = oracles.with_output_noise(_clean(), 0.1, mean=mean).query(jax.random.key(1), images)
  difference = noisy - _clean().query(jax.random.key(1), images)
  np.testing.assert_allclose(difference.mean(0), mean, atol=0.01)


def test_no_noise_is_the_clean_oracle_bit_for_bit():
  images = _images(7)
  noisy = oracles.with_output_noise(_clean(), 0.0).query(jax.random.key(1), images)
  np.testing.assert_array_equal(noisy, _clean().query(jax.random.key(2), images))


def test_bad_stddev_is_refused():
  with pytest.raises(ValueError, match="stddev must be"):
    oracles.with_output_noise(_clean(), np.zeros((2, 2, 2)))


def test_averaging_charges_every_sample_and_shrinks_the_noise():
  images = _images(2000)
  noisy = oracles.with_output_noise(_clean(), 1.0)
  averaged = oracles.averaged(noisy, 25)
  assert averaged.queries_per_row == 25
  assert oracles.averaged(averaged, 2).queries_per_row == 50
  noise = averaged.query(jax.random.key(0), images) - _clean().query(jax.random.key(0), images)
  np.testing.assert_allclose(np.asarray(noise).std(), 1 / 5, rtol=0.04)
  with pytest.raises(ValueError, match="num_samples"):
    oracles.averaged(noisy, 0)


def test_logarithms_of_answers_are_logits_to_a_constant():
  logits = oracles.log_answers(oracles.averaged(_clean(), 3))
  assert logits.queries_per_row == 3
  images = _images(20)
  found = logits.query(jax.random.key(0), images)
  wanted = linear_logits(linear_variables(), images)
  np.testing.assert_allclose(found - found[:, :1], wanted - wanted[:, :1], atol=1e-5)
  # One below 0 is as good as none, and has no slope.
  below = oracles.log_answers(
    Oracle(lambda key, images: linear_predict(linear_variables(), images) - 2, 1)
  )
  ask = lambda x: below.query(jax.random.key(0), x)
  np.testing.assert_allclose(ask(images), np.log(LOG_FLOOR), rtol=1e-6)
  assert not jax.grad(lambda x: ask(x).sum())(images).any()


def test_averaging_asks_the_network_once():
  images = _images(4)
  network = oracles.from_predict(
    lambda variables, x: x.reshape(len(x), -1) @ variables["weights"], linear_variables()
  )

  def flops(num_samples):
    oracle = oracles.averaged(oracles.with_output_noise(network, 1.0), num_samples)
    text = jax.jit(oracle.query).lower(jax.random.key(0), images).as_text()
    dots = [line for line in text.splitlines() if "dot_general" in line]
    assert len(dots) == 1
    return dots[0].split(":")[-1]

  assert flops(1) == flops(50)


def test_chunks_answer_the_same():
  images = _images(11)
  expected = _clean().query(jax.random.key(0), images)
  for rows in (1, 4, 11, 100):
    answers = oracles.in_chunks(_clean(), rows).query(jax.random.key(0), images)
    np.testing.assert_allclose(answers, expected, rtol=1e-6)
  noisy = oracles.with_output_noise(_clean(), 1.0)
  answers = oracles.in_chunks(noisy, 4).query(jax.random.key(0), images)
  assert len(np.unique(np.asarray(answers - expected))) == answers.size


@pytest.mark.parametrize("where", ["vmap", "vmap of vmap"])
def test_network_runs_on_one_flat_batch_axis(where):
  classifier = models.build("convnet_digits")
  variables = jax.eval_shape(classifier.init, jax.random.key(0))

  def query(variables, images):
    oracle = oracles.from_predict(classifier.apply, variables)
    ask = lambda images: oracle.query(jax.random.key(0), images)
    for _ in range(images.ndim - 4):
      ask = jax.vmap(ask)
    return ask(images)

  shape = (3, 5, 8, 8, 1) if where == "vmap" else (2, 3, 5, 8, 8, 1)
  text = jax.jit(query).lower(variables, jax.ShapeDtypeStruct(shape, jnp.float32)).as_text()
  convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
  assert len(convolutions) == 4
  for line in convolutions:
    assert "batch_group_count = 1" in line and "feature_group_count = 1" in line
    operand = line.split(" : (tensor<")[1].split(">")[0]
    assert operand.count("x") == 4  # [B, H, W, C] and the type


def test_products_are_lowered_at_highest_precision_whatever_the_default():
  classifier = models.build("convnet_digits")
  variables = jax.eval_shape(classifier.init, jax.random.key(0))
  images = jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32)

  def query(variables, images):
    return oracles.from_predict(classifier.apply, variables).query(jax.random.key(0), images)

  for default in ("bfloat16", "tensorfloat32", None):
    with jax.default_matmul_precision(default):
      text = jax.jit(query).lower(variables, images).as_text()
    products = [
      line
      for line in text.splitlines()
      if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
    ]
    assert len(products) == 7
    for line in products:
      assert line.count("HIGHEST") == 2, line


def test_query_is_traced_once_for_many_stddevs():
  @jax.jit
  @chex.assert_max_traces(n=1)
  def ask(stddev, images):
    return oracles.with_output_noise(_clean(), stddev).query(jax.random.key(0), images)

  for stddev in (0.0, 0.1, 1.0):
    ask(jnp.float32(stddev), _images(3))


def test_a_random_classifier_draws_each_row_from_a_key_of_its_own(linear_images):
  images, _ = linear_images
  images = jnp.asarray(images)

  def predict(variables, keys, x):
    noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
    return linear_logits(variables, x + noise)

  oracle = oracles.from_random_predict(predict, linear_variables(), rows_per_call=3)
  whole = oracles.from_random_predict(predict, linear_variables())
  key = lambda: jax.random.key(0)  # a key is consumed
  rows = oracle.query(key(), images)
  np.testing.assert_allclose(rows, whole.query(key(), images), rtol=1e-5)
  assert (np.abs(rows - oracle.query(jax.random.key(1), images)) > 1e-3).any()
  same = oracle.query(key(), jnp.broadcast_to(images[:1], images.shape))
  assert len({row.tobytes() for row in np.asarray(same)}) == len(images)
  keys = jax.random.split(key(), 4)
  under_vmap = jax.vmap(whole.query, in_axes=(0, None))(keys, images)
  np.testing.assert_allclose(
    under_vmap[2], whole.query(jax.random.split(key(), 4)[2], images), rtol=1e-5
  )
  slope = jax.grad(lambda x: oracle.query(key(), x)[:, 0].sum())(images)
  weights = np.asarray(linear_variables()["weights"])[:, 0].reshape(images.shape[1:])
  np.testing.assert_allclose(slope, np.broadcast_to(weights, slope.shape), rtol=1e-5)
