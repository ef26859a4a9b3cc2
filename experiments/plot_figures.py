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


def _curve(axes, x, summaries, name, **style):
  rates = np.array([s[name] for s in summaries])
  intervals = np.array([s[f"{name}_interval"] for s in summaries])
  axes.plot(x, rates, **style)
  axes.fill_between(x, intervals[:, 0], intervals[:, 1], color=style["color"], alpha=0.15,
                    linewidth=0)


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
      name = attack.upper()
      _curve(ax, x, summaries, "clean_success", color=f"C{number}", marker="o",
             label=f"{name}: fools the clean model")
      _curve(ax, x, summaries, "claimed", color="0.6", marker=".", linestyle=":",
             label=f"{name}: claimed")
      ax.plot(x, [accuracies[f"{v:g}"]["accuracy"] for v in variances], color=f"C{number}",
              linestyle="--", label="defended accuracy")
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="noise variance",
           title=f"{dataset}, {'targeted' if targeted else 'untargeted'} "
                 f"({summaries[0]['num_trials']} trials a point)")
    ax.set_xticks(x, labels)
    ax.minorticks_off()
    ax.tick_params(axis="x", labelsize=8)
    ax.legend(fontsize=7, loc="center right")
  for ax in axes[:, 0]:
    ax.set_ylabel("rate, 95 % interval")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


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
      solver = f" ({manifest['solver']})" if manifest["attack"] == "zoo" else ""
      panels.append((f"{manifest['attack']}{solver}, {members[0]['dataset']}, {kind}",
                     members))
  figure, axes = plt.subplots(1, len(panels), squeeze=False, sharey=True,
                              figsize=(5.2 * len(panels), 3.6))
  for ax, (title, members) in zip(axes.flat, panels):
    variances = sorted({r["variance"] for r in members})
    counts = sorted({r["num_samples"] for r in members})
    width = 0.8 / len(counts)
    for number, count in enumerate(counts):
      groups = records.group([r for r in members if r["num_samples"] == count], "variance")
      x = [variances.index(v) + (number - (len(counts) - 1) / 2) * width for v, in groups]
      summaries = [records.summarise(group) for group in groups.values()]
      rates = np.array([s["clean_success"] for s in summaries])
      low, high = np.array([s["clean_success_interval"] for s in summaries]).T
      ax.bar(x, rates, 0.9 * width, color=f"C{number}", label=f"k = {count}",
             yerr=np.maximum([rates - low, high - rates], 0), error_kw={"linewidth": 0.8})
      ax.bar(x, [s["claimed"] for s in summaries], 0.9 * width, fill=False,
             edgecolor="0.5", linestyle=":", label="claimed" if not number else None)
    ax.set_xticks(range(len(variances)), [f"{v:.3g}" for v in variances])
    ax.set(xlabel="noise variance", ylim=(0, 1.05), title=title)
    ax.legend(fontsize=7)
  axes[0, 0].set_ylabel("fools the clean model, 95 % interval")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def spacings(directories: list[str], path: pathlib.Path) -> None:
  """The paper's Figure 7: success against the step h, undefended and defended."""
  figure, ax = plt.subplots(figsize=(5.2, 3.6))
  found = [{**r, **r["setting"]} for d in directories for r in records.read(d)]
  for number, ((variance,), members) in enumerate(records.group(found, "variance").items()):
    groups = records.group(members, "spacing")
    name = f"variance {variance:.3g}" if variance else "undefended"
    _curve(ax, [spacing for spacing, in groups],
           [records.summarise(group) for group in groups.values()], "clean_success",
           color=f"C{number}", marker="o", linestyle="--" if variance else "-", label=name)
  ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="h",
         ylabel="fools the clean model, 95 % interval",
         title=f"{found[0]['dataset']}, {found[0]['attack']}")
  ax.legend(fontsize=8)
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def traces(directory: str, path: pathlib.Path) -> None:
  """The paper's Figure 8: the loss at every step, as seen and without the noise."""
  found = records.read_json(directory, "traces.json")
  figure, axes = plt.subplots(len(found), 1, squeeze=False,
                              figsize=(6.4, 1.9 * len(found)))
  for ax, trace in zip(axes.flat, found):
    ax.plot(trace["losses"], linewidth=0.6, color="0.6", label="as the attack saw it")
    ax.plot(trace["without_noise"], linewidth=1.0, color="C0", label="without the noise")
    ax.set_title(f"image {trace['index']}, variance {trace['variance']:.3g}, "
                 f"{len(trace['losses'])} steps", fontsize=8)
    ax.set_ylabel("loss")
  axes[0, 0].legend(fontsize=7)
  axes[-1, 0].set_xlabel("step")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def pictures(directory: str, path: pathlib.Path) -> None:
  """Clean, adversarial and difference, one row per kept image, one block per variance."""
  arrays, members = records.read_pictures(directory), records.read(directory)
  found = {r["index"]: {} for r in members}
  for record in members:
    name = picture_name(record)
    if record["run"] == 0 and f"{name}/adversarial" in arrays:
      found[record["index"]].setdefault(record["variance"], (record, name))
  found = {index: row for index, row in found.items() if row}
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
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


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
  found = [record for directory in directories for record in records.read(directory)]
  if len({record["setting"].get("spacing") for record in found}) > 1:
    paths = [out / "spacings.png"]
    spacings(directories, paths[0])
  elif len({record["num_samples"] for record in found}) > 1:
    paths = [out / "averaging.png"]
    averaging(directories, paths[0])
  else:
    paths = [out / "figure2.png"]
    figure2(directories, paths[0])
  for directory in directories:
    suffix = "" if len(directories) == 1 else f"_{pathlib.Path(directory).name}"
    if pathlib.Path(directory, "traces.json").exists():
      paths.append(out / f"traces{suffix}.png")
      traces(directory, paths[-1])
    if records.read_pictures(directory):
      paths.append(out / f"pictures{suffix}.png")
      pictures(directory, paths[-1])
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
