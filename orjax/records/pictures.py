"""Images of a few trials, for people."""

import logging
import os
import pathlib

import numpy as np

from orjax import files
from orjax.records.folder import numbered

_LOG = logging.getLogger("orjax")


def read_pictures(directory: str | os.PathLike) -> dict[str, np.ndarray]:
  """The named arrays of a folder's `pictures*.npz`; a damaged file is set aside."""
  found: dict[str, np.ndarray] = {}
  for path in numbered(directory, "pictures", ".npz"):
    found |= files.optional(path, lambda: files.read_npz(path, advice="remove it"), {})
  return found


def add_pictures(
  directory: str | os.PathLike, process: int, pictures: dict[str, np.ndarray]
) -> None:
  """Adds named arrays to the folder's pictures, in a file of this process.

  They are for people: where they cannot be written, the run goes on with a warning.
  """
  path = pathlib.Path(directory) / (f"pictures-{process}.npz" if process else "pictures.npz")
  try:
    files.write_npz(path, {**read_pictures(directory), **pictures}, compressed=True)
  except OSError as e:
    _LOG.warning("%s", e)


def picture_name(record: dict) -> str:
  """The name under which a trial's images are kept in the folder's pictures."""
  names = ("attack", "targeted", "strength", "num_samples", "index", "target")
  # A folder is about one defense, so that its name need not stand here.
  return "-".join(str(x) for x in (*(record[name] for name in names), *record["setting"].values()))
