"""Draws the figures of record folders, from the ledgers alone.

    python experiments/plot_figures.py --records=runs/blackbox_attacks
    python experiments/plot_figures.py --figure=figure13 --records=DIR/0 --records=DIR/100

Without --figure it draws all that the folders hold; several folders share panels and axes.
"""

import pathlib
from typing import NamedTuple

from harness import app
from harness import request
from harness.report import figures
from harness.request import Option

OPTIONS = (
  Option("records", "string", [], "folder of records", request.WHAT, science=False, many=True),
  Option(
    "figure",
    "string",
    None,
    f"which one: {', '.join(figures.FIGURES)}; default: all that apply",
    request.WHAT,
    science=False,
  ),
  Option(
    "out",
    "string",
    None,
    "folder for the figures; default: the first --records",
    request.OUTPUT,
    science=False,
  ),
)


class Request(NamedTuple):
  """What is asked for: of which folders, into which, one figure or all."""

  directories: list[str]
  out: pathlib.Path
  figure: str | None


def read(values: request.Values) -> Request:
  """The request of a command line.

  Raises:
    ValueError: it names no folder.
  """
  if not values["records"]:
    raise ValueError("--records is missing: pass the --out of an attack, once for each folder")
  out = values["out"] or values["records"][0]
  return Request(values["records"], pathlib.Path(out), values["figure"])


def main(asked: Request) -> None:
  """Draws the figures and prints where they are."""
  for path in figures.draw(asked.directories, asked.out, asked.figure):
    print(f"figure: {path}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main, computes=False)
