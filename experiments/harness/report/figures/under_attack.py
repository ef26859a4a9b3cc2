"""What every white-box attack leaves of a network, and the gradients that it met."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report import tables
from harness.report import white_box
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records

_MAX_PANELS = 4  # as wide as a page


def applies(folders: list[Ledger]) -> bool:
  """Whether all are white-box PGD, and not too many."""
  return len(folders) <= _MAX_PANELS and all(map(ledgers.is_white_box, folders))


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Bars of accuracy under each attack, beside the share of steps with gradient 0."""
  figure, axes = plt.subplots(
    1, len(folders), squeeze=False, sharex=True, figsize=(6.2 * len(folders), 4.2)
  )
  for ax, ledger in zip(axes.flat, folders):
    labels, bars, zeros = zip(*_bars(ledger))
    rates, low, high = np.array(bars).T
    y = np.arange(len(bars))[::-1]
    ax.barh(
      y,
      rates,
      0.7,
      color="C0",
      label="accuracy, 95 % interval",
      xerr=style.errors(rates, low, high),
      error_kw={"linewidth": 0.8},
    )
    ax.plot(zeros, y, "x", color="C3", label="share of steps with gradient 0")
    ax.set_yticks(y, labels, fontsize=7)
    ax.set(xlim=(-0.03, 1.03), title=ledger.records[0]["model"])
    # The bars fill the axes: legends stand below.
    ax.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1, -0.07))
  style.save(figure, path)


def _bars(ledger):
  """(label, (accuracy, low, high), share of zero gradients) of no attack, and of each."""
  usual = ledger.records[0]["setting"]["steps"]
  several = len(ledgers.strengths(ledger.records)) > 1
  for (strength,), members in records.group(ledger.records, "strength").items():
    at = f" at {ledger.axis} {strength:.3g}" if several else ""
    known = ledgers.accuracy(ledger, strength)
    yield "no attack" + at, (known["accuracy"], *known["interval"]), np.nan
    for group in white_box.by_attack(members):
      num_steps, summary = group[0]["setting"]["steps"], records.summarise(group)
      yield (
        white_box.attack_name(group[0])
        + ("" if num_steps == usual else f", {num_steps} steps")
        + at,
        tables.accuracy_under_attack(summary, known["accuracy"]),
        summary["zero_gradients"],
      )


FIGURE = Figure(applies, draw, f"white-box PGD, in at most {_MAX_PANELS} folders")
