"""Attacks that bring their own search: gradients of other networks, an evolution strategy."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest
import scipy.fft

from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax.attacks.transfer import resized
from orjax.attacks.transfer import transferred
from orjax.types import Example
from orjax.types import Objective

# The package also exports the factory under the module's name.
evolution_module = importlib.import_module("orjax.attacks.evolution")
MARGIN = objectives.margin(confidence=np.inf)


def _logits(images):
  return linear_logits(linear_variables(), images)


@pytest.mark.parametrize("factor, wins", [(1.03, True), (0.98, False)])
def test_a_transfer_from_the_network_itself_reaches_the_optimum(factor, wins):
  """All of its signs are right, so that it ends in the best corner of the ball."""
  images, labels = panel.images_at(0.06, "linf")
  start = transferred(MARGIN, _logits, radius=factor * 0.06, diversity=0.0)
  keys = jax.random.split(jax.random.key(0), len(images))
  ends = jax.jit(jax.vmap(lambda key, *example: start(key, Example(*example))))
  ends = np.asarray(ends(keys, images, labels))
  assert (panel.fooled(ends, labels) == wins).all()
  np.testing.assert_allclose(panel.distances(ends, images, "linf"), factor * 0.06, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_momentum_is_of_gradients_of_mean_absolute_value_one(scale):
  """Of each substitute: logits as large as those of training with noise do not decide alone."""
  rng = np.random.default_rng(0)
  image = rng.uniform(0.4, 0.6, (4, 4, 1)).astype(np.float32)
  center = rng.uniform(0.4, 0.6, (4, 4, 1))
  other = rng.uniform(0.4, 0.6, (4, 4, 1))
  powers = ((4, center, scale), (2, other, 1.0))

  def network(power, center, scale):
    terms = lambda images: (images - center.astype(np.float32)[None]) ** power
    return lambda images: scale * terms(images).sum((1, 2, 3))[:, None]

  objective = Objective(lambda row, label: row[0], MARGIN.achieved)
  networks = [network(*x) for x in powers]
  start = transferred(objective, *networks, radius=0.05, num_steps=5, decay=0.7, diversity=0.0)
  found = start(jax.random.key(0), Example(jnp.asarray(image), jnp.int32(0)))
  moved, velocity = image.astype(np.float64), np.zeros_like(image, np.float64)
  for _ in range(5):
    each = [power * (moved - center) ** (power - 1) for power, center, _ in powers]
    gradient = sum(x / np.abs(x).mean() for x in each)
    velocity = 0.7 * velocity + gradient / np.abs(gradient).mean()
    moved = np.clip(moved - 0.01 * np.sign(velocity), image - 0.05, image + 0.05)
  np.testing.assert_allclose(found, moved, atol=1e-6)


def test_resized_images_are_whole_smaller_and_anywhere():
  keys = jax.random.split(jax.random.key(0), 200)
  ones = jnp.ones((44, 44, 1))
  found = np.asarray(jax.vmap(lambda key: resized(key, ones, 1.1))(keys))[..., 0]
  sides = found[:, 22].sum(1)
  np.testing.assert_allclose(sides, found[:, :, 22].sum(1), atol=1.01)  # whole pixels
  assert sides.min() == 40 and sides.max() == 44
  np.testing.assert_allclose(sides.mean(), 42, atol=0.3)
  assert np.ptp(np.argmax(found[:, 22] > 0.5, 1)) >= 3, "at other places"
  ramp = jnp.broadcast_to(jnp.linspace(0, 1, 44)[None, :, None], ones.shape)
  row = np.asarray(resized(keys[0], ramp, 1.1))[22, :, 0]
  inside = np.flatnonzero(row > 0.05)
  steps = np.diff(row[inside[:-3]])
  np.testing.assert_allclose(steps, steps[0], rtol=0.02)
  assert 1 <= steps[0] * 43 <= 1.1 * 1.001


def test_square_begins_where_a_transfer_ends():
  """Which needs one query of what fools the network as it is."""
  images, labels = panel.images_at(0.06, "linf")
  start = transferred(MARGIN, _logits, _logits, radius=0.07)
  attack = attacks.square(MARGIN, radius=0.07, start=start)
  result = panel.run(attack, panel.clean(), images, labels, 50)
  assert np.asarray(result.claimed).all() and (np.asarray(result.num_queries) == 1).all()
  panel.check_contract(
    attacks.square(
      MARGIN,
      radius=0.03,
      start=transferred(MARGIN, _logits, radius=0.07),  # outside of the ball
      comparison="sequential",
    ),
    oracles.with_output_noise(panel.clean(), 0.1),
    images,
    labels,
    40,
    radius=0.03,
  )


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: transferred(MARGIN), "there is no substitute"),
    (lambda: transferred(MARGIN, _logits, diversity=1.5), "diversity must be .* at most 1"),
    (lambda: transferred(MARGIN, _logits, factor=0.5), "factor must be at least 1"),
    (lambda: transferred(MARGIN, _logits, factor=np.nan), "factor must be at least 1"),
    (lambda: transferred(MARGIN, _logits, decay=np.inf), "decay must be .*finite"),
    (lambda: transferred(MARGIN, _logits, num_steps=0), "num_steps must be at least 1"),
    (lambda: attacks.evolution(MARGIN, algorithm="PSO"), "algorithm must be one of SNES"),
    (
      lambda: attacks.evolution(MARGIN, algorithm="CR_FM_NES", population_size=7),
      "population_size=7 must be even for CR_FM_NES",
    ),
  ],
)
def test_bad_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_equal_transfers_are_one_program():
  one, other = (transferred(MARGIN, _logits, radius=0.05) for _ in range(2))
  assert one == other and hash(one) == hash(other)
  assert one != transferred(MARGIN, _logits, _logits, radius=0.05)
  assert "_logits" in repr(one) and " at 0x" not in repr(one)


@pytest.fixture(scope="module")
def evosax():
  return pytest.importorskip("evosax", reason="evosax, of the extra `evolution`, is not installed")


def test_low_frequencies_are_an_inverse_cosine_transform():
  low_frequencies = evolution_module.low_frequencies
  coefficients = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
  padded = np.zeros((8, 12, 2))
  padded[:3, :5] = coefficients
  expected = scipy.fft.idctn(padded, axes=(0, 1), norm="ortho") * np.sqrt(8 * 12 / 15)
  np.testing.assert_allclose(low_frequencies(jnp.asarray(coefficients), 8, 12), expected, atol=1e-5)


@pytest.mark.parametrize(
  "algorithm, factor, wins",
  [("SNES", 0.98, False), *((name, 1.5, True) for name in evolution_module.ALGORITHMS)],
)
def test_evolution_comes_near_the_optimum(evosax, algorithm, factor, wins):
  """Within a half: it ranks candidates, and knows no corner of the ball."""
  images, labels = panel.images_at(0.06, "linf")
  attack = attacks.evolution(
    MARGIN, radius=factor * 0.06, algorithm=algorithm, population_size=12, num_frequencies=4
  )
  result = panel.run(attack, panel.clean(), images, labels, 2600)
  assert (np.asarray(result.claimed) == wins).all()
  assert (panel.fooled(result.adversarial, labels) == wins).all()


def test_evolution_depends_on_ranks_and_on_its_key_alone(evosax, linear_images):
  images, labels = (jnp.asarray(x[:5]) for x in linear_images)
  numbers = {"radius": 0.02, "population_size": 6, "num_frequencies": 2, "norm": "l2"}
  oracle = oracles.with_output_noise(panel.clean(), 0.01)

  def ends(objective, num):
    attack = attacks.evolution(objective, **numbers)
    one = lambda key, image, label: orjax.attack_one(
      key, attack, oracle, image, label, max_queries=70
    )
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(1), i))(jnp.arange(num))
    return jax.jit(jax.vmap(one))(keys, images[:num], labels[:num]).adversarial

  five = np.asarray(ends(MARGIN, 5))
  bent = MARGIN._replace(loss=lambda row, label: jnp.exp(3 * MARGIN.loss(row, label)))
  np.testing.assert_array_equal(five, ends(bent, 5))
  for num in (1, 3):
    np.testing.assert_array_equal(five[:num], ends(MARGIN, num))
  panel.check_contract(
    attacks.evolution(MARGIN, lead=2, **numbers),
    oracles.averaged(oracle, 2),
    *linear_images,
    100,
    radius=0.02,
    norm="l2",
  )


def test_evolution_says_what_to_install(monkeypatch):
  for name in ("evosax", "evosax.algorithms"):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=r"pip install 'orjax\[evolution\]'"):
    attacks.evolution(MARGIN)


def test_a_server_and_its_substitutes_are_two_networks():
  """The oracle's rows alone are charged, and what transfers is judged by it alone."""
  images, labels = panel.images_at(0.06, "linf")
  start = transferred(MARGIN, lambda images: -_logits(images), radius=0.07, diversity=0.0)
  attack = attacks.in_rounds(
    attacks.square(MARGIN, radius=0.07, start=start), num_steps=3, num_rounds=1
  )
  result = panel.run(attack, panel.clean(), images, labels, 50)
  assert (np.asarray(result.num_queries) == 3).all()
  first = attacks.in_rounds(
    attacks.square(MARGIN, radius=0.07, start=start), num_steps=1, num_rounds=1
  )
  result = panel.run(first, panel.clean(), images, labels, 50)
  assert not np.asarray(result.claimed).any()
  rows = linear_predict(linear_variables(), result.adversarial)
  before = linear_predict(linear_variables(), images)
  index = np.arange(len(labels))
  assert (np.asarray(rows)[index, labels] > np.asarray(before)[index, labels]).all()
