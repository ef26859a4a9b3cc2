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
