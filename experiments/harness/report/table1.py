"""Table 1: three black-box attacks on an ImageNet network through four noise variances."""

from collections.abc import Iterable
import os

import numpy as np

from harness.report import ledgers
from harness.report import paper
from harness.report import tables
from harness.report.ledgers import Ledger
from orjax import records

_HEADER = [
  "attack",
  "variance",
  "paper",
  "trials",
  "claimed",
  "clean success",
  "defended success",
  "noise-only error",
  "accuracy",
  "mean l2 (max)",
  "median queries to success",
  "median queries",
]


def table1(directories: Iterable[str | os.PathLike]) -> str:
  """Markdown, a row per attack and variance, beside the paper's numbers.

  Args:
    directories: folders of records, which together hold what is tabled.

  Raises:
    ValueError: a folder holds other attacks than Table 1's, or two hold the same trials.
  """
  trials, accuracies = [], {}
  for ledger in map(ledgers.load, directories):
    _check(ledger, trials)
    trials += ledger.records
    for record in ledger.records:
      accuracies[record["attack"], record["strength"]] = ledgers.accuracy(
        ledger, record["strength"]
      )
  order = list(paper.TABLE_1)
  groups = sorted(
    records.group(trials, "attack", "strength").items(),
    key=lambda item: (order.index(item[0][0]), item[0][1]),
  )
  rows = [
    _row(attack, variance, members, accuracies[attack, variance])
    for (attack, variance), members in groups
  ]
  return tables.markdown(_HEADER, rows)


def _check(ledger: Ledger, before: list[dict]) -> None:
  seen = {records.identity(record) for record in before}
  for record in ledger.records:
    if record["attack"] not in paper.TABLE_1 or record["targeted"] or record["num_samples"] != 1:
      raise ValueError(
        f"{ledger.directory} holds other trials than Table 1's: untargeted zoo, ql "
        f"or bandits, nothing averaged; leave it out"
      )
    if record["defense"] != "output_noise":
      raise ValueError(
        f"{ledger.directory} holds trials against {record['defense']}: Table 1 is about "
        f"output_noise; leave it out"
      )
    model = (before or [record])[0]["model"]
    if record["dataset"] != "imagenet2012" or record["model"] != model:
      raise ValueError(
        f"{ledger.directory} holds {record['dataset']} and {record['model']}: Table 1 "
        f"is about one ImageNet model; leave it out"
      )
    if records.identity(record) in seen:
      raise ValueError(f"{ledger.directory} repeats trials of another folder: leave one out")


def _row(attack, variance, members, accuracy):
  summary = records.summarise(members)
  published = paper.TABLE_1[attack].get(variance)
  costs = [record["num_queries"] for record in members if record["clean_success"]]
  return [
    attack,
    f"{variance:g}",
    "-" if published is None else f"{published:.2f}",
    str(summary["num_trials"]),
    tables.rate(summary, "claimed"),
    tables.rate(summary, "clean_success"),
    tables.rate(summary, "defended_success_rate"),
    tables.rate(summary, "noise_error_rate"),
    tables.interval(accuracy["accuracy"], *accuracy["interval"]),
    tables.distance(summary),
    f"{np.median(costs):.0f}" if costs else "-",
    f"{summary['median_queries']:.0f}",
  ]
