"""The host side of the engine: thousands of trials over all local devices.

Continuous batching: every device has a fixed number of slots, each holding one trial.
`programs` move all slots by a bounded number of steps; the host hands out what
finished and refills those slots. Shapes never change, so a run compiles once. Nothing in
a `Plan` changes a record.
"""

import collections
from collections.abc import Iterator
import logging
import time
from typing import Any
from typing import NamedTuple

import jax
from jax.sharding import PartitionSpec as P
import numpy as np

from orjax import border
from orjax import compiled
from orjax import progress
from orjax.engine import programs as programs_lib
from orjax.engine import snapshots
from orjax.engine.programs import Work
from orjax.engine.slots import Held
from orjax.engine.slots import rows_and_queries
from orjax.engine.slots import Slots
from orjax.engine.tally import Statistics
from orjax.engine.tally import Tally
from orjax.engine.tasks import inputs
from orjax.engine.tasks import Outcome
from orjax.engine.tasks import Task
from orjax.engine.trials import check_budget
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Objective

_LOG = logging.getLogger("orjax")


class Plan(NamedTuple):
  """What changes the speed and never a record.

  Attributes:
    slots_per_device: trials at a time on each device. One value gives the same bits on
      any number of devices and processes; on a convolutional network another value may
      round differently, as the network's batch has another shape.
    chunk: steps at most between two looks by the host; a model outside JAX is looked after
      at every step.
    devices: local devices; None means all.
    snapshot: file that holds what an interrupted run had not done with, whatever ended it:
      an error, a signal, the caller; None keeps none.
    seconds_between_snapshots: how much work a kill costs at most.
    request: names all that the trials depend on; a snapshot of another request is set aside.
  """

  slots_per_device: int = 4
  chunk: int = 50
  devices: tuple | None = None
  snapshot: str | None = None
  seconds_between_snapshots: float = 60.0
  request: str = ""


def _check(tasks, attack, threat_model, variables, max_queries):
  """Refuses what cannot be run; returns what one step asks."""
  shape, is_float64 = tasks[0].image.shape, tasks[0].image.dtype == np.float64
  dtype = np.dtype(np.float64 if is_float64 and jax.config.jax_enable_x64 else np.float32)
  for image in {id(task.image): task.image for task in tasks}.values():
    if image.dtype != dtype or image.shape != shape:
      raise ValueError(f"images must be {dtype} {shape}, not {image.dtype} {image.shape}")
    border.images(image[None], num_channels=shape[-1])
  first = inputs(tasks[0])
  asked = threat_model.asked(variables, first.setting)
  num_classes = border.num_classes(asked, first.image)
  border.labels(np.array([task.label for task in tasks]), len(tasks), num_classes)
  _, queries = rows_and_queries(attack, threat_model, variables, tasks[0])
  check_budget(queries, max_queries)
  return queries


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
    An `Outcome` per task, in the order in which they finish. One that the caller had not
    done with, as it asked for no other, is yielded again when the run goes on.

  Raises:
    ValueError: a budget below one step, or images that do not fit.
    FloatingPointError: the model answered NaN or infinity, after what else was finished.
    ConnectionError: a model outside JAX did not answer.
  """
  share = sorted(tasks, key=lambda task: -task.expected_steps)
  share = share[jax.process_index() :: jax.process_count()]
  if not share:
    return
  queries = _check(share, attack, threat_model, variables, max_queries)
  first = inputs(share[0])
  endpoints = programs_lib.endpoints(threat_model, variables, first.setting, first.image)
  devices = plan.devices or tuple(jax.local_devices())
  devices = devices[:1] if endpoints else devices
  mesh = jax.make_mesh(
    (len(devices),), ("slots",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,)
  )
  work = Work(attack, objective, threat_model, num_draws)
  made = (work, mesh, endpoints)
  job = _Job(
    compiled.kept(programs_lib.make, made) or programs_lib.make(*made),
    jax.device_put(variables, jax.NamedSharding(mesh, P())),
    np.uint32(seed),
    np.int32(max_queries),
    queries,
    max(1, queries * plan.slots_per_device // (2 * num_draws + 2)),
    plan,
  )
  idle = programs_lib.idle_trials(work, job.seed, first, len(devices) * plan.slots_per_device)
  held = Held(idle, (None,) * len(idle.finished))
  if plan.snapshot:
    held = snapshots.restore(plan.snapshot, idle, share, plan.request, endpoints)
  known = {id(task) for task in (*held.occupants, *(x.task for x in held.in_hand))}
  pending = collections.deque(task for task in share if id(task) not in known)
  label = f"attacking on {len(devices)} x {plan.slots_per_device} slots"
  with progress.Progress(len(share), unit="trials", label=label) as bar:
    tally = Tally(Statistics() if statistics is None else statistics, bar)
    yield from _saved(job, Slots(plan.slots_per_device, held), pending, tally)
  if plan.snapshot:
    snapshots.remove(plan.snapshot)


class _Job(NamedTuple):
  """What stays the same in a run."""

  programs: programs_lib.Programs
  variables: Any
  seed: np.uint32
  max_queries: np.int32
  queries_per_step: int
  verdicts_at_once: int
  plan: Plan


def _saved(job, slots, pending, tally):
  """All that is to be done; whatever ends it before is saved first.

  That may be an error of the model or of the caller, who closes the generator, or a signal.
  """
  try:
    yield from _loop(job, slots, pending, tally)
  except BaseException as e:
    _save(job, slots)
    if isinstance(e, ConnectionError) and job.plan.snapshot:
      raise ConnectionError(f"{e}; run again when it does, and the run goes on where it was") from e
    raise


def _loop(job, slots, pending, tally):
  """Fill, advance, hand out, until nothing is left."""
  last_snapshot = time.monotonic()
  restored = np.asarray(slots.trials.finished) & slots.busy
  yield from _judged(job, slots, restored, tally)
  yield from _handed_out(slots, tally)
  while pending or slots.busy.any() or slots.held.unread:
    slots.fill(job.programs, job.seed, pending)
    busy, waited = slots.busy, bool(pending)
    num_done = _advance(job, slots, waited) if busy.any() else None
    yield from _handed_out(slots, tally)  # while the device works
    if num_done is None:
      continue
    finished, num_queries = jax.device_get((slots.trials.finished, slots.trials.num_queries))
    num_new = int((num_queries - slots.num_queries)[busy].sum())
    slots.num_queries = num_queries.astype(np.int64)
    num_used = num_new // job.queries_per_step
    tally.steps(int(num_done.sum()) * slots.per_device, num_used, num_new, waited)
    tally.show(0)
    yield from _judged(job, slots, finished & busy, tally)
    if time.monotonic() - last_snapshot > job.plan.seconds_between_snapshots:
      _save(job, slots)
      last_snapshot = time.monotonic()


def _advance(job, slots, more):
  """Moves all slots; returns the steps of each device."""
  # Come back to refill as soon as a few slots are idle; at the end there is no hurry.
  max_idle = slots.per_device // 20 if more else slots.per_device
  trials, num_done = job.programs.advance(
    job.seed,
    job.variables,
    slots.trials,
    job.max_queries,
    np.int32(job.plan.chunk),
    np.int32(max_idle),
  )
  slots.move(trials)
  return num_done


def _judged(job, slots, done, tally):
  """Frees the `done` slots; their outcomes are read when the device is at work again.

  With a model outside JAX nothing is asynchronous, so they are handed out at once. There
  no question has more rows than a step, or the verdict on one trial: what a signal costs.
  """
  if not job.programs.endpoints:
    if done.any():
      slots.free(done, job.programs.verify(job.seed, job.variables, slots.trials, done))
    return
  numbers = np.flatnonzero(done)
  for begin in range(0, len(numbers), job.verdicts_at_once):
    some = np.isin(np.arange(len(done)), numbers[begin : begin + job.verdicts_at_once])
    slots.free(some, job.programs.verify(job.seed, job.variables, slots.trials, some))
    yield from _handed_out(slots, tally)


def _handed_out(slots, tally):
  """Yields outcomes that are ready, and counts them."""
  for outcome in slots.hand_out():
    tally.outcome(outcome)
    yield outcome
    tally.show(1)


def _save(job, slots):
  """Writes what is held; the run can do without."""
  if not job.plan.snapshot:
    return
  try:
    snapshots.save(job.plan.snapshot, slots.held, job.plan.request, job.programs.endpoints)
  except Exception as e:  # a full disk, or a device that has failed
    _LOG.warning("what the slots hold is not saved (%s): an interrupted run starts it again", e)
