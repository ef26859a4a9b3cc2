"""What the paper claims, what was measured, and whether the two agree, by a written rule."""

from collections.abc import Callable
from collections.abc import Mapping
import math
from typing import Any
from typing import NamedTuple

import numpy as np

from harness.book.rows import Claim
from harness.book.rows import Folders
from harness.book.rows import Measured
from harness.book.rows import Reader
from harness.report import ledgers
from harness.report import tables
from orjax import records

RULE = (
  "*inside the interval*: the paper's number lies in our 95 % interval. *same direction*: it does "
  "not, or the paper prints none, but what is compared differs as the paper says, by more than "
  "the intervals of both leave open. *undecided*: the intervals overlap. *differs*: neither."
)

_ROUNDING = 1e-9  # of an interval's ends


class Found(NamedTuple):
  """What became of a claim: `measured` and `against` are None where nothing was run."""

  claim: Claim
  measured: Measured | None
  against: Measured | None
  agreement: str


def judged(claim: Claim, folders: Folders) -> Found:
  """A claim beside what the folders hold."""
  measured, against = (
    _read(reader, folders) if reader else None for reader in (claim.measured, claim.against)
  )
  if measured is None or (claim.against and against is None):
    return Found(claim, measured, against, "not run")
  return Found(claim, measured, against, _agreement(claim, measured, against))


def _read(reader, folders):
  try:
    return reader(folders)
  except (FileNotFoundError, KeyError):  # a run that was not made, or not to its end
    return None


def _agreement(claim, measured, against):
  paper = claim.paper
  if paper is not None and measured.low - _ROUNDING <= paper <= measured.high + _ROUNDING:
    return "inside the interval"
  if against is None or claim.direction is None:
    return "differs"
  first, second = (measured, against) if claim.direction == "lower" else (against, measured)
  if first.high < second.low:
    return "same direction"
  return "differs" if first.value > second.value and second.high < first.low else "undecided"


def _trials(folders: Folders, run: str, where: Mapping[str, Any]) -> tuple[ledgers.Ledger, list]:
  """The trials of a run with some strength and setting.

  Raises:
    KeyError: there are none.
  """
  ledger = ledgers.load(folders[run])
  found = _those(ledger.records, where)
  if not found:
    raise KeyError(run)
  return ledger, found


def _those(trials, where):
  """Records, or traces of them, with such values."""
  return [
    each
    for each in trials
    if all(_equal(ledgers.value(each, name), value) for name, value in where.items())
  ]


def _equal(found, wanted):
  if callable(wanted):
    return wanted(found)
  if isinstance(wanted, float) and isinstance(found, (int, float)):
    return math.isclose(found, wanted, rel_tol=1e-6)
  return found == wanted


def success(run: str, **where: Any) -> Reader:
  """The share of trials that fool the undefended model.

  Args:
    run: whose.
    **where: `strength`, `num_samples` or a part of the setting, to choose trials by: its value,
      or a function that says of a value whether it is wanted.
  """

  def read(folders):
    summary = records.summarise(_trials(folders, run, where)[1])
    low, high = summary["clean_success_interval"]
    return Measured(summary["clean_success"], low, high, summary["num_trials"])

  return read


def standing(run: str, **where: Any) -> Reader:
  """The accuracy under a white-box attack: of images that stay right; see `success`."""

  def read(folders):
    ledger, found = _trials(folders, run, where)
    accuracy = ledgers.accuracy(ledger, found[0]["strength"])["accuracy"]
    value, low, high = tables.accuracy_under_attack(records.summarise(found), accuracy)
    return Measured(value, low, high, len(found))

  return read


def accuracy(run: str, **where: Any) -> Reader:
  """The accuracy through the defense, of all test images; see `success`."""

  def read(folders):
    ledger, found = _trials(folders, run, where)
    known = ledgers.accuracy(ledger, found[0]["strength"])
    low, high = known["interval"]
    return Measured(known["accuracy"], low, high, known["num_images"])

  return read


def blind(run: str, **where: Any) -> Reader:
  """The share of steps that learnt nothing; its interval is that of the mean over trials."""

  def read(folders):
    return mean([r["zero_gradients"] for r in _trials(folders, run, where)[1]])

  return read


def loss_at_the_end(run: str, **where: Any) -> Reader:
  """The mean of the loss that PGD raises at the last step of traced trials; see `success`."""

  def read(folders):
    traces = _those(ledgers.traces(ledgers.load(folders[run])), where)
    return mean([-trace["losses"][-1] for trace in traces])  # attacks lower, as the traces do

  return read


def in_json(run: str, file: str, choose: Callable[[dict], Measured]) -> Reader:
  """What a study wrote: `choose` finds it in the content of one of its files."""
  return lambda folders: choose(records.read_json(folders[run], file))


def mean(values: list[float]) -> Measured:
  """The mean and the interval of two standard errors around it."""
  if not values:
    raise KeyError("there are no values")
  middle = float(np.mean(values))
  error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.inf
  return Measured(middle, middle - 1.96 * error, middle + 1.96 * error, len(values))
