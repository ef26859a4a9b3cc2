"""The zoo in the engine: the same records on one device and on eight, of every defense."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_defenses_protocol import ALL

from conftest import linear_predict
from conftest import linear_variables
from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax import runner
from orjax import threats
from orjax.types import Oracle

_NAMES = list(ALL)


def _any_of(oracle, setting):
  """The zoo's defense of that number: all of them are one program."""

  def query(key, images):
    answers = []
    for name, own_key in zip(_NAMES, jax.random.split(key, len(_NAMES))):
      numbers = {k.split()[1]: v for k, v in setting.items() if k.split()[0] == name}
      answers.append(ALL[name][0].wrap(oracle, numbers).query(own_key, images))
    return jnp.stack(answers)[setting["which"].astype(jnp.int32)]

  return Oracle(query)


@pytest.fixture(scope="module")
def run(linear_images):
  """Outcomes by identity on so many devices."""
  images, labels = linear_images
  numbers = {
    f"{name} {k}": np.float32(v)
    for name in _NAMES
    for k, v in ALL[name][0].settings(ALL[name][1]).items()
  }
  threat_model = threats.threat_model(
    lambda variables: oracles.from_predict(linear_predict, variables),
    threats.Defense("any", _any_of, lambda number: {}),
  )
  tasks = [
    runner.Task(
      {"defense": name, "index": i},
      images[i],
      int(labels[i]),
      0,
      i,
      {"which": np.float32(_NAMES.index(name)), **numbers},
    )
    for name in _NAMES
    for i in range(2)
  ]

  def outcomes(num_devices, num_slots, chunk):
    found = runner.run(
      attacks.ql(objectives.cross_entropy(), num_pairs=4, smoothing=0.05, radius=0.5),
      objectives.cross_entropy(),
      threat_model,
      linear_variables(),
      tasks,
      seed=0,
      max_queries=90,
      num_draws=5,
      plan=runner.Plan(num_slots, chunk, tuple(jax.local_devices()[:num_devices])),
    )
    return {tuple(o.task.identity.values()): o._replace(task=None) for o in found}

  return outcomes


def test_every_defense_gives_the_same_records_on_one_device_and_on_eight(run):
  one, eight = run(1, 5, 3), run(8, 2, 7)
  assert one.keys() == eight.keys() and len(one) == 2 * len(_NAMES)
  for name, outcome in one.items():
    chex.assert_trees_all_equal(outcome, eight[name], custom_message=str(name))
  # They are defenses of their own: an attack ends elsewhere for most.
  ends = {np.asarray(one[name, 0].adversarial).tobytes() for name in _NAMES}
  assert len(ends) > len(_NAMES) / 2
