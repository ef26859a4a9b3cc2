"""Pictures of attacked images."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report import ledgers
from harness.report.figures import style
from harness.report.figures.figure import Figure
from harness.report.ledgers import Ledger
from orjax import records

_MAX_BLOCKS = 6  # as wide as a page


def applies(folders: list[Ledger]) -> bool:
  """Whether all have pictures, and not of too many settings."""
  return all(
    0 < len(_blocks(ledger, records.read_pictures(ledger.directory))) <= _MAX_BLOCKS
    for ledger in folders
  )


def draw(folders: list[Ledger], path: pathlib.Path) -> None:
  """Clean, adversarial and difference: a row per kept image, a block per strength.

  Where answers averaged or the setting are swept, they have blocks of their own.
  """
  (ledger,) = folders
  arrays = records.read_pictures(ledger.directory)
  blocks = _blocks(ledger, arrays)
  indices = list(dict.fromkeys(index for block in blocks for index in block))
  names = style.labels([_facts(next(iter(block.values()))) for block in blocks], "strength")
  num_columns = 1 + 2 * len(blocks)
  figure, axes = plt.subplots(
    len(indices), num_columns, squeeze=False, figsize=(1.3 * num_columns, 1.5 * len(indices))
  )
  for ax in axes.flat:
    ax.axis("off")
  for row, index in zip(axes, indices):
    for number, (block, name) in enumerate(zip(blocks, names)):
      if index in block:
        _draw_block(row[0], row[1 + 2 * number :], block[index], arrays, name)
  style.save(figure, path)


def _blocks(ledger, arrays):
  """[{image index: record}] of the first runs with pictures; by setting, then by strength."""
  whole = lambda name: {f"{name}/image", f"{name}/adversarial"} <= arrays.keys()
  kept = (r for r in ledger.records if whole(records.picture_name(r)))
  swept = ledgers.grouped([r for r in kept if r["run"] == 0], "attack", "num_samples", "setting")
  blocks = []
  for members in swept:
    for group in records.group(members, "strength").values():
      # Of an image with several targets the first is shown.
      blocks.append({record["index"]: record for record in reversed(group)})
  return [dict(sorted(block.items())) for block in blocks]


def _facts(record):
  return {"strength": f"{record['strength']:g}", **style.described(record)}


def _draw_block(first, axes, record, arrays, name):
  picture = records.picture_name(record)
  clean, adversarial = arrays[f"{picture}/image"], arrays[f"{picture}/adversarial"]
  _show(first, clean, f"class {record['label']}")
  outcome = "fools" if record["clean_success"] else "harmless"
  _show(axes[0], adversarial, f"{name}: {outcome}")
  # Stretched until the largest change is black or white; the title says how much.
  scale = 0.5 / max(np.abs(adversarial - clean).max(), 1e-6)
  _show(
    axes[1],
    0.5 + scale * (adversarial - clean),
    f"l2 {record['l2']:.2f}" + (f", x{scale:.1f}" if scale < 1e5 else ""),
  )


def _show(ax, image, title):
  ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
  ax.set_title(title, fontsize=7)


FIGURE = Figure(
  applies,
  draw,
  f"pictures that --num_pictures kept, of at most {_MAX_BLOCKS} strengths and settings",
  for_each=True,
)
