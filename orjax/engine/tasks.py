"""What there is to do, on the host: trials to run, and what came of them."""

from typing import Any
from typing import NamedTuple

import numpy as np

from orjax.engine.programs import Inputs


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


def inputs(task: Task) -> Inputs:
  """What starts a task's trial."""
  return Inputs(
    task.image,
    np.int32(task.label),
    np.int32(task.run),
    np.int32(task.index),
    {k: np.asarray(v, np.float32) for k, v in task.setting.items()},
  )
