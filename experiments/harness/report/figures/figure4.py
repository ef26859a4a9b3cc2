"""The paper's Figure 4: the loss that white-box PGD raises, at every step."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report import white_box
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger


def applies(folders: list[Ledger]) -> bool:
  """Whether all are white-box PGD with traces."""
  return all(ledgers.traces(x) and ledgers.is_white_box(x) for x in folders)


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """The mean loss over images that each attack has raised so far, in a panel of its own."""
  panels = [
    group
    for ledger in folders
    for group in ledgers.grouped(ledgers.traces(ledger), "strength", "num_samples", "setting")
  ]
  figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.4 * len(panels), 3.4))
  for number, (ax, members) in enumerate(zip(axes.flat, panels)):
    # The attacker minimises; the paper shows what it raises.
    losses = -np.array([trace["losses"] for trace in members], float)
    mean, error = losses.mean(0), 1.96 * losses.std(0) / np.sqrt(len(losses))
    ax.plot(mean, color=f"C{number}")
    ax.fill_between(
      range(len(mean)), mean - error, mean + error, color=f"C{number}", alpha=0.15, linewidth=0
    )
    title = f"{white_box.attack_name(members[0])}, {len(losses)} images"
    ax.set(xlabel="step", title=title)
  axes[0, 0].set_ylabel(f"mean loss of {panels[0][0]['model']}", fontsize=8)
  style.save(figure, path)


FIGURE = Figure(applies, draw, "white-box PGD with --trace", for_each=True)
