"""The closed calls on four small images of the linear model, cheap enough to make many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import threats

UNIT = np.random.default_rng(0).uniform(0.3, 0.7, (4, 4, 4, 1)).astype(np.float32)
LABELS = np.asarray(linear_predict(linear_variables(), jnp.asarray(UNIT)).argmax(-1))
MARGIN = objectives.log_margin()
QL = attacks.ql(MARGIN, num_pairs=2, smoothing=0.01, radius=0.1)


def oracle_of(predict=linear_predict):
  return oracles.from_predict(predict, linear_variables())


def attack_batch(oracle=None, images=UNIT, labels=LABELS, attack=QL, key=None, **options):
  options = {"max_queries": 20, **options}
  key = jax.random.key(0) if key is None else key
  return orjax.attack_batch(key, attack, oracle or oracle_of(), images, labels, **options)


@functools.lru_cache
def _threat_model(clean, defense):
  return threats.threat_model(lambda _: clean, defense)


_CLEAN, _NO_DEFENSE = oracle_of(), defenses.no_defense()


def evaluate(oracle=_CLEAN, images=UNIT, labels=LABELS, defense=_NO_DEFENSE, **options):
  options = {"max_queries": 20, "num_draws": 3, **options}
  model, key = _threat_model(oracle, defense), jax.random.key(0)
  return orjax.evaluate(key, QL, model, (), images, labels, objective=MARGIN, **options)
