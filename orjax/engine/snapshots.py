"""What a run holds, on disk: an interrupted run goes on from there.

A snapshot saves time, and questions to a model outside JAX. Every trial is a function of its
key, so one that is started again ends in the same record.
"""

import json
import pathlib
from typing import Any

import jax
import numpy as np

from orjax import files
from orjax import host
from orjax.engine.slots import Held
from orjax.engine.tasks import Outcome

_FIELDS = Outcome._fields[1:-1]  # between the task and what was chosen


def _name(task) -> str:
  return json.dumps([task.identity, task.run, task.index], sort_keys=True)


def _names(tasks):
  return np.array(["" if task is None else _name(task) for task in tasks], np.str_)


def save(
  path: str, held: Held, request: str = "", endpoints: tuple[host.Endpoint, ...] = ()
) -> None:
  """Writes what a run holds; a crash leaves the old snapshot or the new one.

  Args:
    path: of the `.npz` file.
    held: the slots, and the outcomes that are not dealt with.
    request: names all that the trials depend on.
    endpoints: of models outside JAX, which may have answers that are not used yet.

  Raises:
    OSError: it cannot be written.
  """
  outcomes = held.outcomes()
  arrays = {
    "request": np.array(request, np.str_),
    "names": _names(held.occupants),
    "outcomes": _names(outcome.task for outcome in outcomes),
  }
  for number, leaf in enumerate(jax.device_get(jax.tree.leaves(held.trials))):
    arrays[f"leaf{number}"] = leaf
  for name in _FIELDS if outcomes else ():
    arrays[f"outcome_{name}"] = np.stack([getattr(outcome, name) for outcome in outcomes])
  arrays["chosen"] = np.array([json.dumps(outcome.chosen) for outcome in outcomes], np.str_)
  for i, endpoint in enumerate(endpoints):
    for j, (question, answers) in enumerate(endpoint.unused):
      arrays[f"question{i}_{j}"], arrays[f"answers{i}_{j}"] = np.array(question), answers
  files.write_npz(path, arrays)


def restore(
  path: str, idle: Any, share: list, request: str = "", endpoints: tuple[host.Endpoint, ...] = ()
) -> Held:
  """Reads what still has to be done; nothing, if the snapshot is not of this shape.

  One that is damaged, or of another request, is set aside with a warning.

  Args:
    path: of the `.npz` file, which need not exist.
    idle: trials of the right shapes that hold nothing.
    share: tasks that are left to do.
    request: as in `save`.
    endpoints: are given the answers that were not used.

  Returns:
    The slots, and the outcomes that were not dealt with.
  """
  nothing = Held(idle, (None,) * len(idle.finished))
  arrays = files.optional(path, lambda: _read(path), None)
  if arrays is None:
    return nothing
  if arrays["request"] != request:
    files.set_aside(path, "it is of another request")
    return nothing
  leaves, structure = jax.tree.flatten(idle)
  found = [arrays.get(f"leaf{i}") for i in range(len(leaves))]
  if [_form(x) for x in found] != [_form(x) for x in leaves]:
    return nothing
  tasks = {_name(task): task for task in share}
  occupants = tuple(tasks.get(name) for name in arrays["names"].tolist())
  gone = np.array([task is None for task in occupants])
  trials = jax.tree.unflatten(structure, found)
  for number, endpoint in enumerate(endpoints):
    endpoint.unused = _answers(arrays, number)
  return Held(
    trials._replace(finished=trials.finished | gone), occupants, tuple(_outcomes(arrays, tasks))
  )


def _read(path):
  arrays = files.read_npz(path, advice="remove it")
  if not arrays.keys() >= {"request", "names", "outcomes"}:
    raise files.Damaged(path, "it does not say whose trials it holds", "remove it")
  return arrays


def _form(x):
  return None if x is None else (x.shape, x.dtype)


def _outcomes(arrays, tasks):
  names = arrays["outcomes"].tolist()
  chosen = arrays.get("chosen", np.full(len(names), "{}")).tolist()  # older ones have none
  for number, name in enumerate(names):
    if name in tasks:
      adversarial, *others = (arrays[f"outcome_{field}"][number] for field in _FIELDS)
      others = [x.item() for x in others]
      yield Outcome(tasks[name], adversarial, *others, chosen=json.loads(chosen[number]))


def _answers(arrays, number):
  found = []
  while f"question{number}_{len(found)}" in arrays:
    name = f"{number}_{len(found)}"
    found.append((tuple(arrays[f"question{name}"].tolist()), arrays[f"answers{name}"]))
  return found


def remove(path: str) -> None:
  """Deletes the snapshot of a run that has ended."""
  pathlib.Path(path).unlink(missing_ok=True)
