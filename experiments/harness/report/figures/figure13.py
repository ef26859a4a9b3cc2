"""The paper's Figure 13: networks trained with noise of several stddevs, under attack."""

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
  """Whether they are of one network, trained with several stddevs on its logits or without."""
  if len(folders) < 2 or not all(map(ledgers.is_white_box, folders)):
    return False
  requests = [ledger.request for ledger in folders]
  networks = {(r["dataset"], r.get("network", "convnet")) for r in requests}
  return (
    any(r["setting"]["substitute"] is None for r in folders[0].records)
    and all(r.get("trained_with") in ("none", "or") and r["defense"] == "none" for r in requests)
    and len(networks) == 1
    and len({_stddev(r) for r in requests}) == len(folders)
  )


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Accuracy, clean and under the published attacks, against the stddev in training."""
  folders = sorted(folders, key=lambda ledger: _stddev(ledger.request))
  points = [_accuracies(ledger) for ledger in folders]
  stddevs = [_stddev(ledger.request) for ledger in folders]
  zero = min(s for s in stddevs if s) / 10
  x = [s or zero for s in stddevs]
  figure, ax = plt.subplots(figsize=(6.4, 4.0))
  shared = [name for name in points[0] if all(name in point for point in points)]
  for number, name in enumerate(shared):
    rates, low, high = np.array([point[name] for point in points]).T
    linestyle = "--" if name == "clean" else "-"
    ax.plot(x, rates, label=name, color=f"C{number}", marker="o", linestyle=linestyle)
    ax.fill_between(x, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
  ax.set_xscale("log")
  ax.set_xticks(x, [f"{s:g}" for s in stddevs])
  ax.minorticks_off()
  ax.set(
    ylim=(-0.03, 1.03),
    xlabel="stddev of the noise in training",
    ylabel="accuracy, 95 % interval",
    title=folders[0].records[0]["dataset"],
  )
  ax.legend(fontsize=8)
  style.save(figure, path)


def _stddev(request):
  """Of the noise on the logits in training; 0 without."""
  return request["stddev"] if request.get("trained_with") == "or" else 0.0


def _accuracies(ledger):
  """{name: (accuracy, low, high)}, clean and under every published attack."""
  known = ledgers.accuracy(ledger, ledger.records[0]["strength"])
  bars = {"clean": (known["accuracy"], *known["interval"])}
  for loss in dict.fromkeys(record["setting"]["loss"] for record in ledger.records):
    members = white_box.published(ledger.records, ledger.request, loss)
    if members:
      summary = records.summarise(members)
      bars[white_box.loss_name(loss)] = tables.accuracy_under_attack(summary, known["accuracy"])
  return bars


FIGURE = Figure(
  applies,
  draw,
  "white-box PGD on one network in several folders, each trained with another --stddev on its "
  "logits, or without",
)
