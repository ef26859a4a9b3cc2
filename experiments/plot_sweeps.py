"""Figures of sweeps: variances, answers averaged, spacings, losses of single trials.

Imports no JAX.
"""

import pathlib

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from orjax import records

matplotlib.use("Agg")


def save(figure, path: pathlib.Path) -> None:
  """Writes a figure and closes it."""
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def curve(axes, x, summaries, name, **style):
  """Rates of one kind of success with a band for their intervals."""
  rates = np.array([s[name] for s in summaries])
  intervals = np.array([s[f"{name}_interval"] for s in summaries])
  axes.plot(x, rates, **style)
  axes.fill_between(
    x, intervals[:, 0], intervals[:, 1], color=style["color"], alpha=0.15, linewidth=0
  )


def _positions(variances):
  """Log positions of variances, 0 one decade below the smallest; and their labels."""
  positive = [v for v in variances if v > 0]
  zero = min(positive) / 10 if positive else 1e-8
  return [v if v > 0 else zero for v in variances], [
    "0" if v == 0 else f"{v:.3g}" for v in variances
  ]


def figure2(directories: list[str], path: pathlib.Path) -> None:
  """The paper's Figure 2: success solid, test accuracy dashed, against log variance.

  One panel per data set (columns) and kind of attack (rows: untargeted, targeted).
  """
  panels = {}
  for directory in directories:
    accuracies = records.read_json(directory, "accuracy.json")
    groups = records.group(records.read(directory), "targeted", "dataset", "attack")
    for (targeted, dataset, attack), members in groups.items():
      panels.setdefault((targeted, dataset), []).append((attack, members, accuracies))
  rows = sorted({targeted for targeted, _ in panels})
  columns = sorted({dataset for _, dataset in panels})
  figure, axes = plt.subplots(
    len(rows),
    len(columns),
    squeeze=False,
    sharey=True,
    figsize=(5.2 * len(columns), 3.6 * len(rows)),
  )
  for (targeted, dataset), curves in panels.items():
    ax = axes[rows.index(targeted), columns.index(dataset)]
    for number, (attack, members, accuracies) in enumerate(curves):
      groups = records.group(members, "variance")
      variances = [variance for (variance,) in groups]
      x, labels = _positions(variances)
      summaries = [records.summarise(group) for group in groups.values()]
      name = f"{attack.upper()} (n = {summaries[0]['num_trials']})"
      curve(
        ax,
        x,
        summaries,
        "clean_success",
        color=f"C{number}",
        marker="o",
        label=f"{name}: fools the clean model",
      )
      curve(
        ax,
        x,
        summaries,
        "claimed",
        color="0.6",
        marker=".",
        linestyle=":",
        label="" if number else "claimed, by each",
      )
      ax.plot(
        x,
        [accuracies[f"{v:g}"]["accuracy"] for v in variances],
        color=f"C{number}",
        linestyle="--",
        label="" if number else "defended accuracy",
      )
    ax.set(
      xscale="log",
      ylim=(-0.03, 1.03),
      xlabel="noise variance",
      title=f"{dataset}, {'targeted' if targeted else 'untargeted'}",
    )
    ax.set_xticks(x, labels)
    ax.minorticks_off()
    ax.tick_params(axis="x", labelsize=8)
    ax.legend(fontsize=7, loc="center right")
  for ax in axes[:, 0]:
    ax.set_ylabel("rate, 95 % interval")
  save(figure, path)


def averaging(directories: list[str], path: pathlib.Path) -> None:
  """The paper's Figures 3, 6 and 12: bars of success, one per number of answers averaged.

  One panel per folder and kind of attack; variances are groups of bars; what the attack
  claims is an outline around what fools the clean model.
  """
  panels = []
  for directory in directories:
    manifest = records.read_json(directory, "manifest.json")["asked"]
    for (targeted,), members in records.group(records.read(directory), "targeted").items():
      kind = f"{'targeted' if targeted else 'untargeted'}"
      zoo = manifest["attack"] == "zoo"
      solver = f" ({manifest.get('solver', 'adam')})" if zoo else ""
      panels.append((f"{manifest['attack']}{solver}, {members[0]['model']}, {kind}", members))
  figure, axes = plt.subplots(
    1, len(panels), squeeze=False, sharey=True, figsize=(5.2 * len(panels), 3.6)
  )
  for ax, (title, members) in zip(axes.flat, panels):
    variances = sorted({r["variance"] for r in members})
    counts = sorted({r["num_samples"] for r in members})
    width = 0.8 / len(counts)
    for number, count in enumerate(counts):
      groups = records.group([r for r in members if r["num_samples"] == count], "variance")
      x = [variances.index(v) + (number - (len(counts) - 1) / 2) * width for (v,) in groups]
      summaries = [records.summarise(group) for group in groups.values()]
      rates = np.array([s["clean_success"] for s in summaries])
      low, high = np.array([s["clean_success_interval"] for s in summaries]).T
      ax.bar(
        x,
        rates,
        0.9 * width,
        color=f"C{number}",
        label=f"k = {count}",
        yerr=np.maximum([rates - low, high - rates], 0),
        error_kw={"linewidth": 0.8},
      )
      ax.bar(
        x,
        [s["claimed"] for s in summaries],
        0.9 * width,
        fill=False,
        edgecolor="0.5",
        linestyle=":",
        label="claimed" if not number else None,
      )
    ax.set_xticks(range(len(variances)), [f"{v:.3g}" for v in variances])
    ax.set(xlabel="noise variance", ylim=(0, 1.05), title=title)
    ax.legend(fontsize=7)
  axes[0, 0].set_ylabel("fools the clean model, 95 % interval")
  save(figure, path)


def spacings(directories: list[str], path: pathlib.Path) -> None:
  """The paper's Figure 7: success against the step h, undefended and defended."""
  figure, ax = plt.subplots(figsize=(5.2, 3.6))
  found = [
    {**r, **r["setting"], "folder": d}
    for d in directories
    for r in records.read(d)
    if "spacing" in r["setting"]
  ]
  curves = records.group(found, "folder", "targeted", "num_samples", "variance")
  several = [len({key[i] for key in curves}) > 1 for i in range(3)]
  for number, (key, members) in enumerate(curves.items()):
    groups, variance = records.group(members, "spacing"), key[-1]
    parts = (pathlib.Path(key[0]).name, "targeted" if key[1] else "untargeted", f"k = {key[2]}")
    name = ", ".join(
      [
        f"variance {variance:.3g}" if variance else "undefended",
        *(part for part, shown in zip(parts, several) if shown),
      ]
    )
    curve(
      ax,
      [spacing for (spacing,) in groups],
      [records.summarise(group) for group in groups.values()],
      "clean_success",
      color=f"C{number}",
      marker="o",
      linestyle="--" if variance else "-",
      label=name,
    )
  ax.set(
    xscale="log",
    ylim=(-0.03, 1.03),
    xlabel="h",
    ylabel="fools the clean model, 95 % interval",
    title=f"{found[0]['dataset']}, {found[0]['attack']}",
  )
  ax.legend(fontsize=8)
  save(figure, path)


def traces(directory: str, path: pathlib.Path) -> None:
  """The paper's Figure 8: the loss at every step, as seen and without the noise."""
  found = records.read_json(directory, "traces.json")["traces"]
  figure, axes = plt.subplots(len(found), 1, squeeze=False, figsize=(6.4, 1.9 * len(found)))
  for ax, trace in zip(axes.flat, found):
    losses, quiet = (np.array(trace[name], float) for name in ("losses", "without_noise"))
    ax.plot(losses, linewidth=0.6, color="0.6", label="as the attack saw it")
    ax.plot(quiet, linewidth=1.0, color="C0", label="without the noise")
    ax.set_title(
      f"image {trace['index']}, variance {trace['variance']:.3g}, "
      f"{len(losses)} steps, k = {trace['num_samples']}"
      + "".join(f", {k} {v:g}" for k, v in trace["setting"].items()),
      fontsize=8,
    )
    ax.set_ylabel("loss")
  axes[0, 0].legend(fontsize=7)
  axes[-1, 0].set_xlabel("step")
  save(figure, path)
