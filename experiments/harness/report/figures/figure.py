"""What a figure is."""

from collections.abc import Callable
import pathlib
from typing import NamedTuple

from harness.report.ledgers import Ledger


class Figure(NamedTuple):
  """A figure of record folders.

  Attributes:
    applies: `applies(folders)`: whether they hold what it shows.
    draw: `draw(folders, path)`: writes it; only where it applies.
    needs: what it shows, for whoever asks for it where it does not apply.
    for_each: whether every folder has one of its own, instead of one of all.
  """

  applies: Callable[[list[Ledger]], bool]
  draw: Callable[[list[Ledger], pathlib.Path], None]
  needs: str
  for_each: bool = False
