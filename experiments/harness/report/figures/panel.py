"""A panel of attacks: success against the strength of a defense, an axes for each kind."""

import pathlib

import matplotlib.pyplot as plt

from harness.report import ledgers
from harness.report import panel
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger

_COLUMNS = 4


def applies(folders: list[Ledger]) -> bool:
  """Whether they are attacks of several kinds on one thing, each over the same strengths."""
  swept = [ledgers.strengths(ledger.records) for ledger in folders]
  kinds = {panel.name(ledger)[0] for ledger in folders}
  alike = len(kinds) > 1 and len(swept[0]) > 1 and all(each == swept[0] for each in swept)
  return alike and panel.fault(folders) is None


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Clean success with its interval, and dotted what is claimed, a colour for each folder."""
  radius = panel.radius_of(folders)
  kinds: dict[str, list[Ledger]] = {}
  for ledger in folders:
    kinds.setdefault(panel.name(ledger)[0], []).append(ledger)
  rows = -(-len(kinds) // _COLUMNS)
  columns = min(_COLUMNS, len(kinds))
  figure, axes = plt.subplots(
    rows, columns, squeeze=False, sharey=True, figsize=(3.6 * columns, 2.9 * rows)
  )
  for ax in axes.flat[len(kinds) :]:
    ax.axis("off")
  for ax, (kind, members) in zip(axes.flat, kinds.items()):
    _draw_kind(ax, members, radius)
    ax.set(ylim=(-0.03, 1.03), title=kind)
  for ax in axes[:, 0]:
    ax.set_ylabel("fools the clean model (dotted: claimed)", fontsize=8)
  style.save(figure, path)


def _draw_kind(ax, members, radius):
  x = style.strength_axis(ax, ledgers.strengths(members[0].records), members[0].axis)
  for number, ledger in enumerate(members):
    found = panel.reached(ledger, radius)
    places, color = [x[strength] for strength in found], f"C{number}"
    low, high = zip(*(cell.interval for cell in found.values()))
    rates = [cell.rate for cell in found.values()]
    ax.plot(places, rates, color=color, marker="o", label=panel.name(ledger)[1])
    ax.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    claimed = [cell.claimed for cell in found.values()]
    ax.plot(places, claimed, color=color, linestyle=":", linewidth=1)
  ax.legend(fontsize=7, loc="best")


FIGURE = Figure(
  applies,
  draw,
  "attacks of several kinds on one model and the same images, in folders KIND/NAME, over the same "
  "strengths of a defense",
)
