"""The slots of the devices: how many there are, and what they hold."""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orjax.engine import trials as trials_lib
from orjax.engine.programs import Programs
from orjax.engine.tasks import inputs
from orjax.engine.tasks import Task
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Example

# Rows per network call at which a device is busy: measured on a CPU (BUILD_NOTES.md).
_ROWS_ON_CPU = 2048
_ROWS_ELSEWHERE = 16384
# A call of fewer wastes it, however few trials there are.
_FEW_ROWS_ON_CPU = 64
_FEW_ROWS_ELSEWHERE = 1024
_BYTES_OF_IMAGES = 2**28  # of one network call, at most; large images fill a device sooner


def rows_and_queries(attack, threat_model, variables, task):
  """Rows and queries of one step, from shapes alone."""
  first = inputs(task)
  oracle = threat_model.asked(variables, first.setting)
  example = Example(jnp.asarray(first.image), jnp.asarray(first.label))
  queries = trials_lib.queries_per_step(attack, oracle, example)
  return queries // oracle.queries_per_row, queries


def choose_slots(
  attack: Attack, threat_model: ThreatModel, variables: Any, tasks: list[Task]
) -> int:
  """Slots per device that fill a device, with work for eight rounds on one device.

  Fewer rounds if the calls would otherwise be small.

  Rounding may depend on the number of slots, so this is a function of the whole
  experiment: pass all its tasks, not what a resumed run has left.
  """
  rows, _ = rows_and_queries(attack, threat_model, variables, tasks[0])
  few, enough = (
    (_FEW_ROWS_ON_CPU, _ROWS_ON_CPU)
    if jax.default_backend() == "cpu"
    else (_FEW_ROWS_ELSEWHERE, _ROWS_ELSEWHERE)
  )
  enough = min(enough, _BYTES_OF_IMAGES // tasks[0].image.nbytes)
  wanted = max(len(tasks) // 8, min(few // rows, len(tasks)))
  return max(1, min(enough // rows, wanted))


class Slots:
  """Trials on the device, the task of each slot or None, and what each had asked."""

  def __init__(self, per_device: int, trials: trials_lib.Trial, occupants: list[Task | None]):
    self.per_device, self.trials, self.occupants = per_device, trials, occupants
    self.num_queries = np.array(trials.num_queries, np.int64)

  @property
  def busy(self) -> np.ndarray:
    return np.array([task is not None for task in self.occupants])

  def fill(self, programs: Programs, seed: np.uint32, pending: collections.deque) -> None:
    """Puts pending tasks into empty slots, at most as many at a time as a device has."""
    empty = np.flatnonzero(~self.busy)[: len(pending)]
    for begin in range(0, len(empty), self.per_device):
      places = empty[begin : begin + self.per_device]
      fresh = [pending.popleft() for _ in places]
      for slot, task in zip(places, fresh):
        self.occupants[slot] = task
      # Of one shape, however few are fresh: the others go nowhere.
      stacked = jax.tree.map(lambda *rows: self._stacked(rows), *map(inputs, fresh))
      nowhere = np.full(self.per_device - len(places), len(self.occupants))
      places = np.concatenate([places, nowhere]).astype(np.int32)
      self.trials = programs.refill(seed, self.trials, stacked, places)
    self.num_queries[empty] = 0

  def free(self, done: np.ndarray) -> dict[int, Task]:
    """Empties the `done` slots; returns their tasks by slot."""
    tasks = {int(slot): self.occupants[slot] for slot in np.flatnonzero(done)}
    for slot in tasks:
      self.occupants[slot] = None
    return tasks

  def _stacked(self, rows):
    """Rows stacked, and zeros up to a device's number of slots."""
    stacked = np.zeros((self.per_device, *np.shape(rows[0])), rows[0].dtype)
    stacked[: len(rows)] = rows
    return stacked
