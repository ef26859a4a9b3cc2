"""The engine: the same records, bit for bit, whatever the plan."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from orjax import attacks
from orjax import datasets
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import runner
from orjax import threats
from orjax import types


@functools.cache
def threat_model(predict, num_samples=1):
  return threats.threat_model(
    lambda variables: oracles.from_predict(predict, variables),
    defenses.output_noise(),
    attacker=functools.partial(oracles.averaged, num_samples=num_samples),
  )


def make_tasks(images, labels, stddevs=(0.0, 1e-4, 1e-2), num_runs=2):
  return [
    runner.Task(
      {"stddev": stddev, "run": run, "index": i},
      image,
      int(label),
      run,
      i,
      {"stddev": np.float32(stddev)},
      expected_steps=-stddev,
    )
    for stddev in stddevs
    for run in range(num_runs)
    for i, (image, label) in enumerate(zip(images, labels))
  ]


def _attack(num_coordinates=5):
  return attacks.zoo(
    objectives.log_margin(),
    num_coordinates=num_coordinates,
    max_steps=30,
    binary_search_steps=2,
    check_every=10,
    initial_trade_off=1.0,
  )


def _outcomes(tasks, plan, model=None, statistics=None, **kwargs):
  predict, variables = model or (linear_predict, linear_variables())
  return runner.run(
    kwargs.pop("attack", _attack()),
    objectives.log_margin(),
    threat_model(predict),
    variables,
    tasks,
    seed=0,
    max_queries=kwargs.pop("max_queries", 500),
    num_draws=20,
    plan=plan,
    statistics=statistics,
    **kwargs,
  )


def _run(*args, **kwargs):
  return {tuple(o.task.identity.values()): o for o in _outcomes(*args, **kwargs)}


def _assert_same(first, second):
  assert first.keys() == second.keys()
  for name, a in first.items():
    b = second[name]
    chex.assert_trees_all_equal(a._replace(task=None), b._replace(task=None))


def _devices(number):
  return tuple(jax.local_devices()[:number])


@pytest.fixture(scope="module")
def reference(linear_images):
  return _run(make_tasks(*linear_images), runner.Plan(3, 7, _devices(1)))


@pytest.mark.parametrize(
  "plan",
  [(3, 7, 8), (3, 1, 1), (3, 1000, 2), (1, 7, 1), (5, 4, 3), (8, 7, 1)],
  ids=lambda p: f"{p[0]} slots, chunk {p[1]}, {p[2]} devices",
)
def test_plan_never_changes_a_record_of_a_linear_model(linear_images, reference, plan):
  slots, chunk, devices = plan
  tasks = make_tasks(*linear_images)
  _assert_same(reference, _run(tasks, runner.Plan(slots, chunk, _devices(devices))))


def test_order_never_changes_a_record(linear_images, reference):
  tasks = [
    task._replace(expected_steps=float(i)) for i, task in enumerate(make_tasks(*linear_images))
  ]
  _assert_same(reference, _run(tasks, runner.Plan(3, 7, _devices(1))))


def test_a_part_of_the_tasks_gives_the_same_records(linear_images, reference):
  part = make_tasks(*linear_images)[5::7]
  found = _run(part, runner.Plan(3, 7, _devices(1)))
  _assert_same({name: reference[name] for name in found}, found)


def test_network_gives_the_same_bits_on_any_number_of_devices(digits_model):
  classifier, variables, _ = digits_model
  predict = lambda variables, images: jax.nn.softmax(classifier.apply(variables, images))
  test = datasets.load("digits", "test")
  tasks = make_tasks(datasets.to_float(test.images[:6]), test.labels[:6], num_runs=1)
  arguments = dict(model=(predict, variables), attack=_attack(16), max_queries=70 * 33)
  one = _run(tasks, runner.Plan(2, 5, _devices(1)), **arguments)
  many = _run(tasks[::-1], runner.Plan(2, 9, _devices(8)), **arguments)
  _assert_same(one, many)
  assert len({o.num_steps for o in one.values()}) > 1


def test_repeats_and_images_differ(reference):
  by_run = [reference[1e-4, run, 0].adversarial for run in (0, 1)]
  assert (by_run[0] != by_run[1]).any()


def test_a_sweep_compiles_once(linear_images):
  """A longer sweep traces and compiles exactly what a sweep of one strength does."""
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **unused: compiled.append(event) if "backend_compile" in event else None
  )
  counts = []
  for stddevs in ((0.0,), (1e-2,), (0.0, 1e-3, 1e-2, 1e-1)):
    traced = []

    def predict(variables, images):
      traced.append(images.shape)
      return linear_predict(variables, images)

    if counts:
      chex.clear_trace_counter()  # it counts by a function's code
      predict = chex.assert_max_traces(predict, n=counts[0][0])
    before = len(compiled)
    _run(
      make_tasks(*linear_images, stddevs=stddevs, num_runs=1),
      runner.Plan(3, 7, _devices(1)),
      model=(predict, linear_variables()),
    )
    counts.append((len(traced), len(compiled) - before))
  first, *others = counts  # the first may compile what belongs to no sweep
  assert others[0] == others[1] and first[0] == others[0][0] and others[0][1] > 0


def test_few_steps_are_wasted(linear_images):
  images, labels = linear_images
  statistics = runner.Statistics()
  tasks = make_tasks(images, labels, stddevs=(0.0, 1e-6, 1e-4, 1e-2, 1e-1), num_runs=5)
  outcomes = _run(tasks, runner.Plan(4, 16, _devices(1)), statistics=statistics, max_queries=10**5)
  assert len(tasks) == 200
  steps = [o.num_steps for o in outcomes.values()]
  assert min(steps) < max(steps) and sum(steps) == statistics.useful_steps
  assert statistics.useful_share >= 0.9
  assert 0 < statistics.waited_for_steps < statistics.executed_steps
  # The loop comes back at the first idle slot of four, but not of forty.
  assert statistics.used_share == 1
  assert statistics.num_queries == sum(o.num_queries for o in outcomes.values())
  wide = runner.Statistics()
  _run(tasks, runner.Plan(40, 16, _devices(1)), statistics=wide, max_queries=10**5)
  assert 0.9 <= wide.used_share < 1 and wide.useful_share < wide.used_share
  assert np.isnan(runner.Statistics().used_share)


def test_snapshot_goes_on_where_the_run_was(linear_images, reference, tmp_path):
  tasks = make_tasks(*linear_images)
  plan = runner.Plan(
    3, 2, _devices(1), snapshot=str(tmp_path / "snapshot.npz"), seconds_between_snapshots=0.0
  )
  found, steps_before = {}, 0
  for _ in range(30):  # killed again and again
    left = [task for task in tasks if tuple(task.identity.values()) not in found]
    statistics = runner.Statistics()
    outcomes = _outcomes(left, plan, statistics=statistics)
    for outcome, _ in zip(outcomes, range(3)):
      found[tuple(outcome.task.identity.values())] = outcome
    outcomes.close()
    steps_before += statistics.executed_steps
    if len(found) == len(tasks):
      break
  _assert_same(reference, found)
  # Starting all lost trials over would cost far more.
  assert steps_before < 1.6 * sum(o.num_steps for o in reference.values())


class _Choosing(NamedTuple):
  adversarial: jax.Array
  chosen: dict[str, jax.Array]


def _choosing_step(key, oracle, example, state):
  info = _attack().step(key, oracle, example, _attack().init(key, example))[1]
  length = state.chosen["length"] + 2
  return _Choosing(example.image, {"sure": length > 2, "length": length}), info._replace(
    finished=length > 5
  )


def test_what_an_attack_chose_is_told_and_outlives_the_run(linear_images, tmp_path):
  start = lambda key, example: _Choosing(
    example.image, {"sure": jnp.zeros((), bool), "length": jnp.float32(0)}
  )
  tasks = make_tasks(*linear_images, num_runs=1)[:4]
  plan = runner.Plan(3, 2, _devices(1), snapshot=str(tmp_path / "snapshot.npz"))
  attack = types.Attack(start, _choosing_step)
  outcomes = _outcomes(tasks, plan, attack=attack)
  told = [next(outcomes)]
  outcomes.close()  # in hand: it is yielded again
  told += _run(tasks, plan, attack=attack).values()
  assert len(told) == 5
  assert [outcome.chosen for outcome in told] == 5 * [{"sure": True, "length": 6.0}]


@pytest.mark.parametrize("chosen", [jnp.zeros(2), {"tiles": jnp.zeros(2)}])
def test_what_an_attack_chose_is_one_number_by_name(chosen, linear_images):
  attack = types.Attack(
    lambda key, example: _Choosing(example.image, chosen),
    lambda key, oracle, example, state: (
      state,
      _attack().step(key, oracle, example, _attack().init(key, example))[1],
    ),
  )
  with pytest.raises(TypeError, match="must be {name: number}: see orjax.types.Attack"):
    _run(make_tasks(*linear_images)[:2], runner.Plan(2, 2, _devices(1)), attack=attack)


def test_snapshot_is_removed_at_the_end(linear_images, tmp_path):
  path = tmp_path / "snapshot.npz"
  plan = runner.Plan(3, 2, _devices(1), snapshot=str(path), seconds_between_snapshots=0.0)
  _run(make_tasks(*linear_images, num_runs=1)[:4], plan)
  assert not path.exists()


def test_snapshot_of_another_shape_is_passed_over(linear_images, reference, tmp_path):
  path = tmp_path / "snapshot.npz"
  tasks = make_tasks(*linear_images)
  outcomes = _outcomes(tasks, runner.Plan(2, 2, _devices(1), str(path), 0.0))
  next(outcomes)
  outcomes.close()
  assert path.exists()
  _assert_same(reference, _run(tasks, runner.Plan(3, 7, _devices(1), str(path))))
  path.write_bytes(b"torn")
  _assert_same(reference, _run(tasks, runner.Plan(3, 7, _devices(1), str(path))))


@pytest.mark.parametrize("when", ["always", "late"])
def test_nan_is_reported_as_such(linear_images, when):
  def predict(variables, images):
    moved = jnp.abs(images - 0.5).max((1, 2, 3), keepdims=True)[:, :, 0, 0] > (
      -1.0 if when == "always" else 0.25
    )
    return jnp.where(moved, jnp.nan, linear_predict(variables, images))

  with pytest.raises(FloatingPointError, match="NaN or infinity"):
    _run(
      make_tasks(*linear_images),
      runner.Plan(3, 7, _devices(1)),
      model=(predict, linear_variables()),
      max_queries=10**5,
    )


def test_verdict_tells_luck_from_success(linear_images):
  """At stddev 1 the attack claims success at once; the clean model is not fooled."""
  tasks = make_tasks(*linear_images, stddevs=(1.0,), num_runs=4)
  outcomes = list(_run(tasks, runner.Plan(4, 50, _devices(1)), max_queries=3000).values())
  assert np.mean([o.claimed for o in outcomes]) > 0.9
  assert np.mean([o.clean_success for o in outcomes]) < 0.3
  assert 0.25 < np.mean([o.noise_error_rate for o in outcomes]) < 0.75


def test_bad_tasks_are_refused(linear_images):
  images, labels = linear_images
  with pytest.raises(ValueError, match="float32"):
    _run(make_tasks(images.astype(np.float64), labels), runner.Plan(2))
  with pytest.raises(ValueError, match="does not pay"):
    _run(make_tasks(images, labels), runner.Plan(2), max_queries=5)
  assert _run([], runner.Plan(2)) == {}
