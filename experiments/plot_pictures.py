"""Pictures of attacked images, from record folders. Imports no JAX."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
import plot_sweeps

from orjax import records


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
    len(found),
    1 + 2 * len(variances),
    squeeze=False,
    figsize=(1.3 * (1 + 2 * len(variances)), 1.5 * len(found)),
  )
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
      _show(
        row[2 + 2 * column],
        0.5 + scale * (adversarial - clean),
        f"l2 {record['l2']:.2f}" + (f", x{scale:.1f}" if scale < 1e5 else ""),
      )
  plot_sweeps.save(figure, path)


def picture_name(record: dict) -> str:
  """The name under which a trial's images are kept in pictures.npz."""
  names = ("attack", "targeted", "variance", "num_samples", "index", "target")
  return "-".join(str(x) for x in (*(record[name] for name in names), *record["setting"].values()))


def _show(ax, image, title):
  ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
  ax.set_title(title, fontsize=7)
