"""Draws the figures of record folders, from the ledgers alone. Imports no JAX.

    python experiments/plot_figures.py --records=runs/blackbox_attacks
"""

import pathlib
import sys

from absl import app
from absl import flags
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import plot_sweeps
import plot_training
from orjax import records

matplotlib.use("Agg")


def define_flags():
  flags.DEFINE_multi_string("records", None, "Folder with records; repeat for panels.",
                            required=True)
  flags.DEFINE_string("figures", None, "Folder for the figures (default: the first "
                      "--records).")


def _positions(variances):
  """Log positions of variances, 0 one decade below the smallest; and their labels."""
  positive = [v for v in variances if v > 0]
  zero = min(positive) / 10 if positive else 1e-8
  return [v if v > 0 else zero for v in variances], [
      "0" if v == 0 else f"{v:.3g}" for v in variances]


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
  figure, axes = plt.subplots(len(rows), len(columns), squeeze=False, sharey=True,
                              figsize=(5.2 * len(columns), 3.6 * len(rows)))
  for (targeted, dataset), curves in panels.items():
    ax = axes[rows.index(targeted), columns.index(dataset)]
    for number, (attack, members, accuracies) in enumerate(curves):
      groups = records.group(members, "variance")
      variances = [variance for variance, in groups]
      x, labels = _positions(variances)
      summaries = [records.summarise(group) for group in groups.values()]
      name = f"{attack.upper()} (n = {summaries[0]['num_trials']})"
      plot_sweeps.curve(ax, x, summaries, "clean_success", color=f"C{number}", marker="o",
             label=f"{name}: fools the clean model")
      plot_sweeps.curve(ax, x, summaries, "claimed", color="0.6", marker=".", linestyle=":",
             label="" if number else "claimed, by each")
      ax.plot(x, [accuracies[f"{v:g}"]["accuracy"] for v in variances], color=f"C{number}",
              linestyle="--", label="" if number else "defended accuracy")
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="noise variance",
           title=f"{dataset}, {'targeted' if targeted else 'untargeted'}")
    ax.set_xticks(x, labels)
    ax.minorticks_off()
    ax.tick_params(axis="x", labelsize=8)
    ax.legend(fontsize=7, loc="center right")
  for ax in axes[:, 0]:
    ax.set_ylabel("rate, 95 % interval")
  plot_sweeps.save(figure, path)


def pictures(directory: str, path: pathlib.Path) -> None:
  """Clean, adversarial and difference, one row per kept image, one block per variance."""
  arrays, members = records.read_pictures(directory), records.read(directory)
  found = {r["index"]: {} for r in members}
  for record in members:
    name = picture_name(record)
    if record["run"] == 0 and f"{name}/adversarial" in arrays:
      found[record["index"]].setdefault(record["variance"], (record, name))
  found = {index: row for index, row in found.items() if row}
  if not found:
    return
  variances = sorted({v for row in found.values() for v in row})
  figure, axes = plt.subplots(
      len(found), 1 + 2 * len(variances), squeeze=False,
      figsize=(1.3 * (1 + 2 * len(variances)), 1.5 * len(found)))
  for ax in axes.flat:
    ax.axis("off")
  for row, by_variance in zip(axes, found.values()):
    for column, variance in enumerate(variances):
      if variance not in by_variance:
        continue
      record, name = by_variance[variance]
      clean, adversarial = arrays[f"{name}/image"], arrays[f"{name}/adversarial"]
      _show(row[0], clean, f"class {record['label']}")
      verdict = "fools" if record["clean_success"] else "harmless"
      _show(row[1 + 2 * column], adversarial, f"{variance:g}: {verdict}")
      # Stretched until the largest change is black or white; the title says how much.
      scale = 0.5 / max(np.abs(adversarial - clean).max(), 1e-6)
      _show(row[2 + 2 * column], 0.5 + scale * (adversarial - clean),
            f"l2 {record['l2']:.2f}" + (f", x{scale:.1f}" if scale < 1e5 else ""))
  plot_sweeps.save(figure, path)


def picture_name(record: dict) -> str:
  """The name under which a trial's images are kept in pictures.npz."""
  names = ("attack", "targeted", "variance", "num_samples", "index", "target")
  return "-".join(str(x) for x in (*(record[name] for name in names),
                                   *record["setting"].values()))


def _show(ax, image, title):
  ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
  ax.set_title(title, fontsize=7)


def draw(directories: list[str], out: str) -> list[pathlib.Path]:
  """Draws all that the folders' records allow; returns the files."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  ledgers = {directory: records.read(directory) for directory in directories}
  if all(members and members[0]["attack"] == "pgd" for members in ledgers.values()):
    return _draw_pgd(ledgers, out)
  if any(len({r["setting"].get("spacing") for r in members}) > 1
         for members in ledgers.values()):
    paths = [out / "spacings.png"]
    plot_sweeps.spacings(directories, paths[0])
  elif len({r["num_samples"] for members in ledgers.values() for r in members}) > 1:
    paths = [out / "averaging.png"]
    plot_sweeps.averaging(directories, paths[0])
  else:
    paths = [out / "figure2.png"]
    figure2(directories, paths[0])
  for directory, members in ledgers.items():
    suffix = "" if len(directories) == 1 else f"_{pathlib.Path(directory).name}"
    if pathlib.Path(directory, "traces.json").exists():
      paths.append(out / f"traces{suffix}.png")
      plot_sweeps.traces(directory, paths[-1])
    paths += _pictures_if_one_setting(directory, members, out / f"pictures{suffix}.png")
  return paths


def _pictures_if_one_setting(directory, members, path):
  # One grid shows one value of everything but the variance.
  shown = {(r["num_samples"], *r["setting"].values()) for r in members}
  if len(shown) != 1 or not records.read_pictures(directory):
    return []
  pictures(directory, path)
  return [path]


def _draw_pgd(ledgers, out):
  """White-box PGD has neither spacings nor, as a rule, noise at test time."""
  directories, paths = list(ledgers), []
  if len(directories) < 5:  # more panels than a page is wide
    paths.append(out / "under_attack.png")
    plot_training.under_attack(directories, paths[0])
  if len(directories) > 1 and any(
      r["setting"]["substitute"] is None for r in ledgers[directories[0]]):
    asked = [records.read_json(d, "manifest.json")["asked"] for d in directories]
    stddevs = {a["stddev"] if a["defense"] == "or" else 0 for a in asked
               if a["defense"] in ("none", "or") and a["noise_location"] == "logits"}
    networks = {(a["dataset"], a["network"]) for a in asked}
    if len(stddevs) == len(directories) and len(networks) == 1:
      paths.append(out / "figure13.png")
      plot_training.training_stddevs(directories, paths[-1])
  for directory, members in ledgers.items():
    suffix = "" if len(directories) == 1 else f"_{pathlib.Path(directory).name}"
    if all(r["setting"]["substitute"] for r in members):
      paths.append(out / f"figure17{suffix}.png")
      plot_training.transfers(directory, paths[-1])
    if pathlib.Path(directory, "traces.json").exists():
      paths.append(out / f"figure4{suffix}.png")
      plot_training.mean_losses(directory, paths[-1])
    paths += _pictures_if_one_setting(directory, members, out / f"pictures{suffix}.png")
  return paths


def main(argv):
  del argv
  directories = flags.FLAGS.records
  try:
    for path in draw(directories, flags.FLAGS.figures or directories[0]):
      print(f"figure: {path}")
  except (ValueError, OSError) as e:
    sys.exit(f"error: {e}")


if __name__ == "__main__":
  define_flags()
  app.run(main)
