"""The paper's Figure 17: attacks on substitutes, transferred to a network."""

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


def applies(folders: list[Ledger]) -> bool:
  """Whether all are transfers."""
  return all(
    ledgers.is_white_box(ledger) and all(r["setting"]["substitute"] for r in ledger.records)
    for ledger in folders
  )


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Bars of accuracy under transferred attacks, a group for every substitute."""
  (ledger,) = folders
  accuracy = ledgers.accuracy(ledger, ledger.records[0]["strength"])["accuracy"]
  losses, names = (
    list(dict.fromkeys(record["setting"][name] for record in ledger.records))
    for name in ("loss", "substitute")
  )
  figure, ax = plt.subplots(figsize=(3.6 + 1.3 * len(names), 4.0))
  for number, loss in enumerate(losses):
    shift, width = style.side_by_side(number, len(losses))
    bars = [_bar(ledger.records, loss, name, accuracy) for name in names]
    rates, low, high = np.array(bars).T
    ax.bar(
      np.arange(len(names)) + shift,
      rates,
      width,
      color=f"C{number}",
      label=white_box.loss_name(loss),
      yerr=style.errors(rates, low, high),
      error_kw={"linewidth": 0.8},
    )
  ax.axhline(accuracy, color="0.5", linestyle="--", label="no attack")
  ax.set_xticks(range(len(names)), map(_trained_with, names))
  ax.set(
    ylim=(0, 1.03),
    xlabel="substitute",
    ylabel="accuracy, 95 % interval",
    title=f"transfers to {ledger.records[0]['model']}",
  )
  ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
  style.save(figure, path)


def _bar(trials, loss, name, accuracy):
  wanted = loss, name
  members = [r for r in trials if (r["setting"]["loss"], r["setting"]["substitute"]) == wanted]
  return tables.accuracy_under_attack(records.summarise(members), accuracy)


def _trained_with(name):
  """Of a substitute's name, such as convnet_mnist-or100-substitute."""
  _, *facts = name.removesuffix("-substitute").split("-")
  return ", ".join(facts) or "undefended"


FIGURE = Figure(
  applies, draw, "white-box PGD that follows substitutes only (--substitute_stddev)", for_each=True
)
