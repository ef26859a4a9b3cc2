"""Writes a table from record folders alone: one of the paper's, beside its numbers, or a panel.

    python experiments/make_tables.py --records=DIR/zoo --records=DIR/ql --records=DIR/bandits
    python experiments/make_tables.py --table=2 --records=DIR/none --records=DIR/or
    python experiments/make_tables.py --table=panel --records=DIR/square/published \\
        --records=DIR/square/sequential --records=DIR/rays/votes

Table 1: three black-box attacks on an ImageNet network through four noise variances; the
folders are those of blackbox_attacks.py. Tables 2 and 4: networks trained with noise under
white-box PGD; the folders are those of whitebox_attacks.py. A panel: any attacks on the same images
of one model, in folders KIND/NAME.
"""

import pathlib
from typing import NamedTuple

from harness import app
from harness import request
from harness.report import panel
from harness.report import table1
from harness.report import training_tables
from harness.request import Option
from orjax import files
from orjax import records

TABLES = {
  "1": table1.table1,
  "2": training_tables.table2,
  "4": training_tables.table4,
  "panel": panel.table,
}
OPTIONS = (
  Option("records", "string", [], "folder of records", request.WHAT, science=False, many=True),
  Option(
    "table",
    "enum",
    "1",
    "which of the paper's tables, or a panel of attacks",
    request.WHAT,
    science=False,
    choices=tuple(TABLES),
  ),
  Option(
    "out",
    "string",
    None,
    "folder for the table; default: the parent of the first --records",
    request.OUTPUT,
    science=False,
  ),
)


class Request(NamedTuple):
  """What is asked for: a table, of which folders, into which."""

  directories: list[str]
  table: str
  out: pathlib.Path


def read(values: request.Values) -> Request:
  """The request of a command line.

  Raises:
    ValueError: it names no folder.
  """
  if not values["records"]:
    raise ValueError("--records is missing: pass the --out of attacks, once for each folder")
  out = values["out"] or pathlib.Path(values["records"][0]).parent
  return Request(values["records"], values["table"], pathlib.Path(out))


def main(asked: Request) -> None:
  """Writes and prints the table."""
  table = TABLES[asked.table](asked.directories)
  records.make_folder(asked.out)
  path = asked.out / ("panel.md" if asked.table == "panel" else f"table{asked.table}.md")
  files.write_text(path, table + "\n")
  print(f"{table}\ntable: {path}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main, computes=False)
