"""The paper's Figure 2: what attacks achieve against the strength of a defense."""

import pathlib

import matplotlib.pyplot as plt

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records


def applies(folders: list[Ledger]) -> bool:
  """Whether it is success that is swept over strengths, and nothing with a figure of its own."""
  fixed = all(ledgers.is_white_box(x) and len(ledgers.strengths(x.records)) == 1 for x in folders)
  own = ledgers.sweeps_spacings(folders) or ledgers.averages_answers(folders)
  return not (fixed or own)


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Success solid, accuracy through the defense dashed, against its strength.

  One panel per data set and axis (columns) and kind of attack (rows: untargeted, targeted).
  """
  panels = _panels(folders)
  rows = sorted({targeted for targeted, *_ in panels})
  columns = sorted({column for _, column in panels})
  # Several curves leave no room for a legend among them.
  crowded = max(map(len, panels.values())) > 1
  beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
  figure, axes = plt.subplots(
    len(rows),
    len(columns),
    squeeze=False,
    sharey=True,
    figsize=((8.4 if crowded else 5.2) * len(columns), 3.6 * len(rows)),
  )
  for (targeted, column), curves in panels.items():
    ax = axes[rows.index(targeted), columns.index(column)]
    _draw_panel(ax, curves)
    ax.set(ylim=(-0.03, 1.03), title=f"{column[0]}, {'targeted' if targeted else 'untargeted'}")
    ax.legend(fontsize=7, **(beside if crowded else {"loc": "center right"}))
  for ax in axes[:, 0]:
    ax.set_ylabel("rate, 95 % interval")
  style.save(figure, path)


def _panels(folders):
  """{(targeted, (data set, axis)): [(ledger, records of one curve)]}."""
  panels = {}
  for ledger in folders:
    for members in ledgers.grouped(
      ledger.records, "targeted", "dataset", "attack", "model", "defense", "num_samples", "setting"
    ):
      key = members[0]["targeted"], (members[0]["dataset"], ledger.axis)
      panels.setdefault(key, []).append((ledger, members))
  return panels


def _draw_panel(ax, curves):
  strengths = ledgers.strengths([record for _, members in curves for record in members])
  x = style.strength_axis(ax, strengths, curves[0][0].axis)
  names = style.labels([style.described(members[0]) for _, members in curves], "attack")
  if len(set(names)) < len(names):
    names = [f"{name}, {ledger.directory.name}" for name, (ledger, _) in zip(names, curves)]
  for number, ((ledger, members), name) in enumerate(zip(curves, names)):
    groups = records.group(members, "strength")
    summaries = [records.summarise(group) for group in groups.values()]
    places = [x[strength] for (strength,) in groups]
    style.curve(
      ax,
      places,
      summaries,
      "clean_success",
      color=f"C{number}",
      marker="o",
      label=f"{name} (n = {summaries[0]['num_trials']}): fools the clean model",
    )
    style.curve(
      ax,
      places,
      summaries,
      "claimed",
      color="0.6",
      marker=".",
      linestyle=":",
      label="" if number else "claimed, by each",
    )
    ax.plot(
      places,
      [ledgers.accuracy(ledger, strength)["accuracy"] for (strength,) in groups],
      color=f"C{number}",
      linestyle="--",
      label="" if number else "defended accuracy",
    )


FIGURE = Figure(
  applies,
  draw,
  "attacks over the strengths of a defense (of white-box PGD at least two), with one number of "
  "answers averaged and one spacing in every folder",
)
