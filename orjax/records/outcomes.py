"""From an outcome of the engine to a line of a ledger."""

from typing import Any

import numpy as np

from orjax.records.fields import CHOSEN
from orjax.records.fields import FIELDS


def record(outcome: Any) -> dict:
  """A ledger line from an outcome, in the order of `FIELDS`, with `chosen` if there is any.

  Distances are in float64, so that they do not depend on how an accelerator sums.

  Args:
    outcome: an `orjax.engine.Outcome`, whose task's identity holds the fields that say which
      trial it is: those of `FIELDS` up to `target`, and `setting`.

  Raises:
    ValueError: the identity lacks a field.
  """
  perturbation = outcome.adversarial.astype(np.float64) - outcome.task.image
  measured = {
    **outcome.task.identity,
    **outcome._asdict(),
    "l2": float(np.sqrt(np.sum(perturbation**2))),
    "linf": float(np.abs(perturbation).max()),
  }
  if missing := [name for name in FIELDS if name not in measured]:
    raise ValueError(f"the identity of a task must say {', '.join(missing)}, too")
  return {name: measured[name] for name in (*FIELDS, *([CHOSEN] if outcome.chosen else []))}
