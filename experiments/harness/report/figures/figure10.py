"""The paper's Figures 10 and 11: noise on the output against random self-ensembling (RSE)."""

from collections import Counter
import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records

# What a curve is of: the defense, and what of its strength is a variance.
_DEFENSES = {
  "output_noise": ("output noise", lambda variance: variance),
  "inner_noise": ("self-ensembling", lambda stddev: float(f"{stddev**2:.6g}")),
}


def applies(folders: list[Ledger]) -> bool:
  """Whether they are of one attack through output noise and of networks of self-ensembling."""
  if any(map(ledgers.is_white_box, folders)):
    return False
  trials = [record for ledger in folders for record in ledger.records]
  return (
    {_kind(r) for r in trials} == set(_DEFENSES)
    and {r["trained_with"] for r in trials if _kind(r) == "inner_noise"} == {"rse"}
    and len({(r["dataset"], r["attack"]) for r in trials}) == 1
  )


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Success (left) and accuracy (right) against the variance, a curve a defense and attack."""
  figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.9), sharey=True)
  curves = _curves(folders)
  variances = sorted({variance for points in curves.values() for variance in points})
  names = style.labels([_words(key) for key in curves], "defense")
  for ax in (left, right):
    x = style.strength_axis(ax, variances, "variance of the noise")
  num_drawn = Counter()
  for ((defense, _), points), name in zip(curves.items(), names):
    look = {"color": f"C{list(_DEFENSES).index(defense)}", "marker": "o"}
    places = [x[variance] for variance in sorted(points)]
    sources, trials = zip(*(points[variance] for variance in sorted(points)))
    found = [records.summarise(members) for members in trials]
    # The first attack of a defense is solid, a second one dashed, and so on.
    line = ("-", "--", ":", "-.")[num_drawn[defense] % 4]
    label = f"{name} (n = {found[0]['num_trials']})"
    style.curve(left, places, found, "clean_success", label=label, linestyle=line, **look)
    if not num_drawn[defense]:
      known = [ledgers.accuracy(*source) for source in sources]
      rates, low, high = np.array([(k["accuracy"], *k["interval"]) for k in known]).T
      right.plot(places, rates, label=_DEFENSES[defense][0], **look)
      right.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
    num_drawn[defense] += 1
  record = folders[0].records[0]
  left.set(ylim=(-0.03, 1.03), ylabel="rate, 95 % interval")
  left.set_title(f"{record['attack'].upper()} fools the model, {record['dataset']}", fontsize=10)
  right.set_title("accuracy through the defense", fontsize=10)
  for ax in (left, right):
    ax.legend(fontsize=8)
  style.save(figure, path)


def _curves(folders):
  """{(defense, settings): {variance: ((ledger, strength), records)}}, in the order of folders."""
  curves = {}
  for ledger in folders:
    for members in ledgers.grouped(ledger.records, "strength", "num_samples", "setting"):
      first = members[0]
      kind = _kind(first)
      how = tuple(sorted(style.described(first).items() - {("model", first["model"])}))
      variance = _DEFENSES[kind][1](first["strength"])
      points = curves.setdefault((kind, how), {})
      points[variance] = (ledger, first["strength"]), members
  return curves


def _kind(record):
  """Its defense, without how many answers of it an ensemble averages."""
  return record["defense"].partition("_mean")[0]


def _words(key):
  """What a legend may say of a curve."""
  kind, how = key
  return {**dict(how), "defense": _DEFENSES[kind][0]}


FIGURE = Figure(
  applies,
  draw,
  "an attack through output noise in one folder, and on networks of --trained_with=rse in others",
)
