"""How many trials a device holds at a time."""

from typing import Any

import jax
import jax.numpy as jnp

from orjax.engine import trials
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
  queries = trials.queries_per_step(attack, oracle, example)
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
