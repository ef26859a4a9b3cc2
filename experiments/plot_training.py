"""Figures of networks trained with noise: 4, 13 and 17 of the paper. Imports no JAX."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
import plot_sweeps
import tables

from orjax import records

_NAMES = {
  "xent": "PGD(Xent)",
  "cw": "PGD(CW)",
  "cw_unbounded": "PGD(CW), unbounded",
  "dlr": "PGD(DLR)",
  "xent_by_stddev": "PGD(Xent), logits / stddev",
  "xent_by_margin": "PGD(Xent), logits / margin",
}


def attack_name(record: dict) -> str:
  """The PGD attack of a record in words, without its usual numbers."""
  setting = record["setting"]
  parts = [_NAMES[setting["loss"]]]
  parts += ["float64"] if setting["float64"] else []
  parts += [f"{setting['restarts']} starts"] if setting["restarts"] > 1 else []
  parts += [f"{record['num_samples']} answers a step"] if record["num_samples"] > 1 else []
  parts += [f"from {setting['substitute']}"] if setting["substitute"] else []
  return ", ".join(parts)


def under_attack(directories: list[str], path: pathlib.Path) -> None:
  """Bars: what each attack leaves of each network, beside the zero gradients it met."""
  figure, axes = plt.subplots(
    1, len(directories), squeeze=False, sharex=True, figsize=(6.2 * len(directories), 4.2)
  )
  for ax, directory in zip(axes.flat, directories):
    known = records.read_json(directory, "accuracy.json")["0"]
    found = records.read(directory)
    usual = found[0]["setting"]["steps"]
    labels, bars, zeros = ["no attack"], [], [np.nan]
    bars.append((known["accuracy"], *known["interval"]))
    for group in tables.by_attack(found):
      num_steps = group[0]["setting"]["steps"]
      steps = "" if num_steps == usual else f", {num_steps} steps"
      labels.append(attack_name(group[0]) + steps)
      summary = records.summarise(group)
      bars.append(tables.left(summary, known["accuracy"]))
      zeros.append(summary["zero_gradients"])
    rates, low, high = np.array(bars).T
    y = np.arange(len(bars))[::-1]
    ax.barh(
      y,
      rates,
      0.7,
      color="C0",
      label="accuracy, 95 % interval",
      xerr=np.maximum([rates - low, high - rates], 0),
      error_kw={"linewidth": 0.8},
    )
    ax.plot(zeros, y, "x", color="C3", label="share of steps with gradient 0")
    ax.set_yticks(y, labels, fontsize=7)
    ax.set(xlim=(-0.03, 1.03), title=f"{found[0]['model']}")
    # The bars fill the axes: legends stand below.
    ax.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1, -0.07))
  plot_sweeps.save(figure, path)


def mean_losses(directory: str, path: pathlib.Path) -> None:
  """The paper's Figure 4: the mean loss that PGD has raised so far, by loss."""
  traces = records.read_json(directory, "traces.json")["traces"]
  groups = tables.by_attack(traces)
  figure, axes = plt.subplots(1, len(groups), squeeze=False, figsize=(4.4 * len(groups), 3.4))
  for number, (ax, members) in enumerate(zip(axes.flat, groups)):
    # The attacker minimises; the paper shows what it raises.
    losses = -np.array([trace["losses"] for trace in members], float)
    ax.plot(losses.mean(0), color=f"C{number}")
    error = 1.96 * losses.std(0) / np.sqrt(len(losses))
    ax.fill_between(
      range(losses.shape[1]),
      losses.mean(0) - error,
      losses.mean(0) + error,
      color=f"C{number}",
      alpha=0.15,
      linewidth=0,
    )
    ax.set(xlabel="step", title=f"{attack_name(members[0])}, {len(losses)} images")
  axes[0, 0].set_ylabel(f"mean loss of {traces[0]['model']}", fontsize=8)
  plot_sweeps.save(figure, path)


def training_stddevs(directories: list[str], path: pathlib.Path) -> None:
  """The paper's Figure 13: accuracy, clean and under attack, against the training stddev."""
  points = []
  for directory in directories:
    asked = records.read_json(directory, "manifest.json")["asked"]
    stddev = asked["stddev"] if asked["defense"] == "or" else 0.0
    accuracy = records.read_json(directory, "accuracy.json")["0"]
    bars = {"clean": (accuracy["accuracy"], *accuracy["interval"])}
    found = records.read(directory)
    for loss in dict.fromkeys(r["setting"]["loss"] for r in found):
      members = tables.published(found, asked, loss)
      if members:
        bars[_NAMES[loss]] = tables.left(records.summarise(members), accuracy["accuracy"])
    points.append((stddev, bars))
  shared = [name for name in points[0][1] if all(name in bars for _, bars in points)]
  points.sort(key=lambda point: point[0])
  stddevs = [stddev for stddev, _ in points]
  zero = min(s for s in stddevs if s) / 10
  x = [s or zero for s in stddevs]
  figure, ax = plt.subplots(figsize=(6.4, 4.0))
  for number, name in enumerate(shared):
    rates, low, high = np.array([bars[name] for _, bars in points]).T
    ax.plot(
      x,
      rates,
      marker="o",
      color=f"C{number}",
      label=name,
      linestyle="--" if name == "clean" else "-",
    )
    ax.fill_between(x, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
  ax.set_xscale("log")
  ax.set_xticks(x, [f"{s:g}" for s in stddevs])
  ax.minorticks_off()
  ax.set(
    ylim=(-0.03, 1.03),
    xlabel="stddev of the noise in training",
    ylabel="accuracy, 95 % interval",
    title=records.read(directories[0])[0]["dataset"],
  )
  ax.legend(fontsize=8)
  plot_sweeps.save(figure, path)


def transfers(directory: str, path: pathlib.Path) -> None:
  """The paper's Figure 17: accuracy under transfer attacks, by the substitute's noise."""
  found = records.read(directory)
  accuracy = records.read_json(directory, "accuracy.json")["0"]["accuracy"]
  losses = list(dict.fromkeys(record["setting"]["loss"] for record in found))
  names = list(dict.fromkeys(record["setting"]["substitute"] for record in found))
  figure, ax = plt.subplots(figsize=(3.6 + 1.3 * len(names), 4.0))
  width = 0.8 / len(losses)
  for number, loss in enumerate(losses):
    groups = [
      [r for r in found if (r["setting"]["loss"], r["setting"]["substitute"]) == (loss, name)]
      for name in names
    ]
    rates, low, high = np.array(
      [tables.left(records.summarise(group), accuracy) for group in groups]
    ).T
    ax.bar(
      np.arange(len(names)) + (number - (len(losses) - 1) / 2) * width,
      rates,
      0.9 * width,
      color=f"C{number}",
      label=_NAMES[loss],
      yerr=np.maximum([rates - low, high - rates], 0),
      error_kw={"linewidth": 0.8},
    )
  ax.axhline(accuracy, color="0.5", linestyle="--", label="no attack")
  ax.set_xticks(
    range(len(names)),
    ["undefended" if name.count("-") == 1 else name.split("-")[1] for name in names],
  )
  ax.set(
    ylim=(0, 1.03),
    xlabel="substitute",
    ylabel="accuracy, 95 % interval",
    title=f"transfers to {found[0]['model']}",
  )
  ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
  plot_sweeps.save(figure, path)
