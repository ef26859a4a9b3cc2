"""Saving and finding trained classifiers, with orbax."""

import hashlib
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp


class Checkpoint(NamedTuple):
  """A saved training state: `state` a tree of NumPy arrays, `meta` a JSON dict."""

  state: Any
  meta: dict


def _manager(directory, **options):
  return ocp.CheckpointManager(
    pathlib.Path(directory).expanduser().resolve(),
    options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False, **options),
  )


def save(directory: str, state: Any, meta: dict) -> None:
  """Writes a checkpoint; a crash half-way leaves the previous one in place.

  Arrays are written as NumPy arrays, so that any number of devices and processes can
  read them.
  """
  state = jax.tree.map(np.asarray, state)
  with _manager(directory, max_to_keep=1, create=True) as manager:
    # A serial number, not the training step: one step may be saved twice, before and
    # after it is found to be the last.
    manager.save(
      (manager.latest_step() or 0) + 1,
      args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)),
    )


def load(directory: str, target: Any = None, meta: dict | None = None) -> Checkpoint | None:
  """Reads the newest checkpoint, or None where there is none.

  Args:
    directory: a model's folder.
    target: a tree of arrays, or of their shapes, to restore into; None gives plain dicts.
    meta: facts that the checkpoint must have.

  Returns:
    A `Checkpoint` of NumPy arrays.

  Raises:
    ValueError: the checkpoint has other facts, or its arrays other shapes.
  """
  if not pathlib.Path(directory).expanduser().is_dir():
    return None
  with _manager(directory, create=False) as manager:
    step = manager.latest_step()
    if step is None:
      return None
    found = manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    )
  check_meta(directory, found.meta, meta or {})
  if target is None:
    return Checkpoint(found.state, found.meta)
  return Checkpoint(fitted(directory, found.state, target), found.meta)


def fitted(directory: str, state: Any, target: Any) -> Any:
  """The arrays of `state` in the tree of `target`, whose names and shapes must agree.

  Raises:
    ValueError: they do not; the message says where first.
  """
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
  arrays = {name(path): x for path, x in jax.tree_util.tree_leaves_with_path(state)}
  wanted, structure = jax.tree_util.tree_flatten_with_path(target)
  wanted = {name(path): x for path, x in wanted}
  for key in sorted(arrays.keys() | wanted.keys()):
    shapes = [tree[key].shape if key in tree else None for tree in (arrays, wanted)]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"the checkpoint in {directory} is of another network: its {key} has "
        f"shape {shapes[0]}, not {shapes[1]}; pass another --model_dir"
      )
  return jax.tree.unflatten(structure, [arrays[key] for key in wanted])


def check_meta(directory: str, found: dict, wanted: dict) -> None:
  """Raises ValueError if a checkpoint's facts differ from the wanted ones."""
  for name, value in wanted.items():
    if found.get(name) != value:
      raise ValueError(
        f"the checkpoint in {directory} has {name}={found.get(name)!r}, not {value!r}: "
        f"pass another --model_dir or the flags it was trained with"
      )


def fingerprint(variables: Any) -> str:
  """A short digest of all parameters: names a model in a manifest."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    digest.update(jax.tree_util.keystr(path).encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]
