"""One table of attacks, and what every one of them promises. A new attack joins by a row."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from harness import attacks as specs
import orjax
from orjax import attacks
from orjax import estimators
from orjax import objectives
from orjax import oracles
from orjax.engine import trials
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective
from orjax.types import Oracle


class Row(NamedTuple):
  """An attack on 4x4 images.

  Attributes:
    make: from an objective to the attack, which takes a few steps.
    answers_only: whether it needs no gradient of the model.
    radius: of its l_inf ball, if it stays in one.
    same_alone: a batch of one has the bits of a larger one; an arctanh may round differently.
    keyed: another key leads elsewhere within a few steps.
  """

  make: Callable[[Objective], Attack]
  answers_only: bool = True
  radius: float | None = None
  same_alone: bool = True
  keyed: bool = True


_SEARCH = {"max_steps": 6, "binary_search_steps": 2, "check_every": 3}
_FAR = {"start": attacks.low_frequency_noise(cells=2), "confirmations": 2}
# A pilot of six steps of nine rows.
_MEASURED = {
  "max_steps": 2,
  "binary_search_steps": 2,
  "confirmations": 2,
  "pilot": attacks.Pilot(num_lines=1, num_directions=1, tiles=False),
}


def _evolution(objective):
  pytest.importorskip("evosax", reason="evosax, of the extra `evolution`, is not installed")
  return attacks.evolution(
    objective, radius=0.05, population_size=4, num_frequencies=2, norm="l2", lead=2
  )


ATTACKS = {
  "zoo": Row(lambda o: attacks.zoo(o, num_coordinates=3, **_SEARCH)),
  "zoo_informed": Row(
    lambda o: attacks.zoo(
      o, solver=attacks.adam_newton(), num_coordinates=3, tanh_space=True, **_SEARCH, **_FAR
    ),
    same_alone=False,
  ),
  "zoo_coarse": Row(
    lambda o: attacks.zoo(
      o,
      num_coordinates=3,
      tanh_space=True,
      coarse=attacks.CoarseToFine(sizes=(2, 4), resize_at=(3,)),
      **_SEARCH,
    )
  ),
  "ql": Row(lambda o: attacks.ql(o, num_pairs=2, radius=0.1), radius=0.1),
  "bandits": Row(
    lambda o: attacks.bandits(o, radius=0.1, prior_size=2, confirmations=2), radius=0.1
  ),
  "nes": Row(
    lambda o: attacks.carlini_wagner(o, estimators.nes(num_pairs=2), **_SEARCH, **_FAR),
    same_alone=False,
  ),
  "informed_nes": Row(
    lambda o: attacks.informed_nes(o, num_pairs=3, **_MEASURED), same_alone=False
  ),
  "informed_zoo": Row(
    lambda o: attacks.informed_zoo(o, num_coordinates=3, **_MEASURED), same_alone=False
  ),
  "square": Row(
    lambda o: attacks.square(o, radius=0.05, window_share=0.3, comparison="asked_again", lead=3),
    radius=0.05,
  ),
  "sign_hunter": Row(lambda o: attacks.sign_hunter(o, radius=0.05, lead=2), radius=0.05),
  "spsa": Row(
    lambda o: attacks.spsa(o, radius=0.05, num_pairs=3, num_steps=20, lead=3), radius=0.05
  ),
  "evolution": Row(_evolution, radius=0.05),
  "rays": Row(lambda o: attacks.rays(o, radius=0.05, lead=3, num_rows=2), keyed=False),
  "hop_skip_jump": Row(
    lambda o: attacks.hop_skip_jump(o, first_probes=6, num_iterations=4, num_rows=3)
  ),
  "pop_skip_jump": Row(
    lambda o: attacks.pop_skip_jump(o, norm="linf", first_probes=5, num_iterations=6, num_rows=2),
    keyed=False,
  ),
  "label_only": Row(
    lambda o: attacks.label_only(
      o, radius=0.05, num_pairs=2, num_proxies=2, smoothing=0.02, start=_FAR["start"]
    )
  ),
  "partial_information": Row(
    lambda o: attacks.partial_information(
      o, radius=0.05, num_pairs=3, smoothing=0.01, start=_FAR["start"], lead=2
    )
  ),
  "apgd": Row(
    lambda o: attacks.apgd(
      o, radius=0.05, num_steps=6, num_restarts=2, num_draws=2, comparison="same_draws", lead=2
    ),
    answers_only=False,
    radius=0.05,
    keyed=False,
  ),
  "carlini_wagner": Row(lambda o: attacks.carlini_wagner(o, **_SEARCH), answers_only=False),
  "whitebox_pgd": Row(
    lambda o: attacks.whitebox_pgd(o, radius=0.1, num_steps=4, num_restarts=2),
    answers_only=False,
    radius=0.1,
  ),
}


def _random(variables, keys, images):
  noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
  return linear_predict(variables, images + 0.01 * noise)


def _noisy(oracle):
  return oracles.with_output_noise(oracle, 0.02)


_PLAIN = oracles.from_predict(linear_predict, linear_variables())
ORACLES = {
  "noisy": _noisy(_PLAIN),
  "averaged": oracles.averaged(_noisy(_PLAIN), 3),
  "random": oracles.from_random_predict(_random, linear_variables()),
}
OBJECTIVES = {
  "log_margin": objectives.log_margin(),
  "targeted_cross_entropy": objectives.cross_entropy(targeted=True),
  "margin": objectives.margin(confidence=np.inf),
}
# Every attack meets every oracle and every objective once, one of the panel one of them in turn.
COMBINATIONS = [
  ("noisy", "margin"),
  ("averaged", "log_margin"),
  ("random", "targeted_cross_entropy"),
]
_PANEL = {
  *("square", "sign_hunter", "spsa", "evolution", "rays", "hop_skip_jump", "pop_skip_jump"),
  *("label_only", "partial_information", "apgd", "informed_zoo"),
}
_MEETINGS = [
  (name, *pair)
  for number, name in enumerate(ATTACKS)
  for pair in ([COMBINATIONS[number % 3]] if name in _PANEL else COMBINATIONS)
]


def _examples(targeted, num_images=3):
  """Images with pixels on the faces of the box, and what is asked for."""
  rng = np.random.default_rng(3)
  images = np.clip(rng.uniform(-0.2, 1.2, (num_images, 4, 4, 1)), 0, 1).astype(np.float32)
  labels = np.asarray(linear_predict(linear_variables(), images).argmax(-1), np.int32)
  return jnp.asarray(images), jnp.asarray((labels + targeted) % 3)


def _check_handed_in(row, adversarial, images):
  adversarial = np.asarray(adversarial)
  assert adversarial.dtype == np.float32 and adversarial.shape == images.shape
  assert adversarial.min() >= 0 and adversarial.max() <= 1
  if row.radius is not None:
    assert np.abs(adversarial - images).max() <= row.radius + 1e-6


@pytest.mark.parametrize("name, oracle, objective", _MEETINGS)
def test_every_step(name, oracle, objective):
  """The report of every step is what the oracle was really given; no state holds a NaN."""
  row, oracle = ATTACKS[name], ORACLES[oracle]
  images, labels = _examples("targeted" in objective)
  attack = row.make(OBJECTIVES[objective])
  seen = []

  def query(key, images):
    jax.debug.callback(lambda num_rows: seen.append(int(num_rows)), len(images))
    return oracle.query(key, images)

  counting = Oracle(query, oracle.queries_per_row)
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(1), jnp.arange(3))
  zero = jnp.int32(0)
  begin = lambda key, example: trials.start(attack, key, example, zero, zero, None)
  batch = jax.jit(jax.vmap(begin))(keys, Example(images, labels))
  cost = trials.queries_per_step(attack, oracle, Example(images[0], labels[0]))
  budget = 9 * cost + oracle.queries_per_row
  step = jax.jit(jax.vmap(lambda key, trial: trials.step(attack, counting, key, trial, budget)))
  while not np.asarray(batch.finished).all():
    seen.clear()
    before, batch = batch, step(keys, batch)
    jax.effects_barrier()
    asked = np.asarray(batch.num_queries - before.num_queries)[~np.asarray(before.finished)]
    assert (asked == sum(seen) * oracle.queries_per_row).all()
    assert not any(np.isnan(x).any() for x in jax.tree.leaves(batch))
  assert (batch.num_queries <= budget).all() and (batch.num_steps > 0).all()
  _check_handed_in(row, batch.state.adversarial, images)


# A refusal teaches a search; the last two are still looking for where to begin.
_SEARCHES = {
  *("square", "sign_hunter", "rays", "hop_skip_jump", "pop_skip_jump"),
  *("label_only", "partial_information"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_answers_that_do_not_move_teach_nothing(name):
  """An attack that follows slopes says so, and says nothing of answers that do move."""
  attack = ATTACKS[name].make(OBJECTIVES["margin"])
  images, labels = _examples(False, num_images=1)
  key, zero, example = jax.random.key(1), jnp.int32(0), Example(images[0], labels[0])
  sure = jax.nn.one_hot(labels[0], 3)
  predict = lambda share, images: (
    share * linear_predict(linear_variables(), images) + (1 - share) * sure[None]
  )

  @jax.jit
  def step(share, trial):
    oracle = oracles.from_predict(predict, share)
    budget = 7 * trials.queries_per_step(attack, oracle, example)
    return trials.step(attack, oracle, key, trial, budget)

  def blind_share(share):
    trial = trials.start(attack, key, example, zero, zero, None)
    while not trial.finished:
      trial = step(jnp.float32(share), trial)
    return int(trial.num_zero_gradients) / int(trial.num_steps)

  assert blind_share(1) < 0.5
  constant = blind_share(0)
  if name in ("informed_nes", "informed_zoo"):
    assert 0 < constant < 1, "its pilot measures, whatever it hears"
  else:
    assert constant == (name not in _SEARCHES)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_key_is_all_that_the_bits_depend_on(name):
  """In any order, compiled or not, in a batch or alone."""
  row, oracle = ATTACKS[name], ORACLES["averaged"]
  images, labels = _examples(False)
  attack = row.make(OBJECTIVES["log_margin"])
  budget = 9 * trials.queries_per_step(attack, oracle, Example(images[0], labels[0])) + 1
  one = lambda key, image, label: orjax.attack_one(
    key, attack, oracle, image, label, max_queries=budget
  )
  together = jax.jit(jax.vmap(one))
  keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(1), i))
  same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)
  batch = together(keys(jnp.arange(3)), images, labels)
  order = jnp.array([2, 0, 1])
  ordered = together(keys(order), images[order], labels[order])
  same(ordered, jax.tree.map(lambda x: x[order], batch))
  others = together(keys(jnp.arange(7, 10)), images, labels)
  assert not row.keyed or (others.adversarial != batch.adversarial).any((1, 2, 3)).all()
  if row.same_alone:
    key = jax.random.key(1)
    same(orjax.attack_batch(key, attack, oracle, images, labels, max_queries=budget), batch)
    if name in ("zoo", "bandits"):
      same(one(keys(order)[0], images[2], labels[2]), jax.tree.map(lambda x: x[2], batch))
  assert (batch.num_queries <= budget).all()
  _check_handed_in(row, batch.adversarial, images)


@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if row.answers_only])
def test_a_callable_is_sent_every_row_that_is_charged(name):
  images, labels = _examples(False)
  rows = []

  def fn(images):
    rows.append(len(images))
    return np.asarray(linear_predict(linear_variables(), images))

  oracle = oracles.averaged(_noisy(oracles.from_host(fn, 3)), 2)
  attack = ATTACKS[name].make(OBJECTIVES["log_margin"])
  cost = trials.queries_per_step(attack, oracle, Example(images[0], labels[0]))
  budget = 7 * cost
  found = orjax.attack_batch(jax.random.key(1), attack, oracle, images, labels, max_queries=budget)
  assert sum(rows) == int(found.num_queries.sum()) and (found.num_queries <= budget).all()


def test_every_attack_of_the_mains_has_a_row():
  """White-box PGD by the library's name."""
  rows = {*ATTACKS, "pgd"}
  assert specs.named().keys() <= rows, specs.named().keys() - rows
