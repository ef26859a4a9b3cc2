"""Nothing is compiled twice, and nothing is answered by a program of something else."""

import functools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from small_calls import attack_batch
from small_calls import evaluate
from small_calls import oracle_of
from small_calls import UNIT

from conftest import linear_predict
from conftest import linear_variables
from orjax import attacks
from orjax import compiled
from orjax import objectives
from orjax import oracles


@pytest.fixture
def compilations():
  """Programs that were compiled: a list that grows."""
  found, listening = [], [True]

  def listen(event, seconds, **unused):
    if listening and "backend_compile" in event:
      found.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield found
  listening.clear()


def test_a_second_call_compiles_nothing(compilations):
  oracle = oracle_of()
  for call in (attack_batch, evaluate):
    results = []
    for images in (UNIT, UNIT[::-1].copy()):
      compilations.clear()
      results.append(call(oracle, images, max_queries=15))
    assert not compilations, call.__name__
    fresh = call(oracle_of(), UNIT[::-1].copy(), max_queries=15)
    jax.tree.map(np.testing.assert_array_equal, fresh, results[1])


def test_an_equal_attack_compiles_nothing(compilations):
  oracle = oracle_of()
  make = functools.partial(attacks.ql, num_pairs=3, smoothing=0.02)
  attack_batch(oracle, attack=make(objectives.log_margin()))
  compilations.clear()
  attack_batch(oracle, attack=make(objectives.log_margin()))
  assert not compilations
  attack_batch(oracle, attack=make(objectives.margin()))
  assert compilations


class _Module:
  def __init__(self, bias):
    self.layer = {"bias": np.full(3, bias, np.float32)}

  def __call__(self, images):
    return linear_predict(linear_variables(), images) + self.layer["bias"][None]


_global_bias = np.zeros(3, np.float32)


def _with_global(images):
  return linear_predict(linear_variables(), images) + _global_bias[None]


def test_what_a_model_closes_over_may_change():
  module, number = _Module(0), [0.0]
  away = np.array([50.0, 0, 0], np.float32)
  for model, change in (
    (module, lambda: module.layer.update(bias=away.copy())),
    (lambda x: module(x), lambda: np.negative(module.layer["bias"], module.layer["bias"])),
    (_with_global, lambda: globals().update(_global_bias=away)),
    (
      lambda x: linear_predict(linear_variables(), x) + number[0] * away[None],
      lambda: number.append(number.pop() + 1),
    ),
  ):
    oracle = oracles.from_predict(model)
    before = attack_batch(oracle, labels=np.zeros(4, np.int32)).loss
    np.testing.assert_array_equal(attack_batch(oracle, labels=np.zeros(4, np.int32)).loss, before)
    change()
    after = attack_batch(oracle, labels=np.zeros(4, np.int32)).loss
    fresh = attack_batch(
      oracles.from_predict(lambda x: model(x)), labels=np.zeros(4, np.int32)
    ).loss
    np.testing.assert_array_equal(after, fresh, err_msg=str(change.__code__.co_firstlineno))
    assert (after != before).any()


def test_only_so_many_programs_are_kept():
  made = []
  for number in range(100):
    compiled.kept(lambda static, x: made.append(static), (number,), jnp.zeros(2))
  assert len(made) == 100 and len(compiled._programs) <= 32
