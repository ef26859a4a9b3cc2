"""What a row of the book is made of."""

from collections.abc import Callable
from collections.abc import Mapping
import pathlib
from typing import NamedTuple

SCALES = ("tiny", "cpu", "paper")


# The folders of a row's runs, by the names of the runs.
Folders = Mapping[str, pathlib.Path]


class Measured(NamedTuple):
  """A number, its 95 % interval, and of how many trials or images."""

  value: float
  low: float
  high: float
  count: int

  def __str__(self) -> str:
    return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.count}"


Reader = Callable[[Folders], Measured]


class Claim(NamedTuple):
  """A sentence of the paper, about something that is measured.

  Attributes:
    text: what is measured.
    measured: reads it from folders.
    paper: the number that the paper prints, or None.
    against: what it is compared with, where the paper compares.
    direction: `lower` or `higher` than that; None where nothing is compared.
  """

  text: str
  measured: Reader
  paper: float | None = None
  against: Reader | None = None
  direction: str | None = None


class Run(NamedTuple):
  """A command that a row needs.

  Attributes:
    name: within its row, by which claims know it.
    line: the main without `.py`, and its flags but `--out`.
    minutes: that it takes on two cores, or, of the scale `paper`, on one data-centre GPU; with
      its training.
    folder: below the folder of the book; by default of the names of row and run.
  """

  name: str
  line: str
  minutes: float
  folder: str | None = None


class Row(NamedTuple):
  """A figure or table of the paper.

  Attributes:
    name: `figure2`, `table1`, ...
    title: what it shows.
    paper: what the paper finds, in words.
    runs: what makes it, by scale; a scale that is not there is what nobody can run here.
    claims: what of it is compared.
    why_not: by scale, why there is no run.
  """

  name: str
  title: str
  paper: str
  runs: Mapping[str, tuple[Run, ...]]
  claims: tuple[Claim, ...]
  why_not: Mapping[str, str] = {}

  def folder(self, run: Run) -> str:
    """Where a run's results are, below the folder of the book."""
    return run.folder or f"{self.name}/{run.name}"
