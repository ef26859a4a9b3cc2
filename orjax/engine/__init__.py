"""The engine: thousands of trials over all devices, exactly reproducible, resumable."""

from orjax.engine.runner import Plan
from orjax.engine.runner import run
from orjax.engine.runner import Statistics
from orjax.engine.slots import choose_slots
from orjax.engine.slots import rows_and_queries
from orjax.engine.tasks import inputs
from orjax.engine.tasks import Outcome
from orjax.engine.tasks import Task
from orjax.threats import ThreatModel

__all__ = [
  "Outcome",
  "Plan",
  "Statistics",
  "Task",
  "ThreatModel",
  "choose_slots",
  "inputs",
  "rows_and_queries",
  "run",
]
