"""The paper's Figures 3, 6 and 12: what averaging answers gives an attacker."""

import pathlib

import matplotlib.pyplot as plt

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records


def applies(folders: list[Ledger]) -> bool:
  """Whether several numbers of answers are averaged, with one spacing."""
  return ledgers.averages_answers(folders) and not ledgers.sweeps_spacings(folders)


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Bars of success, one per number of answers averaged.

  One panel per folder, kind of attack and defense; strengths are groups of bars; what the
  attack claims is an outline around what fools the clean model.
  """
  panels = [
    (ledger, members)
    for ledger in folders
    for members in ledgers.grouped(ledger.records, "targeted", "attack", "defense", "setting")
  ]
  facts = [_facts(ledger, members[0]) for ledger, members in panels]
  titles = style.labels(facts, "attack", "model", "targeted")
  figure, axes = plt.subplots(
    1, len(panels), squeeze=False, sharey=True, figsize=(5.2 * len(panels), 3.6)
  )
  for ax, (ledger, members), title in zip(axes.flat, panels, titles):
    _draw_panel(ax, members)
    ax.set(xlabel=ledger.axis, ylim=(0, 1.05), title=title)
    ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=5)
  axes[0, 0].set_ylabel("fools the clean model, 95 % interval")
  style.save(figure, path)


def _facts(ledger, record):
  facts, solver = style.described(record), ledger.request.get("solver")
  del facts["num_samples"]
  return facts | {"attack": record["attack"] + (f" ({solver})" if solver else "")}


def _draw_panel(ax, members):
  strengths = ledgers.strengths(members)
  by_count = records.group(members, "num_samples")
  for number, ((count,), swept) in enumerate(by_count.items()):
    shift, width = style.side_by_side(number, len(by_count))
    groups = records.group(swept, "strength")
    x = [strengths.index(strength) + shift for (strength,) in groups]
    summaries = [records.summarise(group) for group in groups.values()]
    rates = [summary["clean_success"] for summary in summaries]
    ax.bar(
      x,
      rates,
      width,
      color=f"C{number}",
      label=f"k = {count}",
      yerr=style.errors(rates, *zip(*(summary["clean_success_interval"] for summary in summaries))),
      error_kw={"linewidth": 0.8},
    )
    ax.bar(
      x,
      [summary["claimed"] for summary in summaries],
      width,
      fill=False,
      edgecolor="0.5",
      linestyle=":",
      label=None if number else "claimed",
    )
  ax.set_xticks(range(len(strengths)), [f"{strength:.3g}" for strength in strengths])


FIGURE = Figure(
  applies, draw, "several --num_samples, and one spacing, of an attack that is not white-box PGD"
)
