"""Draws the figures of record folders, from the ledgers alone. Imports no JAX.

python experiments/plot_figures.py --records=runs/blackbox_attacks
"""

import pathlib
import sys

from absl import app
from absl import flags
import plot_pictures
import plot_sweeps
import plot_training

from orjax import records


def define_flags():
  flags.DEFINE_multi_string(
    "records", None, "Folder with records; repeat for panels.", required=True
  )
  flags.DEFINE_string("figures", None, "Folder for the figures (default: the first --records).")


def draw(directories: list[str], out: str) -> list[pathlib.Path]:
  """Draws all that the folders' records allow; returns the files."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  ledgers = {directory: records.read(directory) for directory in directories}
  if all(members and members[0]["attack"] == "pgd" for members in ledgers.values()):
    return _draw_pgd(ledgers, out)
  if any(len({r["setting"].get("spacing") for r in members}) > 1 for members in ledgers.values()):
    paths = [out / "spacings.png"]
    plot_sweeps.spacings(directories, paths[0])
  elif len({r["num_samples"] for members in ledgers.values() for r in members}) > 1:
    paths = [out / "averaging.png"]
    plot_sweeps.averaging(directories, paths[0])
  else:
    paths = [out / "figure2.png"]
    plot_sweeps.figure2(directories, paths[0])
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
  plot_pictures.pictures(directory, path)
  return [path]


def _draw_pgd(ledgers, out):
  """White-box PGD has neither spacings nor, as a rule, noise at test time."""
  directories, paths = list(ledgers), []
  if len(directories) < 5:  # more panels than a page is wide
    paths.append(out / "under_attack.png")
    plot_training.under_attack(directories, paths[0])
  if len(directories) > 1 and any(
    r["setting"]["substitute"] is None for r in ledgers[directories[0]]
  ):
    asked = [records.read_json(d, "manifest.json")["asked"] for d in directories]
    stddevs = {
      a["stddev"] if a["defense"] == "or" else 0
      for a in asked
      if a["defense"] in ("none", "or") and a["noise_location"] == "logits"
    }
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
