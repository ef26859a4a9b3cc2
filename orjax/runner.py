"""Another address of `orjax.engine`."""

from orjax.engine import choose_slots
from orjax.engine import inputs
from orjax.engine import Outcome
from orjax.engine import Plan
from orjax.engine import run
from orjax.engine import Statistics
from orjax.engine import Task

__all__ = ["Outcome", "Plan", "Statistics", "Task", "choose_slots", "inputs", "run"]
