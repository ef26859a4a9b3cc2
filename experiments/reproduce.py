"""Every figure and table of the paper, from one command, beside what the paper says.

    python experiments/reproduce.py --scale=tiny
    python experiments/reproduce.py --only=figure2 --only=table1 --hours=8
    python experiments/reproduce.py --scale=paper --hours=24

Runs the mains that the rows need, each command once and the cheapest first, as long as they
fit into --hours; finds or trains their networks. Interrupted, it resumes; finished, it does
nothing. Writes book.md and book.html to --out: each figure beside the paper's number or sentence,
the agreement by a written rule, sample sizes, commands and times.
"""

import os
import pathlib
from typing import NamedTuple

from harness import app
from harness import book
from harness import data
from harness import locks
from harness import recipes
from harness import request
from harness.book import pages
from harness.book import runs
from harness.request import Option
from orjax import files

_DATA_DIR = next(option for option in data.DATASET if option.name == "data_dir")
MARKER = "<!-- the book -->"
_NAMES = tuple(row.name for row in book.ROWS)
OPTIONS = [
  Option("only", "enum", [], "a row; all by default", request.WHAT, many=True, choices=_NAMES),
  Option(
    "scale",
    "enum",
    "tiny",
    "how much: minutes on digits, what two cores afford in days, or the paper's sizes",
    request.HOW_MUCH,
    choices=book.SCALES,
  ),
  Option(
    "hours",
    "float",
    8.0,
    "that all of it may take; what does not fit is left out and told",
    request.HOW_MUCH,
    low=0,
  ),
  recipes.MODEL_DIR,
  _DATA_DIR,
  Option(
    "out", "string", None, "folder of the book; runs/reproduce_SCALE by default", request.OUTPUT
  ),
  Option(
    "readme",
    "string",
    None,
    f"a Markdown file whose table between two lines {MARKER} is to be the book's index",
    request.OUTPUT,
  ),
]


class ReproductionRequest(NamedTuple):
  """Which rows, how large, how long, where, whose index, and flags of all mains."""

  rows: list[book.Row]
  scale: str
  hours: float
  out: str
  readme: str | None
  extra: list[str]


def read(values: request.Values) -> ReproductionRequest:
  """The request that the flags make."""
  request.refuse_twice(values, "only")
  if values["readme"]:
    _around_the_index(values["readme"])
  rows = [row for row in book.ROWS if not values["only"] or row.name in values["only"]]
  return ReproductionRequest(
    rows,
    values["scale"],
    values["hours"],
    values["out"] or f"runs/reproduce_{values['scale']}",
    values["readme"],
    request.line([recipes.MODEL_DIR, _DATA_DIR], values),
  )


def _around_the_index(readme):
  """The three parts of a file that holds the index of a book.

  Raises:
    ValueError: it is not there, or has no place for it.
  """
  path = pathlib.Path(readme).expanduser()
  if not path.is_file():
    raise ValueError(f"--readme={readme}: there is no such file")
  parts = path.read_text(encoding="utf-8", errors="replace").split(MARKER)
  if len(parts) != 3:
    raise ValueError(f"--readme={readme} needs the line {MARKER} twice, around its table")
  return parts


def _write_index(readme, chapters, out):
  """Puts the index of a book between the markers of a file."""
  parts = _around_the_index(readme)
  folder = os.path.relpath(out, readme.expanduser().resolve().parent)
  parts[1] = f"\n\n{pages.index(chapters, folder)}\n\n"
  files.write_text(readme, MARKER.join(parts))


def main(asked: ReproductionRequest) -> None:
  """Runs, judges and writes the book."""
  out = pathlib.Path(asked.out).expanduser().resolve()
  plan = runs.planned(asked.rows, asked.scale)
  minutes = sum(each.run.minutes for each in plan)
  device = "a GPU" if asked.scale == "paper" else "two CPU cores"
  print(f"{len(plan)} commands, about {minutes / 60:.1f} hours on {device}", flush=True)
  files.make_folder(out, "pass another --out")
  with locks.only_writer(str(out), "--out", 0):
    done = runs.make(plan, out, asked.hours, asked.extra)
    chapters = [pages.chapter(row, asked.scale, out, done) for row in asked.rows]
    print(pages.write(chapters, out, asked.scale))
  print(f"book: {out / 'book.html'}")
  if asked.readme:
    _write_index(pathlib.Path(asked.readme), chapters, out)
  failed = [each.folder for each in plan if done.get(each.folder, {}).get("failure")]
  if failed:
    raise ValueError(
      f"{len(failed)} of {len(plan)} commands failed, {failed[0]} first: book.md says why"
    )


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
