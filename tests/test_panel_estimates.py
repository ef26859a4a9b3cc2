"""SignHunter, SPSA and NES on little information: the optimum of a linear model."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest

from orjax import attacks
from orjax import objectives
from orjax.attacks.label_only import label_only
from orjax.attacks.label_only import partial_information
from orjax.attacks.sign_hunter import sign_hunter
from orjax.attacks.spsa import spsa
from orjax.types import Example

signs_module = importlib.import_module("orjax.attacks.sign_hunter")
labels_module = importlib.import_module("orjax.attacks.label_only")
MARGIN = objectives.margin(confidence=np.inf)
FAR = attacks.low_frequency_noise(cells=4)


def test_sign_hunter_flips_the_published_chunks_and_begins_anew():
  size = 12
  image = jnp.full((2, 3, 2), 0.5)
  example = Example(image, jnp.int32(0))
  proposals = signs_module._proposals(0.1, "linf")
  stands, memory = proposals.init(jax.random.key(0), example)
  np.testing.assert_allclose(stands - image, 0.1, atol=1e-6)
  proposal, forced = proposals.propose(None, example, stands, memory, None)
  assert forced and (proposal == stands).all(), "first the start is judged"
  memory = proposals.learn(example, stands, memory, jnp.asarray(True))
  for level in range(int(np.ceil(np.log2(size))) + 1):
    length = int(np.ceil(size / 2**level))
    for start in range(0, size, length):
      proposal, forced = proposals.propose(None, example, stands, memory, None)
      assert not forced
      changed = np.flatnonzero(np.asarray(proposal != stands).reshape(-1))
      np.testing.assert_array_equal(changed, np.arange(start, min(size, start + length)))
      kept = start == 0
      stands = jnp.where(kept, proposal, stands)
      memory = proposals.learn(example, stands, memory, jnp.asarray(kept))
  np.testing.assert_array_equal(memory.center, stands)
  assert int(memory.chunk) == -1 and (memory.signs == 1).all()
  proposal, forced = proposals.propose(None, example, stands, memory, None)
  assert forced and (np.abs(proposal - image) < 0.1 + 1e-6).all()


@pytest.mark.parametrize(
  "norm, comparison, lead, factor, wins",
  [
    ("linf", "cached", 1, 1.01, True),
    ("linf", "cached", 1, 0.99, False),
    ("linf", "sequential", 4, 1.01, True),
    ("l2", "cached", 1, 1.3, True),
  ],
)
def test_sign_hunter_reaches_the_optimum(norm, comparison, lead, factor, wins):
  """Within 1 % in linf; the best corner of the l2 ball is 10 to 30 % worse than its best."""
  distance = {"linf": 0.06, "l2": 0.2}[norm]
  images, labels = panel.images_at(distance, norm)
  attack = sign_hunter(
    MARGIN, radius=factor * distance, norm=norm, comparison=comparison, lead=lead
  )
  result = panel.run(attack, panel.clean(), images, labels, 200)
  assert (np.asarray(result.claimed) == wins).all()
  assert (panel.fooled(result.adversarial, labels) == wins).all()


@pytest.mark.parametrize("factor, wins", [(1.03, True), (0.98, False)])
def test_spsa_reaches_the_optimum(factor, wins):
  """Within 3 %."""
  images, labels = panel.images_at(0.06, "linf")
  attack = spsa(MARGIN, radius=factor * 0.06, num_pairs=8)
  result = panel.run(attack, panel.clean(), images, labels, 1700)
  assert (np.asarray(result.claimed) == wins).all()
  assert (panel.fooled(result.adversarial, labels) == wins).all()


def test_spsa_takes_its_gradient_at_the_iterate(linear_images):
  """Its first rows are the image it stands on and pairs around that."""
  images, labels = linear_images
  example = Example(jnp.asarray(images[0]), jnp.asarray(labels[0]))
  module = importlib.import_module("orjax.attacks.spsa")
  search = module._spsa(MARGIN, 0.05, 3, 0.01, 0.01, 10)
  state = search.init(jax.random.key(0), example)
  asked, directions = search.ask(jax.random.key(1), example, state)
  assert (np.abs(np.asarray(state.image) - images[0]) > 1e-4).mean() > 0.9
  np.testing.assert_array_equal(asked[0], state.image)
  np.testing.assert_allclose(asked[1:4] - asked[:1], 0.01 * directions, atol=1e-6)
  np.testing.assert_allclose(asked[4:] - asked[:1], -0.01 * directions, atol=1e-6)
  assert (np.abs(np.asarray(directions)) == 1).all()


@pytest.mark.parametrize(
  "attack, budget",
  [
    (
      lambda radius: label_only(
        MARGIN,
        radius=radius,
        num_pairs=10,
        num_proxies=5,
        smoothing=0.02,
        proxy_radius=0.02,
        start=FAR,
      ),
      20_000,
    ),
    (
      lambda radius: partial_information(
        objectives.cross_entropy(), radius=radius, num_pairs=10, smoothing=1e-3, start=FAR
      ),
      10_000,
    ),
  ],
  ids=["label", "partial"],
)
def test_nes_on_little_information_reaches_the_optimum(attack, budget):
  """Within 10 %."""
  images, labels = panel.images_at(0.06, "linf")
  result = panel.run(attack(0.066), panel.clean(), images, labels, budget)
  assert np.asarray(result.claimed).all()
  assert panel.fooled(result.adversarial, labels).all()
  assert panel.distances(result.adversarial, images, "linf").max() <= 0.066 + 1e-6


def test_moves_are_tried_in_the_published_order():
  """Halved steps down to the least, then again with half the shrinkage, and with none."""
  numbers = labels_module._Numbers(0.05, 1e-3, 50, 1, 0.0, 0.2, 1e-2, 1e-3, 2.0)
  size, wanted, expected = 1e-2, 0.01, []
  while True:
    expected.append((size, wanted))
    if size >= 2 * numbers.min_step_size:
      size /= 2
      continue
    if wanted == 0:
      break
    wanted = wanted / 2 if wanted / 2 >= 2e-3 else 0.0
    size = 1e-2
  search = labels_module._limited(objectives.margin(), FAR, labels_module._top_losses, numbers)
  state = search.init(jax.random.key(0), Example(jnp.full((4, 4, 1), 0.5), jnp.int32(0)))
  state = state._replace(wanted=jnp.float32(0.01))
  found = []
  for tried in range(0, 2 * len(expected), 2):
    sizes, shrinkages, there = labels_module._moves(
      state._replace(num_tried=jnp.int32(tried)), numbers
    )
    found += [(float(a), float(b)) for a, b, c in zip(sizes, shrinkages, there) if c]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: sign_hunter(MARGIN, norm="l1"), "norm must be one of"),
    (lambda: sign_hunter(MARGIN, radius=-1.0), "radius must be above 0"),
    (lambda: spsa(MARGIN, num_pairs=0), "must be at least 1"),
    (lambda: label_only(MARGIN, num_proxies=0), "must be at least 1"),
    (lambda: partial_information(MARGIN, step_size=1e-4), "min_step_size"),
  ],
)
def test_bad_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
