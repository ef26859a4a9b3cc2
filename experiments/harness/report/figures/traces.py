"""The paper's Figure 8: the loss of single trials, at every step."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger


def applies(folders: list[Ledger]) -> bool:
  """Whether all have traces, of attacks that see a defense."""
  return all(ledgers.traces(x) and not ledgers.is_white_box(x) for x in folders)


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """A panel for every trial: its loss as the attack saw it, and without the defense."""
  panels = [(ledger, trace) for ledger in folders for trace in ledgers.traces(ledger)]
  figure, axes = plt.subplots(len(panels), 1, squeeze=False, figsize=(6.4, 1.9 * len(panels)))
  for ax, (ledger, trace) in zip(axes.flat, panels):
    losses, quiet = (np.array(trace[name], float) for name in ("losses", "without_noise"))
    ax.plot(losses, linewidth=0.6, color="0.6", label="as the attack saw it")
    ax.plot(quiet, linewidth=1.0, color="C0", label="without the defense")
    ax.set_title(
      f"image {trace['index']}, {ledger.axis} {trace['strength']:.3g}, "
      f"{len(losses)} steps, k = {trace['num_samples']}"
      + "".join(f", {name} {ledgers.show(value)}" for name, value in trace["setting"].items()),
      fontsize=8,
    )
    ax.set_ylabel("loss")
  axes[0, 0].legend(fontsize=7)
  axes[-1, 0].set_xlabel("step")
  style.save(figure, path)


FIGURE = Figure(applies, draw, "--trace of an attack that is not white-box PGD", for_each=True)
