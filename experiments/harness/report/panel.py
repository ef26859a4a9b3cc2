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
    rate: share of images that fool the undefended model, within the radius if there is one.
    interval: of it, 95 % Wilson.
    claimed: share of images that the attack claims, at whatever distance.
    defended: how often a fresh answer of the server is fooled, at whatever distance.
    resubmitted: how often one of `tables.TRIES` is: the same image, handed in again.
    queries: median to that success over all images, infinite where there is none; None of an
      attack in no ball, which spends all it has.
    distance: median of what fools the undefended model, at whatever distance, over all images,
      infinite where nothing does; in the norm of the ball, of an attack in none l2.
  """

  rate: float
  interval: tuple[float, float]
  claimed: float
  defended: float
  resubmitted: float
  queries: float | None
  distance: float


class Radius(NamedTuple):
  """Where attacks in no ball are judged."""

  norm: str
  radius: float


def name(ledger: Ledger) -> tuple[str, str]:
  """What an attack is of, and which of those it is: the last two folders of its path."""
  path = ledger.directory.resolve()
  return path.parent.name, path.name


def radius_of(folders: Sequence[Ledger]) -> Radius | None:
  """The ball of those in one, at which the others are judged: in l2 if there is one, else l_inf.

  Raises:
    ValueError: the folders have several radii in one norm.
  """
  balls: dict[str, set] = {}
  for ledger in folders:
    if ledgers.in_a_ball(ledger):
      balls.setdefault(_norm(ledger), set()).add(ledger.request["radius"])
  for norm, radii in balls.items():
    if len(radii) > 1:
      raise ValueError(
        f"attacks in {norm} balls of {' and '.join(map(str, sorted(radii)))} are no panel: pass "
        f"folders of one"
      )
  return next((Radius(norm, *balls[norm]) for norm in ("l2", "linf") if norm in balls), None)


def _norm(ledger):
  """Of the ball of an attack, or of its distances."""
  if not ledgers.in_a_ball(ledger):
    return "l2"
  return ledger.request.get("norm", "linf")


def reached(ledger: Ledger, radius: Radius | None) -> dict[float, Reached]:
  """What an attack achieved, by strength; see `radius_of`."""
  groups = records.group(ledger.records, "strength")
  return {strength: _reached(ledger, trials, radius) for (strength,), trials in groups.items()}


def _reached(ledger, trials, radius):
  free = not ledgers.in_a_ball(ledger)
  fools = [record["clean_success"] for record in trials]
  hits = fools
  if free and radius:
    hits = [hit and record[radius.norm] <= radius.radius for hit, record in zip(fools, trials)]
  defended = [record["defended_success_rate"] for record in trials]
  return Reached(
    sum(hits) / len(hits),
    records.wilson(sum(hits), len(hits)),
    sum(record["claimed"] for record in trials) / len(trials),
    float(np.mean(defended)),
    tables.resubmitted(defended),
    None if free else _median(trials, hits, "num_queries"),
    _median(trials, fools, _norm(ledger)),
  )


def _median(trials, counted, field):
  """Median where what does not count is infinite."""
  return float(np.median([r[field] if hit else math.inf for r, hit in zip(trials, counted)]))


def table(directories: Sequence[str | os.PathLike]) -> str:
  """Success, and its price, of every attack at every strength, as Markdown.

  Raises:
    ValueError: the folders are no panel: see `fault`.
  """
  folders = [ledgers.load(directory) for directory in directories]
  if told := fault(folders):
    raise ValueError(told)
  radius = radius_of(folders)
  strengths = ledgers.strengths([record for f in folders for record in f.records])
  header = ["attack", "", *(f"{folders[0].axis} {s:g}" for s in strengths)]
  found = [(*name(f), reached(f, radius)) for f in folders]

  def rows(cell):
    return [
      [kind, own, *(cell(by[s]) if s in by else "-" for s in strengths)] for kind, own, by in found
    ]

  num_images = len({record["index"] for record in folders[0].records})
  within = f"; of those in no ball, within {radius.norm} {radius.radius:g}" if radius else ""
  return "\n\n".join(
    [
      tables.markdown(header, rows(_success)),
      f"Share of {num_images} images that fool the undefended model, with its 95 % interval"
      f"{within}; what the attack claims, at whatever distance.",
      tables.markdown(header, rows(_price)),
      "Median queries to that success, and median distance of what fools the undefended model (l2 "
      "of attacks in an l2 ball or in none, else l_inf), over all images, one that does not fall "
      "counting as infinite (-). Attacks in no ball spend all their queries.",
      tables.markdown(header, rows(_again)),
      "How often a fresh answer to what was handed in is fooled, and how often one of "
      f"{tables.TRIES} is, at whatever distance: what a server concedes that may be asked again.",
    ]
  )


def fault(folders: Sequence[Ledger]) -> str | None:
  """Why folders are no panel, in a sentence; None where they are."""
  for what in ("dataset", "model", "defense", "targeted"):
    found = {str(f.request.get(what, "?")) for f in folders}
    if len(found) > 1:
      return f"a panel has one {what}, not {' and '.join(sorted(found))}: leave folders out"
  if len({frozenset(record["index"] for record in f.records) for f in folders}) > 1:
    return "the folders hold other images: attack the same ones with every attack"
  for ledger in folders:
    if varied := ledgers.varied(ledger.records, "num_samples", "run"):
      return f"{ledger.directory} sweeps {varied[0]}: a panel has one attack a folder"
  try:
    radius_of(folders)
  except ValueError as e:
    return str(e)
  return None


def _success(cell):
  return f"{tables.interval(cell.rate, *cell.interval, digits=2)}, claims {cell.claimed:.2f}"


def _again(cell):
  return f"{cell.defended:.2f}, of {tables.TRIES} {cell.resubmitted:.2f}"


def _price(cell):
  distance = "-" if math.isinf(cell.distance) else f"{cell.distance:.2f}"
  if cell.queries is None:
    return distance
  return f"{'-' if math.isinf(cell.queries) else f'{cell.queries:.0f}'} at {distance}"
