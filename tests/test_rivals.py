"""What rivals of output randomization draw: self-ensembles before convolutions, augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from orjax import defenses
from orjax import models
from orjax import oracles
from orjax import training
from orjax.models import convnet
from orjax.models import wide_resnet

_IMAGES = (64, 8, 8, 1)


def _keys(number, seed=0):
  return jax.random.split(jax.random.key(seed), number)


def _images(shape=_IMAGES):
  return jnp.asarray(np.random.default_rng(0).random(shape, np.float32))


def _identity(variables):
  """The same network, but that every convolution hands on what it is given."""
  unit = np.zeros((3, 3, 1, 1), np.float32)
  unit[1, 1] = 1
  change = lambda path, x: (
    jnp.asarray(unit)
    if x.shape == unit.shape
    else jnp.zeros_like(x)
    if "Conv" in path[1].key
    else x
  )
  return jax.tree_util.tree_map_with_path(change, variables)


def _inputs_of_convolutions(images, keys, train=False, **options):
  """What each of the four convolutions is given [B, H, W, 1], and what it would be noiselessly."""
  module = convnet.ConvNet(
    features=(1, 1), hidden=4, padding="SAME", noise_location="before", **options
  )
  variables = _identity(module.init(jax.random.key(0), images[:1]))
  _, kept = module.apply(
    variables,
    images,
    train=train,
    noise_keys=keys,
    rngs={"dropout": jax.random.key(1)},
    capture_intermediates=True,
    mutable=["intermediates"],
  )
  given = [kept["intermediates"][f"Conv_{i}"]["__call__"][0] for i in range(4)]
  relu = [jnp.maximum(x, 0) for x in given]
  pooled = relu[1].reshape(len(images), 4, 2, 4, 2, 1).max((2, 4))
  return given, [images - 0.5, relu[0], pooled, relu[2]]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("init_ratio", [1.0, 2.0])
def test_the_law_of_the_noise_before_each_convolution(train, init_ratio):
  given, clean = _inputs_of_convolutions(
    _images(), _keys(64), train, noise_stddev=0.1, noise_init_ratio=init_ratio
  )
  noises = [np.ravel(x - y) for x, y in zip(given, clean)]
  for layer, noise in enumerate(noises):
    stddev = 0.1 * init_ratio if layer == 0 else 0.1
    pvalue = lambda scale: stats.kstest(noise / (scale * stddev), stats.norm.cdf).pvalue
    assert pvalue(1) > 0.001, layer
    assert max(pvalue(2 / 3), pvalue(3 / 2)) < 1e-6, layer
  size = min(map(len, noises))
  correlations = np.corrcoef([noise[:size] for noise in noises]) - np.eye(4)
  assert np.abs(correlations).max() < 5 / size**0.5, "layers draw independently"


def test_a_rows_noise_is_the_same_bits_in_any_batch():
  images, keys = _images(), _keys(64)
  whole, _ = _inputs_of_convolutions(images, keys, noise_stddev=0.1)
  for rows in (slice(0, 1), slice(5, 12)):
    part, _ = _inputs_of_convolutions(images[rows], keys[rows], noise_stddev=0.1)
    for one, all_of_them in zip(part, whole):
      np.testing.assert_array_equal(one, all_of_them[rows])


def test_wide_networks_draw_before_every_convolution_too(monkeypatch):
  added = []
  monkeypatch.setattr(
    wide_resnet, "add_noise", lambda x, keys, layer, stddev: added.append((layer, stddev)) or x
  )
  module = wide_resnet.WideResNet(
    (4, 4, 4, 4), num_units=1, noise_location="before", noise_stddev=3.0, noise_init_ratio=2.0
  )
  images = jnp.zeros((2, 8, 8, 3))
  jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), images, noise_keys=_keys(2)))
  assert added == [(0, 6.0), *((layer, 3.0) for layer in range(1, 7))]


def test_only_noise_before_convolutions_has_a_ratio():
  with pytest.raises(ValueError, match="noise_init_ratio is of noise before convolutions"):
    models.build("convnet_digits", noise_location="every", noise_init_ratio=2.0)
  with pytest.raises(ValueError, match="noise_init_ratio must be 0 or more and finite, not -1"):
    models.build("convnet_digits", noise_location="before", noise_init_ratio=-1)


def test_an_ensemble_answers_the_mean_of_draws_that_differ():
  network = models.build("convnet_digits", noise_location="before", noise_stddev=0.5)
  variables = network.init(jax.random.key(0))

  def predict(v, keys, x, stddevs):
    return jax.nn.softmax(network.apply_noisy(v, keys, x, stddevs))

  classifier = oracles.from_predict(
    lambda v, x: jax.nn.softmax(network.apply(v, x)), variables, noisy=predict
  )
  one, several = defenses.inner_noise(), defenses.mean_answer(defenses.inner_noise(), 5)
  setting, images = one.settings(0.5), _images((3, 8, 8, 1))
  server = several.wrap(classifier, setting)
  answers = jax.jit(server.query)(jax.random.key(7), images)
  ask = jax.jit(one.wrap(classifier, setting).query)
  draws = np.stack([ask(key, images) for key in _keys(5, seed=7)])
  np.testing.assert_allclose(answers, draws.mean(0), rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(answers.sum(-1), 1, rtol=1e-5)
  gaps = [np.abs(draws[i] - draws[j]).max() for i in range(5) for j in range(i)]
  assert min(gaps) > 1e-4 and server.queries_per_row == 1


def test_augmentation_is_fresh_gaussian_noise_that_is_not_clipped():
  images = jnp.broadcast_to(_images((1, 8, 8, 1)), (200, 8, 8, 1))
  augment = jax.jit(training.gaussian_noise(0.25))
  found = augment(jax.random.key(0), images)
  noise = np.ravel(found - images)
  pvalue = lambda scale: stats.kstest(noise / (scale * 0.25), stats.norm.cdf).pvalue
  assert pvalue(1) > 0.001 and max(pvalue(2 / 3), pvalue(3 / 2)) < 1e-6
  assert found.min() < -0.1 and found.max() > 1.1
  rows = noise.reshape(200, -1)
  assert np.abs(np.corrcoef(rows[:20]) - np.eye(20)).max() < 0.7, "each row draws its own"
  assert np.abs(augment(jax.random.key(1), images) - found).max() > 0.1
  mirrored = training.gaussian_noise(1e-6, after=lambda key, x: x[:, :, ::-1])
  np.testing.assert_allclose(
    mirrored(jax.random.key(0), images), images[:, :, ::-1], atol=1e-4, rtol=0
  )
  with pytest.raises(ValueError, match="stddev must be 0 or more and finite, not -1"):
    training.gaussian_noise(-1)
