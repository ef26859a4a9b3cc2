"""What figures share: a backend without a screen, curves with intervals, axes, labels."""

import pathlib

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from orjax import files

matplotlib.use("Agg")


def save(figure, path: pathlib.Path) -> None:
  """Writes a figure and closes it."""
  figure.tight_layout()
  with files.replacing(path) as temporary:
    figure.savefig(temporary, dpi=120)
  plt.close(figure)


def curve(axes, x, summaries: list[dict], name: str, **look) -> None:
  """Rates of one kind of success with a band for their intervals."""
  rates = np.array([s[name] for s in summaries])
  intervals = np.array([s[f"{name}_interval"] for s in summaries])
  axes.plot(x, rates, **look)
  axes.fill_between(
    x, intervals[:, 0], intervals[:, 1], color=look["color"], alpha=0.15, linewidth=0
  )


def errors(rates, low, high) -> np.ndarray:
  """Lengths of error bars [2, N] down to `low` and up to `high`."""
  return np.maximum([np.subtract(rates, low), np.subtract(high, rates)], 0)


def side_by_side(number: int, count: int) -> tuple[float, float]:
  """(shift, width) of the bar `number` of `count` around a tick."""
  width = 0.8 / count
  return (number - (count - 1) / 2) * width, 0.9 * width


def strength_axis(axes, strengths: list[float], label: str) -> dict[float, float]:
  """Makes x the strength of a defense, with a tick for each; returns where each is.

  It is logarithmic where strengths are decades apart; 0 then is one decade below the
  smallest.
  """
  positive = [strength for strength in strengths if strength > 0]
  logarithmic = min(strengths) >= 0 and positive and max(positive) >= 10 * min(positive)
  if logarithmic:
    axes.set_xscale("log")
  x = {s: min(positive) / 10 if logarithmic and s == 0 else s for s in strengths}
  axes.set_xticks(list(x.values()), [f"{strength:.3g}" for strength in strengths])
  axes.minorticks_off()
  axes.tick_params(axis="x", labelsize=8)
  axes.set_xlabel(label)
  return x


def described(record: dict) -> dict[str, str]:
  """All that a legend may have to tell apart, in words, by what it is."""
  setting = {name: f"{name} {ledgers.show(value)}" for name, value in record["setting"].items()}
  return {
    "attack": record["attack"].upper(),
    "model": record["model"],
    "targeted": "targeted" if record["targeted"] else "untargeted",
    "defense": record["defense"],
    "num_samples": f"k = {record['num_samples']}",
    **setting,
  }


def labels(facts: list[dict[str, str]], *always: str) -> list[str]:
  """A label for each of several curves, in which they differ.

  Args:
    facts: about each, in words.
    always: names of facts that are shown anyway; the others are shown where they differ
      between curves that have these in common.
  """
  texts = []
  for own in facts:
    alike = [each for each in facts if all(each.get(n) == own.get(n) for n in always)]
    shown = (n for n in own if n in always or len({each.get(n) for each in alike}) > 1)
    texts.append(", ".join(own[name] for name in shown))
  return texts
