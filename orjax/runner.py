"""The engine: thousands of trials over all local devices, exactly reproducible.

Continuous batching: every device has a fixed number of slots, each holding one trial. A
jitted, shard_mapped `advance` moves all slots by a bounded number of steps; the host
hands out what finished and refills those slots. Shapes never change, so a run compiles
once, and no collective is in the loop. Nothing in a `Plan` changes a record.
"""

import collections
import dataclasses
import time
from typing import Any, Callable, Iterator, NamedTuple

import jax
from jax.sharding import PartitionSpec as P
import jax.numpy as jnp
import numpy as np

from orjax import progress
from orjax import trials as trials_lib
from orjax import verification
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective
from orjax.types import Oracle


class ThreatModel(NamedTuple):
  """Who answers whom; each makes an `Oracle` inside the traced program.

  Attributes:
    clean: `clean(variables)`: the undefended model, asked by the verification only.
    defended: `defended(variables, setting)`: the server.
    asked: `asked(variables, setting)`: what the attacker makes of the server.
  """

  clean: Callable[[Any], Oracle]
  defended: Callable[[Any, Any], Oracle]
  asked: Callable[[Any, Any], Oracle]


class Task(NamedTuple):
  """One trial to do, on the host.

  Attributes:
    identity: the record's first fields, for the caller.
    image: float32 [H, W, C].
    label: true class, or target.
    run: repeat number.
    index: of the image.
    setting: numbers of the threat model, such as {"stddev": 0.01}.
    expected_steps: longer trials are started first.
  """

  identity: Any
  image: np.ndarray
  label: int
  run: int
  index: int
  setting: dict[str, np.ndarray]
  expected_steps: float = 0.0


class Outcome(NamedTuple):
  """A finished trial: the task, what was handed in, what it cost, the verdict."""

  task: Task
  adversarial: np.ndarray
  claimed: bool
  num_steps: int
  num_queries: int
  clean_success: bool
  defended_success_rate: float
  noise_error_rate: float


class Plan(NamedTuple):
  """What changes the speed and never a record.

  Attributes:
    slots_per_device: trials at a time on each device. One value gives the same bits on
      any number of devices and processes; on a convolutional network another value may
      round differently, as the network's batch has another shape.
    chunk: steps at most between two looks by the host.
    devices: local devices; None means all.
  """

  slots_per_device: int = 4
  chunk: int = 50
  devices: tuple | None = None


@dataclasses.dataclass
class Statistics:
  """Filled in while a run goes on: steps that moved a live trial, slot-steps executed,
  queries asked, seconds."""

  useful_steps: int = 0
  executed_steps: int = 0
  num_queries: int = 0
  seconds: float = 0.0
  seconds_to_first: float = 0.0


class _Programs(NamedTuple):
  start: Callable
  refill: Callable
  advance: Callable
  verify: Callable


def _programs(attack, objective, threat_model, num_draws, mesh):
  """The three compiled programs of a run; all over slots sharded along `mesh`."""

  def start(seed, task):
    key = trials_lib.trial_key(jax.random.key(seed), task.run, task.index)
    return trials_lib.start(attack, key, Example(task.image, task.label), task.run,
                            task.index, task.setting)

  def start_all(seed, tasks):
    return jax.vmap(start, in_axes=(None, 0))(seed, tasks)

  def refill(seed, trials, tasks, fresh):
    started = start_all(seed, tasks)
    keep = lambda old, new: jnp.where(
        fresh.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return jax.tree.map(keep, trials, started)

  def step(seed, variables, max_queries, trial):
    key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
    oracle = threat_model.asked(variables, trial.setting)
    return trials_lib.step(attack, oracle, key, trial, max_queries)

  def advance(seed, variables, trials, max_queries, chunk, max_idle):
    def going(carry):
      num_done, trials = carry
      num_idle = trials.finished.sum()
      return (num_done < chunk) & (num_idle <= max_idle) & ~trials.finished.all()

    def body(carry):
      num_done, trials = carry
      moved = jax.vmap(lambda trial: step(seed, variables, max_queries, trial))(trials)
      return num_done + 1, moved

    num_done, trials = jax.lax.while_loop(going, body, (jnp.int32(0), trials))
    return trials, num_done[None]

  def verify(seed, variables, trials):
    def one(trial):
      key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
      return verification.verify(
          trials_lib.verification_key(key), threat_model.clean(variables),
          threat_model.defended(variables, trial.setting), objective, trial.example,
          trial.state.adversarial, num_draws)
    return jax.vmap(one)(trials)

  def sharded(function, *in_specs):
    # No collective anywhere: each device runs its own loop over its own slots.
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs,
                                 out_specs=P("slots"), check_vma=False))

  slots, everywhere = P("slots"), P()
  return _Programs(
      start_all,
      sharded(refill, everywhere, slots, slots, slots),
      sharded(advance, everywhere, everywhere, slots, everywhere, everywhere, everywhere),
      sharded(verify, everywhere, everywhere, slots))


class _Arrays(NamedTuple):
  """A task's arrays, as `refill` takes them."""

  image: Any
  label: Any
  run: Any
  index: Any
  setting: Any


def _arrays(task):
  return _Arrays(task.image, np.int32(task.label), np.int32(task.run),
                 np.int32(task.index),
                 {k: np.asarray(v, np.float32) for k, v in task.setting.items()})


def _check(tasks, attack, threat_model, variables, max_queries):
  first = _arrays(tasks[0])
  for task in tasks:
    if task.image.dtype != np.float32 or task.image.shape != first.image.shape:
      raise ValueError(f"images must be float32 {first.image.shape}, not "
                       f"{task.image.dtype} {task.image.shape}")
  oracle = threat_model.asked(variables, first.setting)
  example = Example(jnp.asarray(first.image), jnp.asarray(first.label))
  trials_lib.check_budget(
      trials_lib.queries_per_step(attack, oracle, example), max_queries)


def run(attack: Attack, objective: Objective, threat_model: ThreatModel, variables: Any,
        tasks: list[Task], *, seed: int, max_queries: int, num_draws: int = 100,
        plan: Plan = Plan(), statistics: Statistics | None = None,
        ) -> Iterator[Outcome]:
  """Does all tasks and yields their outcomes as they finish.

  The device goes on while the caller handles an outcome. In a multi-process run every
  process does its share of the tasks.

  Args:
    attack: what attacks.
    objective: what it wants; also the test of success.
    threat_model: who answers whom.
    variables: the model's parameters, given to the threat model's functions.
    tasks: trials to do, each independent of the others.
    seed: of the whole experiment.
    max_queries: per trial, never exceeded.
    num_draws: fresh answers per image in the verdict.
    plan: speed settings.
    statistics: filled in where given.

  Yields:
    An `Outcome` per task, in the order in which they finish.

  Raises:
    ValueError: a budget below one step, or images that do not fit.
    FloatingPointError: the model answered NaN or infinity.
  """
  share = sorted(tasks, key=lambda task: -task.expected_steps)
  share = share[jax.process_index()::jax.process_count()]
  if not share:
    return
  _check(share, attack, threat_model, variables, max_queries)
  devices = plan.devices or tuple(jax.local_devices())
  mesh = jax.make_mesh((len(devices),), ("slots",), devices=devices,
                       axis_types=(jax.sharding.AxisType.Auto,))
  programs = _programs(attack, objective, threat_model, num_draws, mesh)
  variables = jax.device_put(variables, jax.NamedSharding(mesh, P()))
  statistics = Statistics() if statistics is None else statistics
  label = f"attacking on {len(devices)} x {plan.slots_per_device} slots"
  with progress.Progress(len(share), unit="trials", label=label) as bar:
    yield from _loop(programs, variables, share, np.uint32(seed), np.int32(max_queries),
                     plan, len(devices) * plan.slots_per_device, statistics, bar)


def _loop(programs, variables, share, seed, max_queries, plan, num_slots, statistics, bar):
  """Fill, advance, hand out, until nothing is left."""
  pending = collections.deque(share)
  occupants: list[Task | None] = [None] * num_slots
  inputs = [_arrays(share[0])] * num_slots
  trials = None
  asked_before = np.zeros(num_slots, np.int64)
  delivery = None
  began = time.monotonic()
  num_claimed = num_finished = 0
  while pending or any(occupants) or delivery:
    fresh = np.array([bool(pending) and task is None for task in occupants])
    for slot in np.flatnonzero(fresh):
      if pending:
        occupants[slot] = pending.popleft()
        inputs[slot] = _arrays(occupants[slot])
        asked_before[slot] = 0
      else:
        fresh[slot] = False
    if fresh.any():
      tasks = jax.tree.map(lambda *x: np.stack(x), *inputs)
      if trials is None:
        trials = _start_idle(programs, seed, tasks)
      trials = programs.refill(seed, trials, tasks, fresh)
    if any(occupants):
      # Come back to refill as soon as a few slots are idle, or at the very end.
      max_idle = plan.slots_per_device // 20 if pending else plan.slots_per_device
      trials, num_done = programs.advance(
          seed, variables, trials, max_queries, np.int32(plan.chunk), np.int32(max_idle))
    if delivery:
      for outcome in _outcomes(*delivery):
        num_finished, num_claimed = num_finished + 1, num_claimed + outcome.claimed
        statistics.useful_steps += outcome.num_steps
        statistics.seconds_to_first = (statistics.seconds_to_first
                                       or time.monotonic() - began)
        yield outcome
        bar.update(1, _status(statistics, num_claimed, num_finished))
      delivery = None
    if not any(occupants):
      continue
    finished, num_queries = jax.device_get((trials.finished, trials.num_queries))
    statistics.executed_steps += int(num_done.sum()) * plan.slots_per_device
    held = np.array([task is not None for task in occupants])
    statistics.num_queries += int((num_queries - asked_before)[held].sum())
    asked_before = num_queries.astype(np.int64)
    statistics.seconds = time.monotonic() - began
    bar.update(0, _status(statistics, num_claimed, num_finished))
    done = [(slot, occupants[slot]) for slot in np.flatnonzero(finished & held)]
    if done:
      delivery = (done, trials, programs.verify(seed, variables, trials))
      for slot, _ in done:
        occupants[slot] = None


def _start_idle(programs, seed, tasks):
  """Slots of the right shapes that hold nothing yet: finished trials of zeros."""
  num_slots = len(tasks.run)
  shapes = jax.eval_shape(programs.start, seed, tasks)
  empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return empty._replace(finished=np.ones(num_slots, bool))


def _status(statistics, num_claimed, num_finished):
  rate = statistics.num_queries / max(statistics.seconds, 1e-9)
  claimed = f"{num_claimed / num_finished:.2f}" if num_finished else "-"
  return f"{rate:.0f} queries/s, claimed success {claimed}"


def _outcomes(done, trials, verdicts):
  """Reads finished slots off the device, as `Outcome`s."""
  trials, verdicts = jax.device_get((trials, verdicts))
  for slot, task in done:
    if trials.broken[slot] or not verdicts.finite[slot]:
      raise FloatingPointError(
          f"the model answered NaN or infinity for image {task.index} (after "
          f"{trials.num_steps[slot]} steps): its robustness cannot be measured; check its "
          f"weights")
    yield Outcome(
        task, trials.state.adversarial[slot], bool(trials.claimed[slot]),
        int(trials.num_steps[slot]), int(trials.num_queries[slot]),
        bool(verdicts.clean_success[slot]), float(verdicts.defended_success_rate[slot]),
        float(verdicts.noise_error_rate[slot]))
