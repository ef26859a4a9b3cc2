"""What a run counts while it goes on, and says of itself."""

import dataclasses
import math
import time

from orjax import progress
from orjax.engine.tasks import Outcome


@dataclasses.dataclass
class Statistics:
  """Filled in while a run goes on.

  Attributes:
    useful_steps: steps of finished trials.
    executed_steps: steps times slots, idle ones included.
    waited_for_steps: of those, while trials waited for a slot: without the tail, in which
      ever fewer are left.
    used_steps: of those, of trials that were not finished.
    num_queries: asked since the run began.
    warm_queries: asked since the first look, when all is compiled.
    warm_seconds: the time they took.
  """

  useful_steps: int = 0
  executed_steps: int = 0
  waited_for_steps: int = 0
  used_steps: int = 0
  num_queries: int = 0
  warm_queries: int = 0
  warm_seconds: float = 0.0

  @property
  def queries_per_second(self) -> float:
    return self.warm_queries / self.warm_seconds if self.warm_seconds else 0.0

  @property
  def useful_share(self) -> float:
    """Of all that was executed; nan where nothing was."""
    return self.useful_steps / self.executed_steps if self.executed_steps else math.nan

  @property
  def used_share(self) -> float:
    """Of what was executed while trials waited; nan where none did."""
    return self.used_steps / self.waited_for_steps if self.waited_for_steps else math.nan


class Tally:
  """Counts what a run does, and says so."""

  def __init__(self, statistics: Statistics, bar: progress.Progress):
    self._statistics, self._bar = statistics, bar
    self._num_claimed = self._num_finished = 0
    self._warm_since = time.monotonic()

  def outcome(self, outcome: Outcome) -> None:
    """Counts a finished trial."""
    self._num_finished += 1
    self._num_claimed += outcome.claimed
    self._statistics.useful_steps += outcome.num_steps

  def steps(self, num_steps: int, num_used: int, num_queries: int, waited: bool) -> None:
    """Counts steps, of all slots and of live trials, and queries since the last look."""
    statistics = self._statistics
    statistics.executed_steps += num_steps
    if waited:
      statistics.waited_for_steps += num_steps
      statistics.used_steps += num_used
    if statistics.num_queries:
      statistics.warm_queries += num_queries
      statistics.warm_seconds = time.monotonic() - self._warm_since
    else:
      self._warm_since = time.monotonic()
    statistics.num_queries += num_queries

  def show(self, num_new: int) -> None:
    """Shows `num_new` more finished trials."""
    share = f"{self._num_claimed / self._num_finished:.2f}" if self._num_finished else "-"
    speed = f"{self._statistics.queries_per_second:.0f} queries/s"
    self._bar.update(num_new, f"{speed}, claimed success {share}")
