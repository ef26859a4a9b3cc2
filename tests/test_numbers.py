"""Every number in a table of a README is recomputed from the committed ledgers."""

import re

import published_columns
from published_columns import FILES
import published_tables
import pytest

from harness.report import panel
from harness.report import radii
from orjax import records


def _tables(text):
  """The rows of cells of every Markdown table, without its header and rule."""
  for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
    lines = [[cell.strip() for cell in x.strip("|").split("|")] for x in block.splitlines()]
    assert set("".join(lines[1])) == {"-"}, "a table has a header and a rule"
    yield lines[2:]


def _shown(found, cell):
  """A recomputed number as the table prints it, with as many digits."""
  if found is None:
    return "-"
  if isinstance(found, str):
    return found
  digits = re.match(r"\d+\.?(\d*)", cell)
  return f"{found:.{len(digits[1]) if digits else 2}f}"


def _differences(name, text):
  """What tables say that the ledgers do not, a sentence each."""
  for number, rows in enumerate(_tables(text)):
    if (name, number) in published_tables.NOT_RECORDED:
      continue
    table = published_tables.SHOWN.get((name, number))
    if table is None:
      yield f"table {number} of {name} is in no list of tests/published_tables.py"
      continue
    if len(rows) != len(table.rows):
      yield f"table {number} of {name} has {len(rows)} rows, not {len(table.rows)}"
    for line, wanted in zip(rows, table.rows):
      for cell, column in zip(line, table.columns, strict=True):
        for row in wanted if isinstance(wanted, list) else [wanted]:
          if column is None:
            continue
          found = _shown(column.show(published_columns.group(row, column)), cell)
          if cell != found:
            yield f"table {number} of {name}, {line[0]!r}: {cell} is {found} in the ledgers"


@pytest.mark.parametrize("name", FILES)
def test_tables_are_what_the_ledgers_say(name):
  assert list(_differences(name, FILES[name].read_text())) == []


def test_every_table_that_is_listed_is_there():
  there = {(x, n) for x, path in FILES.items() for n, _ in enumerate(_tables(path.read_text()))}
  assert published_tables.SHOWN.keys() | published_tables.NOT_RECORDED.keys() == there


@pytest.mark.parametrize(
  "name, before, after, said",
  [
    ("figure5_mnist", "0.34 [0.25", "0.35 [0.25", "0.35 [0.25, 0.44] is 0.34 [0.25, 0.44]"),
    ("figure13_mnist", "| 0.79 |", "| 0.78 |", "0.78 is 0.79"),
    ("informed_mnist", "2.23 (2.96)", "2.23 (2.97)", "2.23 (2.97) is 2.23 (2.96)"),
    ("figure8_mnist", "\n\n", "\n\n| n |\n|---|\n| 3 |\n\n", "table 0 of figure8_mnist is in no"),
  ],
)
def test_a_wrong_number_is_found(name, before, after, said):
  text = FILES[name].read_text().replace(before, after, 1)
  (difference,) = _differences(name, text)
  assert said in difference


def test_success_within_a_radius_counts_clean_successes_only():
  trials = [
    {"clean_success": True, "l2": 1.0},
    {"clean_success": True, "l2": 2.5},
    {"clean_success": False, "l2": 0.5},
    {"clean_success": False, "l2": 9.0},
  ]
  assert radii.success_within(trials, 2.0) == (0.25, *records.wilson(1, 4))
  assert [radii.success_within(trials, r)[0] for r in (0.9, 1.0, 2.5)] == [0, 0.25, 0.5]
  for bad in (lambda: radii.success_within([], 1.0), lambda: radii.success_within(trials, 0.0)):
    with pytest.raises(ValueError, match=r"run the attack first|above 0"):
      bad()


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("panel_")])
def test_a_panel_is_what_the_ledgers_say(name):
  """In the order of its commands."""
  text, folder = FILES[name].read_text(), published_columns.RESULTS / name
  folders = re.findall(rf"--out=experiments/results/{name}/(\S+)", text)
  table = panel.table([folder / each for each in folders])
  assert (folder / "panel.md").read_text() == table + "\n" and table in text
