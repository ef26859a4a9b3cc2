"""What there is to do, on the host: trials to run, what came of them, how many at a time."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import engine
from orjax import trials
from orjax.types import Attack
from orjax.types import Example

# Rows per network call at which a device is busy: measured on a CPU (BUILD_NOTES.md).
_ROWS_ON_CPU = 2048
_ROWS_ELSEWHERE = 16384
# A call of fewer wastes it, however few trials there are.
_FEW_ROWS_ON_CPU = 64
_FEW_ROWS_ELSEWHERE = 1024
_BYTES_OF_IMAGES = 2**28  # of one network call, at most; large images fill a device sooner


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
  """A finished trial: the task, what was handed in, what it cost, the verdict.

  `zero_gradients` is the share of its steps that learnt nothing: see `StepInfo`.
  """

  task: Task
  adversarial: np.ndarray
  claimed: bool
  num_steps: int
  num_queries: int
  zero_gradients: float
  clean_success: bool
  defended_success_rate: float
  noise_error_rate: float


def inputs(task: Task) -> engine.Inputs:
  """What starts a task's trial."""
  return engine.Inputs(
    task.image,
    np.int32(task.label),
    np.int32(task.run),
    np.int32(task.index),
    {k: np.asarray(v, np.float32) for k, v in task.setting.items()},
  )


def rows_and_queries(attack, threat_model, variables, task):
  """Rows and queries of one step, from shapes alone."""
  first = inputs(task)
  oracle = threat_model.asked(variables, first.setting)
  example = Example(jnp.asarray(first.image), jnp.asarray(first.label))
  queries = trials.queries_per_step(attack, oracle, example)
  return queries // oracle.queries_per_row, queries


def choose_slots(
  attack: Attack, threat_model: engine.ThreatModel, variables: Any, tasks: list[Task]
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
