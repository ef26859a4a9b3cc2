"""RayS, HopSkipJump and PopSkipJump-lite: labels alone."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest

from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax.attacks.hop_skip_jump import hop_skip_jump
from orjax.attacks.pop_skip_jump import pop_skip_jump
from orjax.attacks.rays import rays
from orjax.types import Example

rays_module = importlib.import_module("orjax.attacks.rays")
LABELS = objectives.margin()
FAR = attacks.low_frequency_noise(cells=4)


@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 4, 1), (5, 1, 3)])
def test_rays_flips_the_published_blocks(shape):
  size = int(np.prod(shape))
  example = Example(jnp.full(shape, 0.5), jnp.int32(0))
  state = rays(LABELS).init(jax.random.key(0), example)
  block = level = 0
  for _ in range(3 * size):
    length = int(np.ceil(size / 2**level))
    start, end = block * length, min(size, (block + 1) * length)
    flipped = np.asarray(rays_module._flipped(state)).reshape(-1)
    np.testing.assert_array_equal(np.flatnonzero(flipped < 0), np.arange(start, end))
    block += 1
    if block == 2**level or end == size:
      level, block = level + 1, 0
    state = rays_module._next_block(state)


def test_rays_reaches_the_optimum_of_a_linear_model():
  """Within 1 %, in 250 queries of an image of 16 pixels."""
  images, labels = panel.images_at(0.06, "linf")
  result = panel.run(rays(LABELS), panel.clean(), images, labels, 250)
  reached = panel.distances(result.adversarial, images, "linf")
  assert (reached < 1.01 * 0.06).all() and (reached > 0.999 * 0.06).all()
  assert panel.fooled(result.adversarial, labels).all() and np.asarray(result.claimed).all()
  near = panel.run(rays(LABELS, radius=0.063), panel.clean(), images, labels, 250)
  assert np.asarray(near.claimed).all() and (np.asarray(near.num_queries) < 200).all()


def test_lucky_flips_do_not_shrink_the_record_of_votes():
  images, labels = panel.images_at(0.06, "linf")
  images, labels = np.tile(images, (4, 1, 1, 1)), np.tile(labels, 4)
  noisy = oracles.with_output_noise(panel.clean(), 0.05)
  single = panel.run(rays(LABELS), noisy, images, labels, 1500)
  assert np.asarray(single.claimed).all()
  assert not panel.fooled(single.adversarial, labels).any()
  voted = panel.run(rays(LABELS, lead=4), noisy, images, labels, 1500)
  fooled = panel.fooled(voted.adversarial, labels)
  assert fooled.mean() > 0.6
  assert np.median(panel.distances(voted.adversarial, images, "linf")) < 1.5 * 0.06


def test_votes_within_a_ball_hand_in_what_lies_on_its_edge():
  """There a vote tells more than on the boundary, and what is claimed is right."""
  images, labels = panel.images_at(0.06, "linf")
  images, labels = np.tile(images, (4, 1, 1, 1)), np.tile(labels, 4)
  noisy = oracles.with_output_noise(panel.clean(), 0.05)
  result = panel.run(rays(LABELS, radius=0.08, lead=4), noisy, images, labels, 1500)
  claimed = np.asarray(result.claimed)
  assert claimed.mean() > 0.9
  reached = panel.distances(result.adversarial, images, "linf")[claimed]
  np.testing.assert_allclose(reached, 0.08, rtol=1e-5)
  assert panel.fooled(result.adversarial, labels)[claimed].mean() > 0.95


@pytest.mark.parametrize("norm, distance", [("l2", 0.2), ("linf", 0.06)])
@pytest.mark.parametrize(
  "attack", [hop_skip_jump, lambda *a, **k: pop_skip_jump(*a, start=FAR, **k)], ids=["hsj", "psj"]
)
def test_the_optimum_of_a_linear_model(attack, norm, distance):
  """Within 5 % in the median; the start may lead to the boundary of the farther class."""
  images, labels = panel.images_at(distance, norm)
  result = panel.run(attack(LABELS, norm=norm, num_rows=4), panel.clean(), images, labels, 3000)
  reached = panel.distances(result.adversarial, images, norm) / distance
  assert np.median(reached) < 1.05 and reached.max() < 2.3 and reached.min() > 0.99
  assert panel.fooled(result.adversarial, labels).all() and np.asarray(result.claimed).all()


def test_published_probes_and_bisections_of_hop_skip_jump():
  """Row by row: the phases, how many rows each takes, and the probes' length."""
  images, labels = panel.images_at(0.2, "l2")
  example = Example(jnp.asarray(images[0]), jnp.asarray(labels[0]))
  attack = hop_skip_jump(LABELS)
  step = jax.jit(lambda key, state: attack.step(key, panel.clean(), example, state)[0])
  state = attack.init(jax.random.key(0), example)
  phases, lengths = [], {}
  for number in range(400):
    phases.append(int(state.phase))
    lengths[int(state.iteration)] = float(state.length)
    state = step(jax.random.key(number), state)
  runs = np.split(np.asarray(phases), np.flatnonzero(np.diff(phases)) + 1)
  taken = [(run[0], len(run)) for run in runs]
  start, blend, first_bisection, first_probes = taken[:4]
  assert start[0] == 0 and blend == (1, 10)
  assert first_bisection == (2, 6), "to 16^-1.5 of the line"
  assert first_probes == (3, 100)
  assert [n for phase, n in taken if phase == 3][1] == 141
  assert lengths[1] == pytest.approx(0.1)
  assert lengths[2] < 4 / 64 * 2, "sqrt(d) theta dist"


def test_long_probes_stand_noise_that_stops_short_ones():
  images, labels = panel.images_at(0.2, "l2")
  images, labels = np.tile(images, (4, 1, 1, 1)), np.tile(labels, 4)
  noisy = oracles.with_output_noise(panel.clean(), 0.05)
  rates = {}
  for name, attack in (
    ("published", hop_skip_jump(LABELS)),
    ("lite", pop_skip_jump(LABELS, start=FAR)),
  ):
    result = panel.run(attack, noisy, images, labels, 2500)
    near = panel.distances(result.adversarial, images, "l2") < 1.6 * 0.2
    rates[name] = (panel.fooled(result.adversarial, labels) & near).mean()
  assert rates["published"] < 0.4 and rates["lite"] > rates["published"] + 0.3, rates


def test_finished_after_the_last_iteration(linear_images):
  for attack in (
    hop_skip_jump(LABELS, first_probes=5, num_iterations=3),
    pop_skip_jump(LABELS, first_probes=5, num_iterations=3, lead=1),
  ):
    result = panel.run(attack, panel.clean(), *linear_images, 5000)
    assert (np.asarray(result.num_queries) < 1000).all()


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: rays(LABELS, tolerance=0.0), "tolerance must be above 0"),
    (lambda: rays(LABELS, lead=0), "lead must be at least 1"),
    (lambda: hop_skip_jump(LABELS, norm="l1"), "norm must be one of"),
    (lambda: hop_skip_jump(LABELS, num_rows=0), "must be at least 1"),
    (lambda: pop_skip_jump(LABELS, cells=2), "cells must be at least 4"),
  ],
)
def test_bad_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
