"""Keys, budgets and exact counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax.engine import trials
from orjax.types import Example
from orjax.types import Oracle


def _clean():
  return oracles.from_predict(linear_predict, linear_variables())


def _attack(**kwargs):
  return attacks.zoo(
    objectives.log_margin(),
    **{
      "num_coordinates": 5,
      "max_steps": 12,
      "binary_search_steps": 3,
      "check_every": 5,
      "initial_trade_off": 1.0,
      **kwargs,
    },
  )


def counting_oracle():
  """A noiseless host-side oracle, and the list of how many rows each call was given."""
  calls = []
  variables = jax.tree.map(np.asarray, linear_variables())

  def query(key, images):
    del key
    calls.append(len(images))
    return linear_predict(variables, jnp.asarray(np.asarray(images)))

  return Oracle(query), calls


@pytest.mark.parametrize(
  "around",
  [
    lambda oracle: oracle,
    lambda oracle: oracles.with_output_noise(oracle, 0.01),
    lambda oracle: oracles.averaged(oracles.with_output_noise(oracle, 0.01), 7),
  ],
  ids=["plain", "noisy", "averaged"],
)
def test_reported_queries_are_the_rows_the_oracle_saw(linear_images, around):
  """Runs every step on the host, where the oracle can count what it really gets."""
  image, label = linear_images[0][0], linear_images[1][0]
  host, calls = counting_oracle()
  oracle = around(host)
  per_row = oracle.queries_per_row
  key, attack = jax.random.key(3), _attack()
  zero = jnp.zeros((), jnp.int32)
  trial = trials.start(
    attack, jax.random.clone(key), Example(jnp.asarray(image), jnp.asarray(label)), zero, zero, None
  )
  budget = 11 * per_row * 20 + 5
  while not trial.finished:
    trial = trials.step(attack, oracle, jax.random.clone(key), trial, budget)
  # Averaging asks the key-free network once, and charges every answer.
  assert int(trial.num_queries) == sum(calls) * per_row <= budget
  assert len(calls) == int(trial.num_steps)
  engine = orjax.attack_one(key, attack, around(_clean()), image, label, max_queries=budget)
  assert int(engine.num_queries) == int(trial.num_queries)


def test_budget_is_never_exceeded_and_used_up(linear_images):
  images, labels = linear_images
  for budget in (11, 12, 21, 22, 100):
    result = orjax.attack_batch(
      jax.random.key(0), _attack(), _clean(), images, labels, max_queries=budget
    )
    assert (np.asarray(result.num_queries) == budget // 11 * 11).all()


def test_queries_per_step_is_known_beforehand(linear_images):
  example = Example(jnp.asarray(linear_images[0][0]), jnp.int32(0))
  assert trials.queries_per_step(_attack(), _clean(), example) == 11
  averaged = oracles.averaged(_clean(), 4)
  assert trials.queries_per_step(_attack(), averaged, example) == 44


def test_batch_is_bit_identical_under_jit_and_to_single_attacks(linear_images):
  images, labels = linear_images
  oracle = oracles.with_output_noise(_clean(), 1e-3)
  attack = _attack()
  call = jax.jit(
    lambda key, images, labels: orjax.attack_batch(
      key, attack, oracle, images, labels, max_queries=400
    )
  )
  first = call(jax.random.key(5), images, labels)
  second = call(jax.random.key(5), images, labels)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  other = call(jax.random.key(6), images, labels)
  assert (np.asarray(first.adversarial) != np.asarray(other.adversarial)).any()
  for i in (0, 3):
    alone = orjax.attack_one(
      jax.random.fold_in(jax.random.key(5), i),
      attack,
      oracle,
      images[i],
      labels[i],
      max_queries=400,
    )
    np.testing.assert_array_equal(alone.adversarial, first.adversarial[i])
    assert int(alone.num_queries) == int(first.num_queries[i])


def test_trial_keys_are_all_different():
  seed_key = jax.random.key(0)
  keys = {
    bytes(np.asarray(jax.random.key_data(trials.trial_key(seed_key, run, index))))
    for run in range(20)
    for index in range(20)
  }
  assert len(keys) == 400


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(images=np.zeros((8, 4, 4, 1), np.uint8)), "float32"),
    (dict(images=np.zeros((4, 4, 1), np.float32)), "N, H, W, C"),
    (dict(labels=np.zeros(3, np.int32)), "N, H, W, C"),
    (dict(max_queries=10), "does not pay for one step"),
    (dict(max_queries=2**31 - 1), "32-bit"),
  ],
)
def test_bad_input_is_refused(linear_images, change, message):
  arguments = dict(images=linear_images[0], labels=linear_images[1], max_queries=100)
  arguments |= change
  with pytest.raises(ValueError, match=message):
    orjax.attack_batch(
      jax.random.key(0),
      _attack(),
      _clean(),
      arguments["images"],
      arguments["labels"],
      max_queries=arguments["max_queries"],
    )


def test_more_coordinates_than_pixels_are_refused(linear_images):
  with pytest.raises(ValueError, match="num_coordinates=128"):
    orjax.attack_batch(
      jax.random.key(0), _attack(num_coordinates=128), _clean(), *linear_images, max_queries=1000
    )
