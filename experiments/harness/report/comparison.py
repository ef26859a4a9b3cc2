"""Defenses against attackers, from a folder of records for each pair of them."""

from collections.abc import Mapping
import os
import pathlib
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report import tables
from harness.report.figures import style
from orjax import files
from orjax import records

_WORST = "any in a ball"
_DARK = 0.6  # of a square, from where on its text is white
_LEGEND = (
  "Share of images that fool the undefended model, with its 95 % interval; what the attack claims "
  f"of them; the mean l2 of attacks that are in no ball. The last column, “{_WORST}”, counts "
  "the images that at least one of the attacks in a ball takes."
)


class _Row(NamedTuple):
  """What became of one defense.

  Attributes:
    about: as in `write`.
    accuracy: through it.
    num_images: that were attacked.
    cells: what each attack achieved, by name; the union of those in a ball last.
  """

  about: dict
  accuracy: dict
  num_images: int
  cells: dict[str, "_Cell"]


class _Cell(NamedTuple):
  """What an attack achieved.

  Attributes:
    rate: share of images that fool the undefended model, with its 95 % interval.
    claimed: share of images that it claims; None of a union.
    l2: mean distance of an attack that is in no ball; else None.
    is_blind: whether that says little.
  """

  rate: tuple[float, float, float]
  claimed: float | None = None
  l2: float | None = None
  is_blind: bool = False


def write(
  out: str | os.PathLike, rows: list[dict], folders: Mapping[str, Mapping[str, str]]
) -> str:
  """Writes `table.md` and `comparison.png`; returns the table.

  Args:
    out: the folder.
    rows: of each defense its `value` in the flags, `defense` its name, `strength` and, of all
      but none, `axis`, `wanted` and `why` the strength is not the one that costs that.
    folders: of records, by value and attack.
  """
  found = [_row(about, folders[about["value"]]) for about in rows]
  text = _table(found)
  files.write_text(pathlib.Path(out, "table.md"), text + "\n")
  _draw(found, pathlib.Path(out, "comparison.png"))
  return text


def _row(about, folders):
  found = {attack: ledgers.load(folder) for attack, folder in folders.items()}
  first = next(iter(found.values()))
  accuracy = ledgers.accuracy(first, first.records[0]["strength"])
  cells = {attack: _cell(ledger) for attack, ledger in found.items()}
  in_ball = [ledger for ledger in found.values() if ledgers.in_a_ball(ledger)]
  if len(in_ball) > 1:
    cells[_WORST] = _union(in_ball)
  num_images = len({record["index"] for record in first.records})
  return _Row(about, accuracy, num_images, cells)


def _cell(ledger):
  summary = records.summarise(ledger.records)
  return _Cell(
    (summary["clean_success"], *summary["clean_success_interval"]),
    summary["claimed"],
    None if ledgers.in_a_ball(ledger) else summary["l2"],
    tables.is_blind(summary),
  )


def _union(folders):
  """Share of images of which one attack at least makes an adversarial one."""
  fallen = {}
  for ledger in folders:
    for record in ledger.records:
      name = (record["index"], record["run"], record["target"])
      fallen[name] = fallen.get(name, False) or record["clean_success"]
  count = sum(fallen.values())
  return _Cell((count / len(fallen), *records.wilson(count, len(fallen))))


def _table(rows):
  attacks = list(rows[0].cells)
  header = ["defense", "strength", "accuracy (95 %)", *attacks]
  body = [
    [
      row.about["defense"],
      _strength(row.about),
      tables.interval(row.accuracy["accuracy"], *row.accuracy["interval"], digits=3),
      *(_text(row.cells[name]) for name in attacks),
    ]
    for row in rows
  ]
  return "\n\n".join([tables.markdown(header, body), _LEGEND, *_notes(rows)])


def _strength(about):
  if about["strength"] is None:
    return "-"
  return f"{about['axis']} {about['strength']:g}{' (*)' if about['why'] else ''}"


def _text(cell):
  parts = [tables.interval(*cell.rate, digits=2)]
  if cell.claimed is not None:
    parts.append(f"claims {cell.claimed:.2f}")
  if cell.l2 is not None:
    parts.append(f"l2 {cell.l2:.2f}")
  return ", ".join(parts) + (" (blind)" if cell.is_blind else "")


def _notes(rows):
  """What is to be known of some of the rows."""
  free = [row.about["defense"] for row in rows if row.about["why"]]
  blind = any(cell.is_blind for row in rows for cell in row.cells.values())
  wanted = {row.about["wanted"] for row in rows if row.about["strength"] is not None}
  notes = []
  if free:
    notes.append(
      f"(*) No strength of {', '.join(free)} costs {min(wanted):g} of accuracy: attacked at an end "
      f"of its own sweep (strengths.json says why)."
    )
  if blind:
    notes.append(
      "(blind) Most steps of the attack learnt nothing from the answers: that it fails is no "
      "evidence of robustness. See what the attacks on labels achieve in the same row."
    )
  return notes


def _draw(rows, path):
  """A square for each defense and attack, dark where images fall."""
  attacks = list(rows[0].cells)
  rates = np.array([[row.cells[name].rate[0] for name in attacks] for row in rows])
  size = (2.6 + 1.1 * len(attacks), 1.2 + 0.32 * len(rows))
  figure, axes = plt.subplots(figsize=size)
  axes.imshow(rates, vmin=0, vmax=1, cmap="Reds", aspect="auto")
  for (y, x), rate in np.ndenumerate(rates):
    mark = " (blind)" if rows[y].cells[attacks[x]].is_blind else ""
    color = "white" if rate > _DARK else "black"
    axes.text(x, y, f"{rate:.2f}{mark}", ha="center", va="center", fontsize=8, color=color)
  names = [f"{row.about['defense']} ({row.accuracy['accuracy']:.3f})" for row in rows]
  axes.set_xticks(range(len(attacks)), attacks, rotation=20, ha="right", fontsize=8)
  axes.set_yticks(range(len(rows)), names, fontsize=8)
  title = f"share of {rows[0].num_images} images that fool the undefended model"
  axes.set_title(f"{title} (in brackets: defended accuracy)", fontsize=8)
  axes.tick_params(length=0)
  style.save(figure, path)
