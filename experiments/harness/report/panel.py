"""A panel of attacks on one network: what each achieves against the strength of a defense.

Every attack is a folder of records, named after what it believes (`published`, `sequential`); what
it is an attack of names the folder above (`square`).
"""

from collections.abc import Sequence
import math
import os
from typing import NamedTuple

import numpy as np

from harness.report import ledgers
from harness.report import tables
from harness.report.ledgers import Ledger
from orjax import records


class Reached(NamedTuple):
  """What an attack achieved against one strength.

  Attributes:
    rate: share of images that fool the undefended model within the radius.
    interval: of it, 95 % Wilson.
    claimed: share of images that the attack claims.
    queries: median over all images, infinite where the attack did not reach it.
    distance: likewise, in the norm of the ball; of an attack in no ball, l2.
  """

  rate: float
  interval: tuple[float, float]
  claimed: float
  queries: float
  distance: float


def name(ledger: Ledger) -> tuple[str, str]:
  """What an attack is of, and which of those it is: the last two folders of its path."""
  path = ledger.directory.resolve()
  return path.parent.name, path.name


def radius_of(folders: Sequence[Ledger]) -> float | None:
  """The l2 radius at which attacks in no ball are judged: of those in one; None without any.

  Raises:
    ValueError: the folders have several.
  """
  found = {
    f.request["radius"] for f in folders if f.request.get("norm") == "l2" and ledgers.in_a_ball(f)
  }
  if len(found) > 1:
    raise ValueError(
      f"attacks in l2 balls of {' and '.join(map(str, sorted(found)))} are no panel: pass folders "
      f"of one"
    )
  return found.pop() if found else None


def reached(ledger: Ledger, radius: float | None) -> dict[float, Reached]:
  """What an attack achieved, by strength; see `radius_of`."""
  groups = records.group(ledger.records, "strength")
  return {strength: _reached(ledger, trials, radius) for (strength,), trials in groups.items()}


def _reached(ledger, trials, radius):
  free = not ledgers.in_a_ball(ledger)
  near = lambda record: not (free and radius) or record["l2"] <= radius
  hits = [record["clean_success"] and near(record) for record in trials]
  norm = "l2" if free or ledger.request.get("norm") == "l2" else "linf"
  claimed = sum(record["claimed"] for record in trials) / len(trials)
  return Reached(
    sum(hits) / len(hits),
    records.wilson(sum(hits), len(hits)),
    claimed,
    _median(trials, hits, "num_queries"),
    _median(trials, [record["clean_success"] for record in trials], norm),
  )


def _median(trials, counted, field):
  """Median where what does not count is infinite."""
  return float(np.median([r[field] if hit else math.inf for r, hit in zip(trials, counted)]))


def table(directories: Sequence[str | os.PathLike]) -> str:
  """Success, and its price, of every attack at every strength, as Markdown.

  Raises:
    ValueError: the folders are of several l2 balls, images or defenses.
  """
  folders = [ledgers.load(directory) for directory in directories]
  check(folders)
  radius = radius_of(folders)
  strengths = ledgers.strengths([record for f in folders for record in f.records])
  header = ["attack", "", *(f"{folders[0].axis} {s:g}" for s in strengths)]
  found = [(*name(f), reached(f, radius)) for f in folders]

  def rows(cell):
    return [
      [kind, own, *(cell(by[s]) if s in by else "-" for s in strengths)] for kind, own, by in found
    ]

  num_images = len({record["index"] for record in folders[0].records})
  within = f"; of those in no ball, within l2 {radius:g}" if radius else ""
  return "\n\n".join(
    [
      tables.markdown(header, rows(_success)),
      f"Share of {num_images} images that fool the undefended model, with its 95 % interval"
      f"{within}; what the attack claims.",
      tables.markdown(header, rows(_price)),
      "Median queries and distance over all images, one that does not fall counting as infinite "
      "(-): l2 of attacks in an l2 ball or in none, else l_inf.",
    ]
  )


def check(folders: Sequence[Ledger]) -> None:
  """Raises ValueError for folders of several data sets, models, defenses or image choices."""
  for what in ("dataset", "model", "defense"):
    found = {record[what] for f in folders for record in f.records}
    if len(found) > 1:
      raise ValueError(
        f"a panel has one {what}, not {' and '.join(sorted(map(str, found)))}: leave folders out"
      )
  images = {frozenset(record["index"] for record in f.records) for f in folders}
  if len(images) > 1:
    raise ValueError("the folders hold other images: attack the same ones with every attack")


def _success(cell):
  return f"{tables.interval(cell.rate, *cell.interval, digits=2)}, claims {cell.claimed:.2f}"


def _price(cell):
  queries = "-" if math.isinf(cell.queries) else f"{cell.queries:.0f}"
  distance = "-" if math.isinf(cell.distance) else f"{cell.distance:.2f}"
  return f"{queries} at {distance}"
