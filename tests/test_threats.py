"""Defenses as values, noise inside a network, and who answers whom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
from orjax import defenses
from orjax import models
from orjax import oracles
from orjax.threats import threat_model


def _noisy(variables, keys, images, stddevs):
  """The linear model with noise on its pixels."""
  noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
  moved = images + stddevs[:, None, None, None] * noise
  return jax.nn.softmax(linear_logits(variables, moved))


def _classifier(variables):
  return oracles.from_predict(linear_predict, variables, noisy=_noisy)


def _images(num_images=6):
  return jax.random.uniform(jax.random.key(7), (num_images, 4, 4, 1))


def test_noise_inside_is_drawn_for_each_row_and_has_the_stated_scale():
  oracle = oracles.from_predict(lambda v, x: x[:, 0, :2, 0], {}, noisy=_noise_alone)
  rows = oracle.inside(0.5).query(jax.random.key(0), jnp.zeros((4000, 4, 4, 1)))[:, 0]
  assert np.std(rows) == pytest.approx(0.5, rel=0.05)
  assert len(np.unique(rows)) == 4000


def _noise_alone(variables, keys, images, stddevs):
  del variables, images
  return stddevs[:, None] * jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)


def test_a_traced_stddev_of_each_trial_gives_the_bits_of_each_alone():
  images = jnp.stack([_images(), 1 - _images(), _images() / 2])
  stddevs = jnp.array([0.0, 0.1, 0.4])
  keys = lambda: jax.random.split(jax.random.key(1), 3)  # keys are consumed
  ask = lambda key, stddev, x: _classifier(linear_variables()).inside(stddev).query(key, x)
  batch = jax.jit(jax.vmap(ask))
  together = batch(keys(), stddevs, images)
  for i in range(3):
    alone = batch(keys()[i : i + 1], stddevs[i : i + 1], images[i : i + 1])
    np.testing.assert_array_equal(together[i], alone[0])
  clean = jnp.stack([linear_predict(linear_variables(), x) for x in images])
  np.testing.assert_allclose(together[0], clean[0], rtol=1e-5)
  assert (jnp.abs(together[1:] - clean[1:]) > 1e-4).mean() > 0.9


def test_gradients_go_through_the_noise_inside():
  oracle = _classifier(linear_variables()).inside(0.3)
  key = lambda: jax.random.key(2)
  loss = lambda x: jnp.log(oracle.query(key(), x)[:, 0]).sum()
  slope = jax.vmap(jax.grad(lambda x: loss(x[None])))(_images(3))

  def direct(x):
    keys = jax.random.split(key(), 1)
    return jnp.log(_noisy(linear_variables(), keys, x[None], jnp.full(1, 0.3))[0, 0])

  np.testing.assert_allclose(slope, jax.vmap(jax.grad(direct))(_images(3)), rtol=1e-4, atol=1e-6)


def test_a_network_takes_the_stddev_of_each_row():
  name = "convnet_digits"
  network = models.build(name, noise_location="every", noise_stddev=0.5)
  variables = network.init(jax.random.key(0))
  images = jax.random.uniform(jax.random.key(1), (3, *network.image_shape))
  keys = lambda: jax.random.split(jax.random.key(2), 3)
  own = network.apply_noisy(variables, keys(), images)
  given = network.apply_noisy(variables, keys(), images, jnp.array([0.5, 0.0, 0.5]))
  clean = network.apply(variables, images)
  np.testing.assert_allclose(given[::2], own[::2], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(given[1], clean[1], rtol=1e-5, atol=1e-5)
  assert np.abs(own - clean).max() > 1e-3
  with pytest.raises(ValueError, match="built without a place for noise"):
    models.build(name).apply_noisy(variables, keys(), images, jnp.ones(3))


@pytest.mark.parametrize(
  "wrap",
  [
    lambda o: oracles.with_output_noise(o, 0.1),
    lambda o: oracles.averaged(o, 1),
    lambda o: oracles.averaged(o, 2),
    lambda o: oracles.in_chunks(o, 2),
    lambda o: o.inside(0.1),
  ],
)
def test_what_wraps_an_oracle_hides_the_network(wrap):
  assert wrap(_classifier(linear_variables())).inside is None


def test_the_defenses_of_noise():
  assert defenses.output_noise().settings(1e-4) == {"stddev": 0.01}
  assert defenses.inner_noise().settings(0.5) == {"stddev": 0.5}
  assert defenses.no_defense().settings(0.0) == {}
  for make in (defenses.no_defense, defenses.output_noise, defenses.inner_noise):
    defense = make()
    setting = defense.settings(0.0)
    answers = defense.wrap(_classifier(linear_variables()), setting)
    np.testing.assert_array_equal(
      answers.query(jax.random.key(0), _images()), linear_predict(linear_variables(), _images())
    )
    assert 0.0 in defense.default and all(defense.settings(x) is not None for x in defense.default)


@pytest.mark.parametrize(
  "defense, strength, message",
  [
    (defenses.no_defense(), 0.1, "strength 0 only, not 0.1"),
    (defenses.output_noise(), -1.0, "noise variance must be 0 or more and finite, not -1"),
    (defenses.output_noise(), float("nan"), "noise variance must be 0 or more and finite"),
    (defenses.inner_noise(), float("inf"), "stddev of the noise must be 0 or more and finite"),
  ],
)
def test_bad_strengths_are_refused(defense, strength, message):
  with pytest.raises(ValueError, match=message):
    defense.settings(strength)


def test_noise_inside_needs_a_place_for_it():
  oracle = oracles.from_predict(linear_predict, linear_variables())
  with pytest.raises(ValueError, match="no place for noise inside it"):
    defenses.inner_noise().wrap(oracle, {"stddev": 0.1})


def test_a_threat_model_says_who_answers_whom():
  variables, other = linear_variables(), linear_variables(5)
  attacker = functools.partial(oracles.averaged, num_samples=4)
  threats = threat_model(_classifier, defenses.output_noise(), attacker=attacker)
  setting = defenses.output_noise().settings(0.01)
  key = lambda: jax.random.key(3)
  clean = threats.clean(variables).query(key(), _images())
  np.testing.assert_array_equal(clean, linear_predict(variables, _images()))
  server = oracles.with_output_noise(_classifier(variables), setting["stddev"])
  np.testing.assert_array_equal(
    threats.defended(variables, setting).query(key(), _images()), server.query(key(), _images())
  )
  asked = threats.asked(variables, setting)
  assert asked.queries_per_row == 4
  np.testing.assert_array_equal(
    asked.query(key(), _images()), oracles.averaged(server, 4).query(key(), _images())
  )
  # A transfer attacker asks a network of its own, and is judged by the server.
  transfer = threat_model(
    _classifier, defenses.output_noise(), attacker=attacker, asks=lambda v: _classifier(v)
  )
  pair = variables, other
  np.testing.assert_array_equal(transfer.clean(pair).query(key(), _images()), clean)
  assert transfer.asked(pair, setting).queries_per_row == 4
  np.testing.assert_allclose(
    transfer.asked(pair, setting).query(key(), _images()),
    linear_predict(other, _images()),
    rtol=1e-5,
  )
