"""The slots of the devices: how many there are, and what they hold."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax.engine import trials as trials_lib
from orjax.engine.programs import Programs
from orjax.engine.tasks import inputs
from orjax.engine.tasks import Outcome
from orjax.engine.tasks import outcomes
from orjax.engine.tasks import Report
from orjax.engine.tasks import Task
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Example
from orjax.verification import Verdict

# Rows per network call at which a device is busy: measured on a CPU (BUILD_NOTES.md).
_ROWS_ON_CPU = 2048
_ROWS_ELSEWHERE = 16384
# A call of fewer wastes it, however few trials there are.
_FEW_ROWS_ON_CPU = 64
_FEW_ROWS_ELSEWHERE = 1024
_BYTES_OF_IMAGES = 2**28  # of one network call, at most; large images fill a device sooner


def rows_and_queries(
  attack: Attack, threat_model: ThreatModel, variables: Any, task: Task
) -> tuple[int, int]:
  """Rows and queries of one step, from shapes alone."""
  first = inputs(task)
  oracle = threat_model.asked(variables, first.setting)
  example = Example(jnp.asarray(first.image), jnp.asarray(first.label))
  queries = trials_lib.queries_per_step(attack, oracle, example)
  return queries // oracle.queries_per_row, queries


def choose_slots(
  attack: Attack, threat_model: ThreatModel, variables: Any, tasks: list[Task], passes: int = 1
) -> int:
  """Slots per device that fill a device, with work for eight rounds on one device.

  Fewer rounds if the calls would otherwise be small.

  Rounding may depend on the number of slots, so this is a function of the whole
  experiment: pass all its tasks, not what a resumed run has left.

  Args:
    attack: of every trial.
    threat_model: that it is made through.
    variables: of the model.
    tasks: all of the experiment.
    passes: through the network that one answer takes, such as those of an ensemble.
  """
  rows, _ = rows_and_queries(attack, threat_model, variables, tasks[0])
  rows *= passes
  few, enough = (
    (_FEW_ROWS_ON_CPU, _ROWS_ON_CPU)
    if jax.default_backend() == "cpu"
    else (_FEW_ROWS_ELSEWHERE, _ROWS_ELSEWHERE)
  )
  enough = min(enough, _BYTES_OF_IMAGES // tasks[0].image.nbytes)
  wanted = max(len(tasks) // 8, min(few // rows, len(tasks)))
  return max(1, min(enough // rows, wanted))


class Held(NamedTuple):
  """What a run holds at one moment, and must not lose.

  Attributes:
    trials: on the device, with a leading axis of slots.
    occupants: the task of each slot, or None.
    in_hand: outcomes that are read and not known to be dealt with.
    unread: reads those of freed slots, and what is wrong with the first that is none.
  """

  trials: trials_lib.Trial
  occupants: tuple[Task | None, ...]
  in_hand: tuple[Outcome, ...] = ()
  unread: Callable[[], tuple[list[Outcome], Exception | None]] | None = None

  def outcomes(self) -> list[Outcome]:
    """All that are not known to be dealt with."""
    return [*self.in_hand, *(self.unread()[0] if self.unread else ())]


class Slots:
  """Trials on the device, the task of each slot or None, and what each had asked.

  A signal may end a run between any two lines: all that counts is in `held`, and changes
  with one assignment from one consistent moment to the next.
  """

  def __init__(self, per_device: int, held: Held):
    self.per_device, self.held = per_device, held
    self.num_queries = np.array(held.trials.num_queries, np.int64)

  @property
  def trials(self) -> trials_lib.Trial:
    return self.held.trials

  @property
  def busy(self) -> np.ndarray:
    return np.array([task is not None for task in self.held.occupants])

  def fill(self, programs: Programs, seed: np.uint32, pending: collections.deque) -> None:
    """Puts pending tasks into empty slots, at most as many at a time as a device has."""
    empty = np.flatnonzero(~self.busy)[: len(pending)]
    for begin in range(0, len(empty), self.per_device):
      places = empty[begin : begin + self.per_device]
      fresh = [pending.popleft() for _ in places]
      occupants = list(self.held.occupants)
      for slot, task in zip(places, fresh):
        occupants[slot] = task
      # Of one shape, however few are fresh: the others go nowhere.
      stacked = jax.tree.map(lambda *rows: self._stacked(rows), *map(inputs, fresh))
      nowhere = np.full(self.per_device - len(places), len(occupants))
      places = np.concatenate([places, nowhere]).astype(np.int32)
      trials = programs.refill(seed, self.trials, stacked, places)
      self.held = self.held._replace(trials=trials, occupants=tuple(occupants))
    self.num_queries[empty] = 0

  def move(self, trials: trials_lib.Trial) -> None:
    """Takes the trials of the same tasks some steps further."""
    self.held = self.held._replace(trials=trials)

  def free(self, done: np.ndarray, verdicts: Verdict) -> None:
    """Empties the `done` slots; their outcomes are to be read."""
    trials, occupants = self.held.trials, self.held.occupants
    tasks = {slot: task for slot, task in enumerate(occupants) if done[slot] and task}
    left = tuple(None if slot in tasks else task for slot, task in enumerate(occupants))
    unread = functools.partial(outcomes, tasks, Report.of(trials), verdicts)
    self.held = Held(trials, left, self.held.in_hand, unread)

  def hand_out(self) -> Iterator[Outcome]:
    """Yields what is to be dealt with; a caller who asks for the next has done so.

    Raises:
      FloatingPointError: one of them is none, once the others are dealt with.
    """
    found, failure = self.held.unread() if self.held.unread else ([], None)
    self.held = self.held._replace(in_hand=(*self.held.in_hand, *found), unread=None)
    while self.held.in_hand:
      yield self.held.in_hand[0]
      self.held = self.held._replace(in_hand=self.held.in_hand[1:])
    if failure:
      raise failure

  def _stacked(self, rows):
    """Rows stacked, and zeros up to a device's number of slots."""
    stacked = np.zeros((self.per_device, *np.shape(rows[0])), rows[0].dtype)
    stacked[: len(rows)] = rows
    return stacked
