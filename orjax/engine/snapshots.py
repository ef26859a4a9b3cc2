"""The slots of a run that is going on, on disk: a killed run goes on from there.

A snapshot saves time only. Every trial is a function of its key, so one that is started
again ends in the same record.
"""

import json
import pathlib
from typing import Any
import zipfile

import jax
import numpy as np

from orjax import files


def _name(task) -> str:
  return json.dumps([task.identity, task.run, task.index], sort_keys=True)


def save(path: str, trials: Any, occupants: list) -> None:
  """Writes all slots; a crash leaves the old snapshot or the new one.

  Args:
    path: of the `.npz` file.
    trials: a `trials.Trial` with a leading axis of slots.
    occupants: the task in each slot, or None.
  """
  leaves = jax.device_get(jax.tree.leaves(trials))
  names = np.array(["" if task is None else _name(task) for task in occupants])
  with files.replacing(path) as temporary:
    np.savez(temporary, names=names, **{f"leaf{i}": x for i, x in enumerate(leaves)})


def restore(path: str, idle: Any, share: list) -> tuple[Any, list]:
  """Reads the slots that still have work; none, if the snapshot is not of this shape.

  Args:
    path: of the `.npz` file, which need not exist.
    idle: trials of the right shapes that hold nothing.
    share: tasks that are left to do.

  Returns:
    The trials, and the task in each slot or None.
  """
  nothing = idle, [None] * len(idle.finished)
  if not pathlib.Path(path).exists():
    return nothing
  leaves, structure = jax.tree.flatten(idle)
  try:
    with np.load(path) as arrays:
      names = arrays["names"].tolist()
      found = [arrays[f"leaf{i}"] for i in range(len(arrays.files) - 1)]
  except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
    return nothing  # torn by a power cut
  if [(x.shape, x.dtype) for x in found] != [(x.shape, x.dtype) for x in leaves]:
    return nothing
  tasks = {_name(task): task for task in share}
  occupants = [tasks.get(name) for name in names]
  trials = jax.tree.unflatten(structure, found)
  gone = np.array([task is None for task in occupants])
  return trials._replace(finished=trials.finished | gone), occupants


def remove(path: str) -> None:
  """Deletes the snapshot of a run that has ended."""
  pathlib.Path(path).unlink(missing_ok=True)
