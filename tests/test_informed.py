"""The attacker who measures first: what it measures is true, and what it picks follows."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from conftest import closest_distance
from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import theory
from orjax.attacks.wrappers import choices
from orjax.attacks.wrappers import pilot as pilots
from orjax.attacks.wrappers import statistics
from orjax.threats import ThreatModel
from orjax.types import Example
from orjax.types import Oracle

SUCCESS = objectives.log_margin()
MARGIN, DLR = (statistics.NAMES.index(name) for name in ("margin", "dlr"))
NUM_ROWS, NUM_TRIALS = 256, 8
_GRADIENT = np.random.default_rng(5).normal(size=(4, 4, 1)).astype(np.float32)
_INSIDE = np.clip(0.5 + 0.1 * np.sign(_GRADIENT), 0, 1)


class Setting(NamedTuple):
  """Of the server; all of it is traced, so that one program serves every test."""

  stddev: float = 0.0
  low: float = 1.0
  high: float = 1.0
  levels: float = 0.0  # that an answer is rounded to; 0 for none


def _flat(key, images):
  """Three classes; the margin of the first is _GRADIENT (x - 1/2), linear everywhere."""
  del key
  half = ((images - 0.5) * _GRADIENT[None]).sum((1, 2, 3)) / 2
  return jnp.stack([0.5 + half, 0.5 - half, jnp.full_like(half, -10.0)], 1)


def _softmax():
  return oracles.from_predict(linear_predict, linear_variables())


def _served(setting):
  scaled = defenses.with_random_scaling(_softmax(), low=setting.low, high=setting.high)

  def query(key, images):
    rows = scaled.query(key, images)
    return jnp.where(setting.levels > 0, jnp.round(rows * setting.levels) / setting.levels, rows)

  return oracles.with_output_noise(Oracle(query), setting.stddev)


def _measured(make_oracle, pilot):
  """From a setting and examples to the states of their pilots, after all steps."""

  def one(setting, key, example):
    oracle = make_oracle(setting)

    def body(state, key):
      ask_key, query_key = jax.random.split(key)
      points, notes = pilots.ask(pilot, ask_key, example, state, NUM_ROWS)
      rows = oracle.query(query_key, points)
      return pilots.tell(pilot, example, state, notes, rows), None

    keys = jax.random.split(key, sum(pilot.steps(NUM_ROWS)))
    return jax.lax.scan(body, pilots.init(pilot, example), keys)[0]

  program = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))

  def measure(examples, **setting):
    setting = Setting(*map(jnp.float32, Setting(**setting)))
    return program(setting, jax.random.split(jax.random.key(0), NUM_TRIALS), examples)

  return measure


@functools.partial(jax.jit, static_argnums=(2, 3))
def _picked(states, examples, longest=np.inf, step_size=None):
  """What is picked for every example: the statistic, and the scale of the probes."""

  def one(state, example):
    choice = choices.choose(
      state, example, SUCCESS, num_averaged=100, num_votes=20, longest=longest, step_size=step_size
    )
    return choice.statistic, choice.smoothing

  return jax.vmap(one)(states, examples)


@pytest.fixture(scope="module")
def flat():
  """`measure` of the linear margin, and an example of it."""
  shown = jnp.broadcast_to(jnp.asarray(_INSIDE)[None], (NUM_TRIALS, *_INSIDE.shape))
  make_oracle = lambda setting: oracles.with_output_noise(Oracle(_flat), setting.stddev)
  examples = Example(shown, jnp.zeros(NUM_TRIALS, jnp.int32))
  return _measured(make_oracle, attacks.Pilot(num_directions=64)), examples


@pytest.fixture(scope="module")
def curved():
  """`measure` of the softmax of linear logits, and examples of it."""
  rng = np.random.default_rng(1)
  images = jnp.asarray(rng.uniform(0.3, 0.7, (NUM_TRIALS, 4, 4, 1)).astype(np.float32))
  labels = linear_logits(linear_variables(), images).argmax(-1).astype(jnp.int32)
  return _measured(_served, attacks.Pilot()), Example(images, labels)


@pytest.mark.parametrize("stddev", [1e-3, 0.1])
def test_what_a_pilot_measures_is_true(flat, stddev):
  """Noise and gradient of a linear margin; a wrong constant is out of reach."""
  measure, examples = flat
  states = measure(examples, stddev=stddev)
  assert states.found().all()
  law = jax.jit(jax.vmap(lambda s, x: choices.measured_law(s, x, 100, np.inf)))(
    states, examples.image
  )
  noise = np.asarray(law.loss_stddev)[:, 0, :, MARGIN].mean()
  assert noise == pytest.approx(np.sqrt(2) * stddev, rel=0.05)
  norm, found = np.linalg.norm(_GRADIENT), np.asarray(law.gradient_norm)[:, 0, 0, MARGIN].mean()
  assert found == pytest.approx(norm, rel=0.1)
  rho = np.median(np.asarray(law.noise_to_signal)[:, 0, 0, MARGIN])
  expected = theory.noise_to_signal(np.sqrt(2) * stddev, pilots.LADDER[0], norm)
  assert rho == pytest.approx(float(expected), rel=0.3)
  # The boundary is where the margin is 0, which neither the image nor the end of a line is near.
  points = jax.vmap(lambda s, x: s.boundary(x))(states, examples.image)
  margins = np.asarray(((points - 0.5) * _GRADIENT[None]).sum((1, 2, 3)))
  assert np.abs(margins).max() < 0.1 * ((_INSIDE - 0.5) * _GRADIENT).sum() + stddev


def test_probes_get_longer_as_noise_grows(flat):
  measure, examples = flat
  lengths = []
  for stddev in (0.0, 1e-3, 1e-2, 1e-1, 1.0):
    _, smoothing = _picked(measure(examples, stddev=stddev), examples)
    lengths.append(float(np.median(smoothing)))
  assert lengths == sorted(lengths), lengths
  assert lengths[0] <= pilots.LADDER[-2] and lengths[-1] == pilots.LADDER[0], lengths


def test_probes_are_no_shorter_than_a_step_where_that_is_as_good(flat):
  """A linear loss has one slope at every length, which noise hides from the short ones."""
  measure, examples = flat
  for stddev, step_size in ((0.0, 0.02), (0.0, 0.2), (1.0, 1e-3)):
    _, smoothing = _picked(measure(examples, stddev=stddev), examples, np.inf, step_size)
    assert (np.asarray(smoothing) >= step_size).all(), (stddev, step_size, smoothing)
  # No probe is so long: the rule gives way, and the shortest of the good is taken.
  states = measure(examples)
  free, bound = (_picked(states, examples, np.inf, x)[1] for x in (None, 1.0))
  np.testing.assert_array_equal(free, bound)


def test_a_statistic_without_noise_is_found(curved):
  """Random scaling leaves the ratio of log p's differences alone, and nothing else."""
  measure, examples = curved
  plain, _ = _picked(measure(examples), examples)
  noisy, _ = _picked(measure(examples, stddev=0.05), examples)
  scaled, _ = _picked(measure(examples, low=0.5, high=10), examples)
  for found in (plain, noisy):
    assert (np.asarray(found) == DLR).mean() <= 0.25, found
  assert (np.asarray(scaled) == DLR).mean() >= 0.75, scaled


def test_probes_are_longer_than_what_rounding_hides(curved):
  """Repeats of a rounded answer agree, so that only the second look, elsewhere, can tell."""
  measure, examples = curved
  _, exact = _picked(measure(examples), examples)
  _, coarse = _picked(measure(examples, levels=10), examples)
  assert np.median(coarse) > 10 * np.median(exact), (exact, coarse)


def test_a_coordinate_stays_in_the_range_of_a_pixel(curved):
  measure, examples = curved
  states = measure(examples, stddev=0.05)
  longest, shorter = (np.asarray(_picked(states, examples, x)[1]) * 4 for x in (np.inf, 0.25))
  assert (longest > 0.25).any() and (shorter <= 0.25 * 1.001).all()


@pytest.mark.parametrize(
  "make, size",
  [(attacks.informed_nes, {"num_pairs": 12}), (attacks.informed_zoo, {"num_coordinates": 12})],
  ids=["nes", "zoo"],
)
def test_the_same_numbers_attack_whatever_is_answered(curved, make, size):
  """Near the closest point of another class, told nothing of noise, digits or scales."""
  attack = make(SUCCESS, max_steps=100, confirmations=7, **size)
  examples = curved[1]
  closest = [closest_distance(x, y) for x, y in zip(examples.image, examples.label)]

  @jax.jit
  def run(setting):
    return orjax.attack_batch(
      jax.random.key(0), attack, _served(setting), examples.image, examples.label, max_queries=10**6
    )

  for farther, setting in (
    (1.5, Setting()),
    (1.8, Setting(stddev=0.01)),
    (2.5, Setting(stddev=0.1)),
    (1.8, Setting(levels=100.0)),
    (1.8, Setting(low=0.5, high=10.0)),
  ):
    result = run(Setting(*map(jnp.float32, setting)))
    away = np.asarray(result.adversarial - examples.image).reshape(NUM_TRIALS, -1)
    ratio = np.linalg.norm(away, axis=1) / closest
    classes = linear_logits(linear_variables(), result.adversarial).argmax(-1)
    fooled = np.asarray(classes != examples.label)
    assert np.asarray(result.claimed).all() and fooled.mean() >= 0.75, setting
    assert np.median(ratio) < farther, (setting, ratio)


def test_a_search_of_few_rows_a_step_measures_in_blocks(curved):
  """Square within an l_inf ball, by the statistic that the pilot found; the verdict tells it."""
  examples, pilot = curved[1], attacks.Pilot(num_lines=4, num_directions=2, tiles=False)

  def make_attack(choice):
    search = attacks.square(
      choice.objective, radius=0.3, window_share=0.3, comparison="asked_again"
    )
    return attacks.in_blocks(search, num_steps=4)

  served = lambda _, setting: _served(Setting(**setting))
  result = orjax.evaluate(
    jax.random.key(0),
    attacks.informed(make_attack, SUCCESS, num_averaged=1, num_votes=1, pilot=pilot),
    ThreatModel(lambda _: _softmax(), served, served),
    None,
    examples.image,
    examples.label,
    objective=SUCCESS,
    max_queries=1000,
    setting={"low": 0.5, "high": 10.0},
  )
  # Square's windows never reach the last row, where the class of one of the images is decided.
  assert (result.claimed & result.clean_success).sum() >= NUM_TRIALS - 1
  picked = np.stack([result.chosen[name] for name in statistics.NAMES])
  assert (picked.sum(0) == 1).all()
  assert (result.chosen["length"] > 0).all() and not result.chosen["in_tiles"].any()
  assert (result.num_queries % 8 == 0).all()
  assert (result.num_queries > 8 * sum(pilot.steps(8))).all(), "a claim of the pilot's"
  assert np.abs(result.adversarial - examples.image).max() <= 0.3 + 1e-6


def test_a_step_of_few_rows_has_no_pilot():
  with pytest.raises(ValueError, match="a pilot needs steps of 8 queries or more, not 5: .*in_bl"):
    attack = attacks.informed_nes(SUCCESS, num_pairs=1, confirmations=2)
    orjax.attack_one(
      jax.random.key(0), attack, _softmax(), jnp.full((4, 4, 1), 0.5), 0, max_queries=1000
    )


@pytest.mark.parametrize("name", ["informed_nes", "informed_zoo"])
def test_a_main_refuses_what_it_picks_itself(name):
  numbers = mains.asked("blackbox_attacks", f"--attack={name}", "--dataset=mnist").attack.numbers
  assert numbers["confirmations"] == 20
  for flag, told in (
    ("--objective=margin", "picks its own loss"),
    ("--targeted", "--targeted is not for an attack that comes from far"),
    ("--spacing=0.1", "--spacing is not for"),
  ):
    with pytest.raises(ValueError, match=told):
      mains.asked("blackbox_attacks", f"--attack={name}", flag)
