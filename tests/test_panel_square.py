"""Square: windows as published, the optimum of a linear model, noise-aware comparisons."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest

from orjax import objectives
from orjax import oracles
from orjax.attacks.square import square
from orjax.types import Example

# The package also exports the factory under the module's name.
module = importlib.import_module("orjax.attacks.square")
MARGIN = objectives.margin(confidence=np.inf)


def _published_share(p, num_asked, horizon):
  """The published schedule, interval by interval."""
  it = int(num_asked / horizon * 10_000)
  ends = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000, 10_000]
  return p / 2 ** sum(it > end for end in ends[:-1])


@pytest.mark.parametrize("horizon", [10_000, 2000])
def test_windows_shrink_by_the_published_schedule(horizon):
  for num_asked in (0, 10, 11, 51, 200, 201, 501, 1100, 1999, 2000, 9000):
    share = _published_share(0.3, num_asked, horizon)
    side = module.window_side(jnp.int32(num_asked), 0.3, horizon, 28 * 28)
    assert int(side) == round(np.sqrt(share * 28 * 28)), num_asked


def _pyramid(x, y):
  """Nested squares around the middle, each adding 1 / k^2, cut off at the edges."""
  heights = np.zeros((x, y))
  for k in range(max(x, y) // 2 + 1):
    rows = slice(max(x // 2 - k, 0), x // 2 + k + 1)
    heights[rows, max(y // 2 - k, 0) : y // 2 + k + 1] += 1 / (k + 1) ** 2
  return heights / np.linalg.norm(heights)


@pytest.mark.parametrize("side", [2, 3, 5, 7, 12])
def test_two_lobes_are_two_pyramids(side):
  index = np.arange(14, dtype=np.int32) - 1  # the square begins at 1
  rows = np.broadcast_to(index[:, None], (14, 14))
  found = np.asarray(module.two_lobes(jnp.asarray(rows), jnp.asarray(rows.T), jnp.int32(side)))
  expected = np.zeros((14, 14))
  half = side // 2
  expected[1 : 1 + half, 1 : 1 + side] = _pyramid(half, side)
  expected[1 + half : 1 + side, 1 : 1 + side] = -_pyramid(side - half, side)
  np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("edges", [False, True])
def test_proposals_are_squares_at_the_surface_that_change_something(edges):
  image = jnp.asarray(np.random.default_rng(0).uniform(size=(7, 7, 2)), jnp.float32)
  example = Example(image, jnp.int32(0))
  proposals = module._linf(0.1, 0.2, 10_000, edges)
  start, _ = proposals.init(jax.random.key(0), example)
  np.testing.assert_array_equal(start - image, jnp.clip(image + (start - image), 0, 1) - image)
  signs = np.sign(np.asarray(start - image))
  assert (signs == signs[:1]).mean() > 0.8, "stripes, but where the box cuts them off"
  touched = np.zeros((7, 7), bool)
  propose = jax.jit(lambda key: proposals.propose(key, example, start, (), jnp.int32(40))[0])
  for seed in range(80):
    found = np.asarray(propose(jax.random.key(seed)))
    changed = found != np.asarray(start)
    assert changed.any()
    there = np.clip(np.asarray(image) + 0.1 * np.asarray([[-1], [1]])[:, None, None], 0, 1)
    at_surface = np.isclose(found, there[0]) | np.isclose(found, there[1])
    assert at_surface[changed].all()
    touched |= changed.any(-1)
  assert touched[:6, :6].all() and touched[6].any() == edges == touched[:, 6].any()


def test_proposals_in_l2_stay_on_the_sphere():
  image = jnp.full((13, 11, 3), 0.5)
  example = Example(image, jnp.int32(0))
  proposals = module._l2(1.5, 0.1, 10_000, False)
  start, _ = proposals.init(jax.random.key(0), example)
  np.testing.assert_allclose(np.linalg.norm(start - image), 1.5, rtol=1e-5)
  found, _ = proposals.propose(jax.random.key(1), example, start, (), jnp.int32(600))
  np.testing.assert_allclose(np.linalg.norm(found - image), 1.5, rtol=1e-5)
  changed = (np.abs(np.asarray(found - start)) > 1e-6).any(-1)
  assert 9 <= changed.sum() <= 18, "two windows of side 3"


@pytest.mark.parametrize(
  "comparison, factor, wins",
  [("cached", 1.1, True), ("cached", 0.97, False), ("sequential", 1.1, True)],
)
def test_the_optimum_of_a_linear_model_in_linf(comparison, factor, wins):
  """Within 10 %: the margin over the l1 norm of its gradient."""
  images, labels = panel.images_at(0.06, "linf")
  attack = square(
    MARGIN, radius=factor * 0.06, window_share=0.3, horizon=500, edges=True, comparison=comparison
  )
  result = panel.run(attack, panel.clean(), images, labels, 500)
  assert (np.asarray(result.claimed) == wins).all()
  assert (panel.fooled(result.adversarial, labels) == wins).all()


def _white_model(size):
  """A linear model of size x size images: a query, images, labels, closest l2 distances."""
  rng = np.random.default_rng(0)
  weights = rng.normal(size=(size * size, 3)).astype(np.float32)
  images = rng.uniform(0.4, 0.6, size=(4, size, size, 1)).astype(np.float32)
  logits = images.reshape(4, -1) @ weights
  labels = logits.argmax(1).astype(np.int32)
  oracle = oracles.from_predict(
    lambda v, x: jax.nn.softmax(0.3 * x.reshape(len(x), -1) @ v), jnp.asarray(weights)
  )
  gaps = [
    (logits[i, y] - np.delete(logits[i], y))
    / np.linalg.norm(weights[:, [y]] - np.delete(weights, y, 1), axis=0)
    for i, y in enumerate(labels)
  ]
  return oracle, images, labels, np.min(gaps, axis=1)


def test_the_optimum_of_a_linear_model_in_l2():
  """Windows of 3 x 3 cannot follow white weights: within 75 % of the optimum, not 15 %."""
  oracle, images, labels, optimum = _white_model(12)
  for factor, wins in ((1.75, True), (1.15, False)):
    attack = square(MARGIN, radius=float(factor * optimum[1]), norm="l2", horizon=2500)
    result = panel.run(attack, oracle, images[1:2], labels[1:2], 2500)
    assert bool(result.claimed[0]) == wins


@pytest.mark.parametrize(
  "norm, comparison, lead", [("l2", "asked_again", 2), ("linf", "sequential", 3)]
)
def test_contract(norm, comparison, lead, linear_images):
  images, labels = linear_images
  oracle = panel.clean()
  if norm == "l2":
    oracle, images, labels, _ = _white_model(11)
  attack = square(
    MARGIN, radius=0.05, norm=norm, window_share=0.3, comparison=comparison, lead=lead
  )
  noisy = oracles.averaged(oracles.with_output_noise(oracle, 0.1), 3)
  panel.check_contract(attack, noisy, images, labels, 100, 0.05, norm)


def test_noise_stops_a_cached_loss_not_one_asked_again():
  """At stddev 0.1, by the clean verdict; all with the same vote on successes."""
  images, labels = panel.images_at(0.06, "linf")
  images, labels = np.tile(images, (4, 1, 1, 1)), np.tile(labels, 4)
  noisy = oracles.with_output_noise(panel.clean(), 0.1)
  rates = {}
  for comparison, lead in (("cached", 1), ("cached", 5), ("sequential", 5)):
    attack = square(
      MARGIN,
      radius=0.08,
      window_share=0.3,
      horizon=1000,
      edges=True,
      comparison=comparison,
      lead=lead,
    )
    result = panel.run(attack, noisy, images, labels, 1000)
    rates[comparison, lead] = panel.fooled(result.adversarial, labels).mean()
    if lead == 1:
      assert np.asarray(result.claimed).all(), "noise alone"
  assert rates["cached", 1] <= 0.1
  assert rates["sequential", 5] >= 0.75
  assert rates["sequential", 5] > rates["cached", 5] + 0.1


@pytest.mark.parametrize(
  "change, message",
  [
    ({"norm": "l1"}, "norm must be one of"),
    ({"comparison": "hoped"}, "comparison must be one of cached, asked_again, sequential"),
    ({"radius": 0.0}, "must be above 0"),
    ({"lead": 0}, "lead must be at least 1"),
  ],
)
def test_bad_numbers_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    square(MARGIN, **change)


def test_small_images_are_refused_in_l2(linear_images):
  attack = square(MARGIN, norm="l2")
  with pytest.raises(ValueError, match="at least 10 pixels a side"):
    panel.run(attack, panel.clean(), *linear_images, 100)
