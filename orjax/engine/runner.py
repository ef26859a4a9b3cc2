"""The host side of the engine: thousands of trials over all local devices.

Continuous batching: every device has a fixed number of slots, each holding one trial.
`programs` move all slots by a bounded number of steps; the host hands out what
finished and refills those slots. Shapes never change, so a run compiles once. Nothing in
a `Plan` changes a record.
"""

import collections
from collections.abc import Iterator
import dataclasses
import time
from typing import Any
from typing import NamedTuple

import jax
from jax.sharding import PartitionSpec as P
import numpy as np

from orjax import host
from orjax import progress
from orjax.engine import programs as programs_lib
from orjax.engine import snapshots
from orjax.engine import trials as trials_lib
from orjax.engine.slots import rows_and_queries
from orjax.engine.tasks import inputs
from orjax.engine.tasks import Outcome
from orjax.engine.tasks import Task
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Objective


class Plan(NamedTuple):
  """What changes the speed and never a record.

  Attributes:
    slots_per_device: trials at a time on each device. One value gives the same bits on
      any number of devices and processes; on a convolutional network another value may
      round differently, as the network's batch has another shape.
    chunk: steps at most between two looks by the host.
    devices: local devices; None means all.
    snapshot: file that holds the slots of an interrupted run; None keeps none.
    seconds_between_snapshots: how much work a kill costs at most.
  """

  slots_per_device: int = 4
  chunk: int = 50
  devices: tuple | None = None
  snapshot: str | None = None
  seconds_between_snapshots: float = 60.0


@dataclasses.dataclass
class Statistics:
  """Filled in while a run goes on.

  Attributes:
    useful_steps: steps of finished trials.
    executed_steps: steps times slots, idle ones included.
    num_queries: asked since the run began.
    warm_queries: asked since the first look, when all is compiled.
    warm_seconds: the time they took.
  """

  useful_steps: int = 0
  executed_steps: int = 0
  num_queries: int = 0
  warm_queries: int = 0
  warm_seconds: float = 0.0

  @property
  def queries_per_second(self) -> float:
    return self.warm_queries / self.warm_seconds if self.warm_seconds else 0.0


def _asks_host(threat_model, variables, task):
  """Whether anything is asked outside JAX."""
  first = inputs(task)
  answered = (
    threat_model.clean(variables),
    threat_model.defended(variables, first.setting),
    threat_model.asked(variables, first.setting),
  )
  return any(host.asks(oracle.query, jax.random.key(0), first.image[None]) for oracle in answered)


def _check(tasks, attack, threat_model, variables, max_queries):
  shape = tasks[0].image.shape
  for task in tasks:
    wanted = (
      np.float64
      if jax.config.jax_enable_x64 and (tasks[0].image.dtype == np.float64)
      else np.float32
    )
    if task.image.dtype != wanted or task.image.shape != shape:
      raise ValueError(
        f"images must be {wanted.__name__} {shape}, not {task.image.dtype} {task.image.shape}"
      )
  _, queries = rows_and_queries(attack, threat_model, variables, tasks[0])
  trials_lib.check_budget(queries, max_queries)


def run(
  attack: Attack,
  objective: Objective,
  threat_model: ThreatModel,
  variables: Any,
  tasks: list[Task],
  *,
  seed: int,
  max_queries: int,
  num_draws: int = 100,
  plan: Plan = Plan(),
  statistics: Statistics | None = None,
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
  share = share[jax.process_index() :: jax.process_count()]
  if not share:
    return
  _check(share, attack, threat_model, variables, max_queries)
  devices = plan.devices or tuple(jax.local_devices())
  on_host = _asks_host(threat_model, variables, share[0])
  devices = devices[:1] if on_host else devices
  mesh = jax.make_mesh(
    (len(devices),), ("slots",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,)
  )
  programs = programs_lib.make(attack, objective, threat_model, num_draws, mesh, on_host=on_host)
  variables = jax.device_put(variables, jax.NamedSharding(mesh, P()))
  statistics = Statistics() if statistics is None else statistics
  label = f"attacking on {len(devices)} x {plan.slots_per_device} slots"
  with progress.Progress(len(share), unit="trials", label=label) as bar:
    yield from _loop(
      programs,
      on_host,
      variables,
      share,
      np.uint32(seed),
      np.int32(max_queries),
      plan,
      len(devices) * plan.slots_per_device,
      statistics,
      bar,
    )


def _loop(programs, on_host, variables, share, seed, max_queries, plan, num_slots, statistics, bar):
  """Fill, advance, hand out, until nothing is left."""
  slots = [inputs(share[0])] * num_slots
  stacked = jax.tree.map(lambda *x: np.stack(x), *slots)
  trials = programs_lib.idle_trials(programs, seed, stacked)
  occupants: list[Task | None] = [None] * num_slots
  if plan.snapshot:
    trials, occupants = snapshots.restore(plan.snapshot, trials, share)
  held = {id(task) for task in occupants}
  pending = collections.deque(task for task in share if id(task) not in held)
  asked_before = np.array(trials.num_queries, np.int64)
  delivery = None
  warm_since = last_snapshot = time.monotonic()
  num_claimed = num_finished = 0

  def hand_out(delivery):
    nonlocal num_claimed, num_finished
    for outcome in _outcomes(*delivery):
      num_finished, num_claimed = num_finished + 1, num_claimed + outcome.claimed
      statistics.useful_steps += outcome.num_steps
      yield outcome
      bar.update(1, _status(statistics, num_claimed, num_finished))

  while pending or any(occupants) or delivery:
    fresh = np.zeros(num_slots, bool)
    for slot in range(num_slots):
      if pending and occupants[slot] is None:
        occupants[slot] = pending.popleft()
        slots[slot] = inputs(occupants[slot])
        asked_before[slot], fresh[slot] = 0, True
    if fresh.any():
      stacked = jax.tree.map(lambda *x: np.stack(x), *slots)
      trials = programs.refill(seed, trials, stacked, fresh)
    failure = None
    if any(occupants):
      # Come back to refill as soon as a few slots are idle; at the end there is no hurry.
      max_idle = plan.slots_per_device // 20 if pending else plan.slots_per_device
      try:
        trials, num_done = programs.advance(
          seed, variables, trials, max_queries, np.int32(plan.chunk), np.int32(max_idle)
        )
      except programs_lib.Halted as halted:
        trials, failure = halted.trials, halted.__cause__
    if delivery:
      yield from hand_out(delivery)
      delivery = None
    if failure:
      _save(plan, trials, occupants)
      raise failure
    if not any(occupants):
      continue
    finished, num_queries = jax.device_get((trials.finished, trials.num_queries))
    statistics.executed_steps += int(num_done.sum()) * plan.slots_per_device
    busy = np.array([task is not None for task in occupants])
    num_new = int((num_queries - asked_before)[busy].sum())
    asked_before = num_queries.astype(np.int64)
    if statistics.num_queries:
      statistics.warm_queries += num_new
      statistics.warm_seconds = time.monotonic() - warm_since
    else:
      warm_since = time.monotonic()
    statistics.num_queries += num_new
    bar.update(0, _status(statistics, num_claimed, num_finished))
    done = [(slot, occupants[slot]) for slot in np.flatnonzero(finished & busy)]
    if done:
      try:
        verdicts = programs.verify(seed, variables, trials, finished & busy)
      except BaseException:
        _save(plan, trials, occupants)
        raise
      delivery = done, trials, verdicts
      if on_host:  # nothing is asynchronous here, and nothing asked may be lost
        yield from hand_out(delivery)
        delivery = None
      for slot, _ in done:
        occupants[slot] = None
    if time.monotonic() - last_snapshot > plan.seconds_between_snapshots:
      _save(plan, trials, occupants)
      last_snapshot = time.monotonic()
  if plan.snapshot:
    snapshots.remove(plan.snapshot)


def _save(plan, trials, occupants):
  if plan.snapshot:
    snapshots.save(plan.snapshot, trials, occupants)


def _status(statistics, num_claimed, num_finished):
  claimed = f"{num_claimed / num_finished:.2f}" if num_finished else "-"
  return f"{statistics.queries_per_second:.0f} queries/s, claimed success {claimed}"


def _outcomes(done, trials, verdicts):
  """Reads finished slots off the device, as `Outcome`s."""
  trials, verdicts = jax.device_get((trials, verdicts))
  for slot, task in done:
    if trials.broken[slot] or not verdicts.finite[slot]:
      raise FloatingPointError(
        f"the model answered NaN or infinity for image {task.index} (after "
        f"{trials.num_steps[slot]} steps): its robustness cannot be measured; check its "
        f"weights"
      )
    yield Outcome(
      task,
      trials.state.adversarial[slot],
      bool(trials.claimed[slot]),
      int(trials.num_steps[slot]),
      int(trials.num_queries[slot]),
      int(trials.num_zero_gradients[slot]) / int(trials.num_steps[slot]),
      bool(verdicts.clean_success[slot]),
      float(verdicts.defended_success_rate[slot]),
      float(verdicts.noise_error_rate[slot]),
    )
