"""The paper's Figure 7: success against the step h of finite differences."""

import pathlib

import matplotlib.pyplot as plt

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """A curve of success over h for every strength, and all else that differs."""
  curves = [
    (ledger, members)
    for ledger in folders
    for members in _curves([r for r in ledger.records if "spacing" in r["setting"]])
  ]
  labels = style.labels([_facts(ledger, members[0]) for ledger, members in curves], "strength")
  figure, ax = plt.subplots(figsize=(5.2, 3.6))
  for number, ((_, members), label) in enumerate(zip(curves, labels)):
    groups = records.group(({**r, "spacing": r["setting"]["spacing"]} for r in members), "spacing")
    style.curve(
      ax,
      [spacing for (spacing,) in groups],
      [records.summarise(group) for group in groups.values()],
      "clean_success",
      color=f"C{number}",
      marker="o",
      linestyle="--" if members[0]["strength"] else "-",
      label=label,
    )
  first = curves[0][1][0]
  ax.set(
    xscale="log",
    ylim=(-0.03, 1.03),
    xlabel="h",
    ylabel="fools the clean model, 95 % interval",
    title=f"{first['dataset']}, {first['attack']}",
  )
  ax.legend(fontsize=8)
  style.save(figure, path)


def _curves(trials):
  """Records of one curve each: all but the spacing is the same."""
  groups = records.group(trials, "targeted", "num_samples", "strength").values()
  return [members for group in groups for members in ledgers.grouped(group, "attack", "defense")]


def _facts(ledger, record):
  facts = style.described(record)
  del facts["spacing"]
  strength = f"{ledger.axis} {record['strength']:.3g}"
  if record["defense"] == "none":
    strength = "undefended"
  return {"strength": strength, "folder": ledger.directory.name, **facts}


FIGURE = Figure(ledgers.sweeps_spacings, draw, "several --spacing")
