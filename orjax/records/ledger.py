"""Ledgers: one line for every finished trial."""

from collections.abc import Iterable
import os
import pathlib
from typing import NamedTuple

from orjax import files
from orjax.records.fields import check
from orjax.records.fields import CHOSEN
from orjax.records.fields import FIELDS
from orjax.records.fields import IDENTITY
from orjax.records.fields import identity
from orjax.records.fields import modern
from orjax.records.folder import numbered
from orjax.records.manifest import known_request

_AGAIN = "remove the line, its trial will be run again"
_NUM_TOLD = 3  # trials of others that a message describes


class Ledger:
  """Appends finished trials to a file; a torn last line is dropped when it is opened."""

  def __init__(self, directory: str | os.PathLike, process: int = 0, num_processes: int = 1):
    """Opens a folder's ledger.

    Args:
      directory: of the folder.
      process: number of this process.
      num_processes: that write to the folder; each has a file of its own.

    Raises:
      ValueError: a line is not a record, or two contradict each other; see `read`.
      OSError: a file cannot be read or written.
    """
    self.directory = pathlib.Path(directory)
    name = "records.jsonl" if num_processes == 1 else f"records-{process}.jsonl"
    self._path = self.directory / name
    files.mend_lines(self._path)
    self.records = read(directory)

  def append(self, record: dict) -> None:
    """Writes one record and waits until it is on the disk.

    NumPy's numbers become Python's. A signal may leave the record in the file and not among
    `records`: open the ledger again before you go on.

    Raises:
      ValueError: a field is missing or is not what it should be; the message says which.
      OSError: it cannot be written; the file is as before.
    """
    if tuple(name for name in record if name != CHOSEN) != FIELDS:
      raise ValueError(f"a record has the fields {FIELDS}, not {tuple(record)}")
    record = {name: files.plain(x, f"a record's {name}") for name, x in record.items()}
    try:
      check(record)
    except ValueError as e:
      raise ValueError(f"this is no record: {e}") from e
    files.append_line(self._path, record)
    self.records.append(record)


class _Found(NamedTuple):
  """A record, and where it stands."""

  record: dict
  place: str


def read(directory: str | os.PathLike) -> list[dict]:
  """All records of a folder, of all processes; a torn last line is passed over.

  Only `records.jsonl` and `records-<process>.jsonl` are read, and no copies of them. Records
  written before there was more than one defense are given in today's form.

  Raises:
    ValueError: a line is not a record, two lines of one trial contradict each other, or the
      manifest is damaged or of a later orjax.
    OSError: a file cannot be read.
  """
  return [found.record for found in _read(directory).values()]


def _read(directory) -> dict[tuple, _Found]:
  found, request = {}, known_request(directory)
  for path in numbered(directory, "records", ".jsonl"):
    for line in files.read_lines(path, advice="move it away, or pass another --out"):
      place = f"line {line.number} of {path}"
      try:
        if line.problem:
          raise ValueError(line.problem)
        record = modern(line.content, request)
        check(record)
      except ValueError as e:
        raise ValueError(f"{place} is not a record ({e}): {_AGAIN}") from e
      # A trial may stand in the ledgers of two processes if their number changed.
      new = _Found(record, place)
      _refuse_contradiction(found.setdefault(identity(record), new), new)
  return found


def _refuse_contradiction(one: _Found, other: _Found):
  # How a model was trained, an older form may not say.
  for name in sorted((one.record.keys() & other.record.keys()) - {"trained_with"}):
    values = one.record[name], other.record[name]
    if values[0] != values[1]:
      raise ValueError(
        f"{one.place} and {other.place} are of one trial and disagree, {name} is {values[0]!r} "
        f"and {values[1]!r}: remove the wrong one, or both, and the trial will be run again"
      )


def missing(directory: str | os.PathLike, trials: Iterable[dict]) -> list[dict]:
  """Which of the trials that were asked for a folder has no records of.

  Args:
    directory: of the folder.
    trials: all that were asked for, each by the first fields of its record and its setting.

  Returns:
    Those of `trials` that are not done, in their order.

  Raises:
    ValueError: it has records of other trials; the message says how many and which.
  """
  wanted, found = {identity(trial): trial for trial in trials}, _read(directory)
  others = [found[name] for name in found.keys() - wanted.keys()]
  if others:
    others.sort(key=lambda other: other.place)
    told = "; ".join(_described(other, wanted.values()) for other in others[:_NUM_TOLD])
    rest = f"; and {len(others) - _NUM_TOLD} more" if len(others) > _NUM_TOLD else ""
    raise ValueError(
      f"{directory} holds records of {len(others)} trials that this command does not ask for: "
      f"{told}{rest}; remove these lines, or pass another --out"
    )
  return [trial for name, trial in wanted.items() if name not in found]


def _described(other: _Found, trials: Iterable[dict]) -> str:
  """Where a record stands, and how its trial differs from the most similar that is wanted."""
  differing = [[name for name in IDENTITY if other.record[name] != trial[name]] for trial in trials]
  names = min(differing, key=len, default=list(IDENTITY))
  return f"{other.place} has " + ", ".join(f"{name}={other.record[name]!r}" for name in names)
