"""Gradient estimates against exact gradients, and against the hardware's rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import datasets
from orjax import estimators
from orjax import objectives
from orjax import oracles


def _quadratic(seed=0):
  rng = np.random.default_rng(seed)
  matrix = jnp.asarray(rng.normal(size=(16, 16)), jnp.float32)
  vector = jnp.asarray(rng.normal(size=16), jnp.float32)

  def loss(x):
    flat = x.reshape(-1)
    return flat @ matrix @ flat / 2 + vector @ flat

  def loss_fn(key, points):
    del key
    return jax.vmap(loss)(points), jnp.zeros((len(points), 3))

  return loss, loss_fn


def test_finite_difference_is_exact_on_quadratics():
  loss, loss_fn = _quadratic()
  x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 1)), jnp.float32)
  found = estimators.finite_difference(num_coordinates=16, spacing=0.25).estimate(
    jax.random.key(0), loss_fn, x
  )
  np.testing.assert_allclose(found.value, loss(x), rtol=1e-5)
  np.testing.assert_allclose(found.gradient, jax.grad(loss)(x), rtol=1e-4, atol=1e-4)
  # The same test rejects a scale that is off by 5 %.
  with pytest.raises(AssertionError):
    np.testing.assert_allclose(1.05 * found.gradient, jax.grad(loss)(x), rtol=1e-4, atol=1e-4)


def test_curvatures_are_exact_on_quadratics():
  loss, loss_fn = _quadratic()
  x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 1)), jnp.float32)
  coordinates = jnp.array([3, 0, 11])
  losses, _ = loss_fn(None, estimators.central_points(x, coordinates, 0.5))
  _, _, curvatures = estimators.central_differences(losses, 0.5)
  hessian = jax.hessian(lambda v: loss(v.reshape(4, 4, 1)))(x.reshape(-1))
  np.testing.assert_allclose(curvatures, jnp.diag(hessian)[coordinates], atol=1e-3)


def test_only_drawn_coordinates_are_asked():
  _, loss_fn = _quadratic()
  estimator = estimators.finite_difference(num_coordinates=5, spacing=0.1)
  asked = []

  def recording(key, points):
    asked.append(np.asarray(points))
    return loss_fn(key, points)

  found = estimator.estimate(jax.random.key(2), recording, jnp.zeros((4, 4, 1)))
  assert asked[0].shape == (estimator.num_points, 4, 4, 1) == (11, 4, 4, 1)
  assert (np.count_nonzero(asked[0].reshape(11, -1), axis=1) == [0] + [1] * 10).all()
  assert np.count_nonzero(found.gradient) == 5


def test_drawn_coordinates_are_distinct_and_uniform():
  draws = jax.vmap(lambda key: estimators.draw_coordinates(key, 10, 4))(
    jax.random.split(jax.random.key(0), 5000)
  )
  assert all(len(set(row)) == 4 for row in np.asarray(draws[:200]).tolist())
  counts = np.bincount(np.asarray(draws).ravel(), minlength=10)
  np.testing.assert_allclose(counts, 2000, rtol=0.1)
  with pytest.raises(ValueError, match="num_coordinates=11"):
    estimators.draw_coordinates(jax.random.key(0), 10, 11)


def test_noise_of_a_slope_grows_as_one_over_the_spacing():
  def noisy(key, points):
    return jax.random.normal(key, (len(points),)), jnp.zeros((len(points), 3))

  for spacing in (1e-1, 1e-4):
    estimator = estimators.finite_difference(num_coordinates=4096, spacing=spacing)
    gradient = estimator.estimate(jax.random.key(0), noisy, jnp.zeros((64, 64, 1))).gradient
    np.testing.assert_allclose(np.asarray(gradient).std(), 1 / (np.sqrt(2) * spacing), rtol=0.05)


def _rounded(apply, mantissa_bits):
  """The network with its image, and so its products, rounded as an accelerator would."""

  def rounded(variables, images):
    def crude(x):
      return jax.lax.reduce_precision(x, 8, mantissa_bits) if x.ndim > 1 else x

    variables = jax.tree.map(crude, variables)
    return apply(variables, crude(images - 0.5) + 0.5)

  return rounded


@pytest.mark.parametrize(
  "name, mantissa_bits, passes",
  [("float32", None, True), ("tf32", 10, False), ("bfloat16", 7, False)],
)
def test_differences_of_1e_4_need_full_float32(digits_model, name, mantissa_bits, passes):
  classifier, variables, _ = digits_model
  test = datasets.load("digits", "test")
  apply = classifier.apply if mantissa_bits is None else _rounded(classifier.apply, mantissa_bits)
  predict = lambda v, x: jax.nn.softmax(apply(v, x))
  oracle = oracles.from_predict(predict, variables)
  objective = objectives.log_margin()
  estimator = estimators.finite_difference(num_coordinates=64, spacing=1e-4)
  agreements = []
  right = np.flatnonzero(
    np.asarray(
      classifier.apply(variables, jnp.asarray(datasets.to_float(test.images[:40])))
    ).argmax(-1)
    == test.labels[:40]
  )[:12]  # of a misclassified image the loss is flat
  for image, label in zip(datasets.to_float(test.images[right]), test.labels[right]):

    def loss_fn(key, points):
      rows = oracle.query(key, points)
      return jax.vmap(objective.loss, in_axes=(0, None))(rows, jnp.int32(label)), rows

    def exact(x):
      row = jax.nn.log_softmax(classifier.apply(variables, x[None])[0])
      return row[label] - objectives.rival(row, jnp.int32(label))

    image = jnp.asarray(np.clip(image, 0.05, 0.95))
    gradient = np.asarray(jax.grad(exact)(image))
    found = np.asarray(estimator.estimate(jax.random.key(0), loss_fn, image).gradient)
    large = np.abs(gradient) > np.median(np.abs(gradient))
    agreements.append((np.sign(found) == np.sign(gradient))[large].mean())
  assert (np.mean(agreements) > 0.97) == passes, (name, np.mean(agreements))
