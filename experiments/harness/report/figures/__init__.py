"""Figures of record folders, by name.

A new one is a module with a `FIGURE`, found by its name. Those of the theory, which are drawn from
arrays, are functions in `theory`.
"""

from collections.abc import Sequence
import importlib
import os
import pathlib
import pkgutil

from harness.report import ledgers
from harness.report.figures.figure import Figure

_MODULES = [
  importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
]
FIGURES: dict[str, Figure] = {
  module.__name__.rsplit(".", 1)[-1]: module.FIGURE
  for module in _MODULES
  if hasattr(module, "FIGURE")
}


def draw(
  directories: Sequence[str | os.PathLike], out: str | os.PathLike, figure: str | None = None
) -> list[pathlib.Path]:
  """Draws figures of record folders.

  Args:
    directories: folders of records.
    out: folder for the figures; it is made if need be.
    figure: name of the one that is wanted; None means all that apply.

  Returns:
    The files.

  Raises:
    ValueError: there is no such figure, it does not apply, a folder is named twice or has
      no records.
  """
  if figure is not None and figure not in FIGURES:
    raise ValueError(f"there is no figure {figure}: pass one of {', '.join(FIGURES)}")
  names = _distinct_names(directories)
  folders = [ledgers.load(directory) for directory in directories]
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  paths = []
  for wanted in [figure] if figure else FIGURES:
    paths += _draw_one(wanted, folders, names, folder)
  if figure and not paths:
    raise ValueError(
      f"{figure} shows {FIGURES[figure].needs}, which {', '.join(map(str, directories))} "
      f"{'do' if len(directories) > 1 else 'does'} not hold: pass another --figure or --records"
    )
  return paths


def _draw_one(name, folders, names, out):
  """The files of one figure: one, one for each folder, or none."""
  figure = FIGURES[name]
  if figure.for_each and len(folders) > 1:
    parts = [(f"{name}_{own}.png", [ledger]) for ledger, own in zip(folders, names)]
  else:
    parts = [(f"{name}.png", folders)]
  paths = []
  for file_name, members in parts:
    if figure.applies(members):
      figure.draw(members, out / file_name)
      paths.append(out / file_name)
  return paths


def _distinct_names(directories):
  """Names of folders for file names: as few of their last parts as tell them apart."""
  paths = [pathlib.Path(directory).resolve() for directory in directories]
  if len(set(paths)) < len(paths):
    raise ValueError("a folder of records is named twice: pass each once")
  for depth in range(1, max(len(path.parts) for path in paths) + 1):
    names = ["_".join(path.parts[-depth:]) for path in paths]
    if len(set(names)) == len(names):
      return names
  raise ValueError("the folders of records cannot be told apart: move one")
