"""Rows and columns of tables in READMEs: records, and the numbers that are shown of them."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import pathlib
import types
from typing import Any
from typing import NamedTuple

import numpy as np

from harness.report import ledgers
from harness.report import paper
from harness.report import radii
from harness.report import tables
from harness.report import verdict
from harness.report import white_box
from orjax import records

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
FILES = {"README.md": ROOT / "README.md"} | {
  path.parent.name: path for path in sorted(RESULTS.glob("*/README.md"))
}


def prose(name: str) -> str:
  """What a README says, on one line."""
  return " ".join(FILES[name].read_text().split())


def index() -> str:
  """The index of all folders as one line."""
  return " ".join((ROOT / "experiments" / "README.md").read_text().split())


load = functools.cache(lambda folder: ledgers.load(RESULTS / folder))


def trials_at(folder: str, strength: float) -> list[dict]:
  """The records of a folder at one strength."""
  return [r for r in load(folder).records if r["strength"] == strength]


def num_fell(trials: list[dict]) -> int:
  """How many trials fool the undefended model."""
  return sum(r["clean_success"] for r in trials)


def near(trials: list[dict], *far: float) -> str:
  """How many trials end within each l2 distance, beside each other."""
  return " / ".join(f"{radii.success_within(trials, r)[0] * len(trials):.0f}" for r in far)


class Group(NamedTuple):
  """The records a cell is about, their ledger and summary."""

  ledger: ledgers.Ledger
  trials: list[dict]
  summary: dict


class Column(NamedTuple):
  """A number of a group, and what the group is beside what the row says."""

  show: Callable[[Group], Any]
  wanted: Mapping[str, Any] = types.MappingProxyType({})


Row = dict[str, Any]


class Shown(NamedTuple):
  """A table: its rows from top to bottom, its columns from left to right."""

  rows: list[Row | list[Row]]  # of several that are one line, all are checked
  columns: list[Column | None]


@functools.cache
def _group(folder, wanted):
  ledger = load(folder)
  trials = [r for r in ledger.records if all(ledgers.value(r, k) == v for k, v in wanted)]
  return Group(ledger, trials, records.summarise(trials))


def group(row: Row, column: Column) -> Group:
  """The records of a cell."""
  wanted = {**row, **column.wanted}
  return _group(wanted.pop("folder"), tuple(wanted.items()))


def rate(name):
  return lambda found: tables.rate(found.summary, name)


def number(name):
  return lambda found: found.summary[name]


CLEAN, CLAIMED = rate("clean_success"), rate("claimed")
ERRORS, DEFENDED = rate("noise_error_rate"), rate("defended_success_rate")


def distance(found):
  return tables.distance(found.summary)


def steps(found):
  counts = {record["num_steps"] for record in found.trials}
  return f"{found.summary['median_steps']:.0f}" + (" (median)" if len(counts) > 1 else "")


def _accuracy(found):
  return ledgers.accuracy(found.ledger, found.trials[0]["strength"])


def accuracy(found):
  return _accuracy(found)["accuracy"]


def accuracy_interval(found):
  return tables.interval(accuracy(found), *_accuracy(found)["interval"])


def under_attack(found):
  return tables.interval(*tables.accuracy_under_attack(found.summary, accuracy(found)))


def left(found):
  return tables.accuracy_under_attack(found.summary, accuracy(found))[0]


def published(loss, show):
  """Of the published attack alone, where a folder has all those of a diagnosis."""

  def of_the_attack(found):
    trials = white_box.published(found.trials, found.ledger.request, loss)
    return show(Group(found.ledger, trials, records.summarise(trials)))

  return Column(of_the_attack)


def in_table_1(found):
  """The paper's number."""
  return paper.TABLE_1[found.trials[0]["attack"]][found.trials[0]["strength"]]


def beside_table_2(show, number):
  """A number, and the paper's in brackets where there is one: `number` 0, 1 or 2 of a row."""

  def with_the_papers(found):
    request = found.ledger.request
    printed = paper.TABLE_2.get((request.get("network", "convnet"), request["trained_with"]))
    return f"{show(found):.3f}" + (f" ({printed[number]:.3f})" if printed else "")

  return Column(with_the_papers)


def worst(found):
  summary = verdict.worst_case(found.trials)
  return tables.interval(*tables.accuracy_under_attack(summary, accuracy(found)))


def trained(found):
  return f"{found.ledger.manifest['about']['training']['num_steps']:,}"


def within(radius):
  return Column(
    lambda found: tables.interval(*radii.success_within(found.trials, radius), digits=2)
  )


def clean_and_distance(found):
  far = found.summary["l2"]
  return CLEAN(found) + ("" if far is None else f" ({far:.2f})")


def cost_of_noise(found):
  """The distance over that without noise, image by image: median, smallest and largest."""
  folder = str(found.ledger.directory.relative_to(RESULTS))
  quiet = {r["index"]: r["l2"] for r in group(of(folder, strength=0.0), Column(str)).trials}
  ratios = [r["l2"] / quiet[r["index"]] for r in found.trials if r["clean_success"]]
  return f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}; {len(ratios)} images)"


def clean_and_claimed(found):
  far = found.summary["l2"]
  said = f"{found.summary['claimed']:.2f}" + ("" if far is None else f"; l2 {far:.1f}")
  return f"{CLEAN(found)} ({said})"


def queries_to_success(found):
  costs = [r["num_queries"] for r in found.trials if r["clean_success"]]
  return f"{np.median(costs):.0f}" if costs else "-"


def median_of_all(trials: list[dict], name: str) -> float:
  """Median of what a success took, that of an image that does not fall infinite."""
  return float(np.median([r[name] if r["clean_success"] else np.inf for r in trials]))


def queries_of_all(found):
  """Median queries to a success, for a table."""
  median = median_of_all(found.trials, "num_queries")
  return f"{median:,.0f}" if np.isfinite(median) else "-"


def of(folder, **values):
  return {"folder": folder, **values}
