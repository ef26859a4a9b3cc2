"""What there is to do, on the host: trials to run, and what came of them."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from orjax.engine.programs import Inputs
from orjax.engine.trials import chosen
from orjax.engine.trials import Trial
from orjax.threats import traced
from orjax.verification import Verdict


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
  setting: Mapping[str, Any]
  expected_steps: float = 0.0


class Outcome(NamedTuple):
  """A finished trial: the task, what was handed in, what it cost, the verdict.

  `zero_gradients` is the share of its steps that learnt nothing: see `StepInfo`. `chosen` is what
  the attack says that it chose by what it was told, numbers by name: see `Attack`.
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
  chosen: dict[str, Any]


def inputs(task: Task) -> Inputs:
  """What starts a task's trial."""
  return Inputs(
    task.image, np.int32(task.label), np.int32(task.run), np.int32(task.index), traced(task.setting)
  )


class Report(NamedTuple):
  """The leaves of trials that outcomes are made of; the others can stay on the device."""

  adversarial: Any
  claimed: Any
  broken: Any
  num_steps: Any
  num_queries: Any
  num_zero_gradients: Any
  chosen: dict[str, Any]

  @classmethod
  def of(cls, trials: Trial) -> "Report":
    taken = {name: getattr(trials, name) for name in cls._fields[1:-1]}
    return cls(trials.state.adversarial, **taken, chosen=chosen(trials.state))


def outcomes(
  tasks: dict[int, Task], report: Report, verdicts: Verdict
) -> tuple[list[Outcome], FloatingPointError | None]:
  """Reads the outcomes of finished slots off the device.

  Args:
    tasks: by their slots.
    report: of all slots.
    verdicts: likewise.

  Returns:
    What came of the trials whose model answered numbers throughout, and what is wrong with
    the first of the others.
  """
  report, verdicts = jax.device_get((report, verdicts))
  found, failure = [], None
  for slot, task in tasks.items():
    trial, verdict = jax.tree.map(lambda x: x[slot], (report, verdicts))
    if trial.broken or not verdict.finite:
      failure = failure or FloatingPointError(
        f"the model answered NaN or infinity for image {task.index} (after "
        f"{trial.num_steps} steps): its robustness cannot be measured; check its weights"
      )
    else:
      found.append(_outcome(task, trial, verdict))
  return found, failure


def _outcome(task, trial, verdict):
  return Outcome(
    task,
    trial.adversarial,
    bool(trial.claimed),
    int(trial.num_steps),
    int(trial.num_queries),
    int(trial.num_zero_gradients) / int(trial.num_steps),
    bool(verdict.clean_success),
    float(verdict.defended_success_rate),
    float(verdict.noise_error_rate),
    {name: x.item() for name, x in trial.chosen.items()},
  )
