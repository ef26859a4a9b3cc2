"""Saving and finding trained classifiers, with orbax."""

import contextlib
import gc
import hashlib
import logging
import os
import pathlib
import re
import shutil
import sys
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from orjax import files


class Checkpoint(NamedTuple):
  """A saved training state: `state` a tree of NumPy arrays, `meta` a JSON dict."""

  state: Any
  meta: dict


# What `meta` holds besides: digests of the state's arrays and of the other facts.
_FINGERPRINT, _DIGEST = "fingerprint", "digest"
_LATE = 0.05  # seconds in which threads tell that a restore has failed
_ITEMS = ("state", "meta")
_NEW = "delete it, or train again in another folder (--model_dir)"


def _folder(directory):
  if not isinstance(directory, str | os.PathLike):
    raise ValueError(f"a checkpoint's folder is a path, not {directory!r}: pass its name")
  return pathlib.Path(directory).expanduser().resolve()


def _manager(folder, **options):
  return ocp.CheckpointManager(
    folder, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False, **options)
  )


def save(directory: str | os.PathLike, state: Any, meta: dict) -> None:
  """Writes a checkpoint; a crash half-way leaves the previous one in place.

  Arrays are written as NumPy arrays, so that any number of devices and processes can
  read them, and with a fingerprint, by which `load` knows that they are as they were.

  Raises:
    ValueError: the state holds something else than numbers, or the facts are no JSON.
    OSError: the folder cannot be written; what was there stays.
  """
  folder = _folder(directory)
  state = jax.tree.map(np.asarray, state)
  for name, x in named(state).items():
    if x.dtype.kind in "OSUMm":
      raise ValueError(f"{name} of a checkpoint is of type {x.dtype}: it holds numbers only")
  facts = files.plain(meta, "meta of a checkpoint")
  facts |= {_FINGERPRINT: _state_digest(state)}
  facts |= {_DIGEST: files.digest(facts)}
  files.make_folder(folder, "pass another folder for the model (--model_dir)")
  number = None
  try:
    with _quiet(), _manager(folder, max_to_keep=1, create=True) as manager:
      # A serial number, not the training step: one step may be saved twice, before and
      # after it is found to be the last.
      number = (manager.latest_step() or 0) + 1
      manager.save(
        number,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(facts)),
      )
  except Exception as e:  # whatever orbax and its storage raise on a full disk
    for half in folder.glob(f"{number}.orbax-checkpoint-tmp*"):
      shutil.rmtree(half, ignore_errors=True)
    raise OSError(
      f"cannot write a checkpoint to {directory} ({_reason(e)}): free space on its disk or "
      f"make it writable; the one before, if any, is still there"
    ) from e


def load(
  directory: str | os.PathLike, target: Any = None, meta: dict | None = None
) -> Checkpoint | None:
  """Reads the newest whole checkpoint, or None where there is none.

  Args:
    directory: a model's folder.
    target: a tree of arrays, or of their shapes, to restore into; None gives plain dicts.
    meta: facts that the checkpoint must have.

  Returns:
    A `Checkpoint` of NumPy arrays.

  Raises:
    ValueError: the checkpoint is damaged or has other facts, or its arrays other shapes.
    OSError: the folder cannot be read, or is a file.
  """
  folder = _folder(directory)
  if not folder.exists():
    return None
  if not folder.is_dir():
    raise NotADirectoryError(f"{directory} is a file and should be a folder of checkpoints: {_NEW}")
  with _quiet(), contextlib.ExitStack() as stack:
    try:  # orbax reads what each step says of itself as soon as it opens a folder
      manager = stack.enter_context(_manager(folder, create=False))
      numbers = sorted(manager.all_steps(), reverse=True)
    except OSError as e:
      raise OSError(
        f"cannot read the checkpoints in {directory} ({_reason(e)}): make the folder "
        "readable, or pass another (--model_dir)"
      ) from e
    except Exception as e:
      raise _damaged(directory, _reason(e)) from e.with_traceback(None)
    whole = [n for n in numbers if all((folder / str(n) / item).is_dir() for item in _ITEMS)]
    if not numbers:
      return None
    if not whole:
      lacking = [x for x in _ITEMS if not (folder / str(numbers[0]) / x).is_dir()]
      raise _damaged(directory, f"{numbers[0]}/ lacks its {' and its '.join(lacking)}")
    try:
      found = manager.restore(
        whole[0],
        args=ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore()),
      )
    except Exception as e:  # whatever orbax and its storage raise on broken files
      status = re.match("[A-Z_]{4,}(?=: )", str(e))  # TensorStore's; a page comes behind it
      reason = f"a file of its arrays is missing, cut or changed: {status[0]}" if status else None
      raise _damaged(directory, reason or _reason(e)) from e.with_traceback(None)
  facts = _checked(directory, found.state, found.meta)
  check_meta(directory, facts, meta or {})
  if target is None:
    return Checkpoint(found.state, facts)
  return Checkpoint(fitted(directory, found.state, target), facts)


def _damaged(directory, reason):
  return files.Damaged(pathlib.Path(directory), reason, _NEW)


def _reason(error):
  """What storage says: the system's word, or as much of its own as fits a sentence."""
  code = re.search(r"os_error_code='(\d+)'", str(error))
  return (
    os.strerror(int(code[1])) if code else re.sub(r" \(char \d+\)", "", files.text_of(error))[:200]
  )


@contextlib.contextmanager
def _quiet():
  """Keeps orbax's threads from telling their failures in pages; they are raised, too."""
  logs = [logging.getLogger(name) for name in ("absl", "asyncio")]
  were, hooks = [log.disabled for log in logs], (sys.excepthook, sys.unraisablehook)
  for log in logs:
    log.disabled = True
  sys.excepthook = sys.unraisablehook = lambda *args: None
  try:
    yield
  except Exception:
    gc.collect()  # tasks that nobody waits for tell their failures when they go,
    time.sleep(_LATE)  # and threads when they find the others gone
    raise
  finally:
    sys.excepthook, sys.unraisablehook = hooks
    for log, was in zip(logs, were):
      log.disabled = was


def _checked(directory, state, facts):
  """The facts of a checkpoint that is as it was written, without its digests.

  Checkpoints that were written before there were digests are taken as they are.
  """
  if not isinstance(facts, dict):
    raise _damaged(directory, "its meta holds no names and values")
  facts = dict(facts)
  if (_DIGEST in facts) != (_FINGERPRINT in facts):
    raise _damaged(directory, "its meta lost one of its digests")
  if _DIGEST in facts and facts.pop(_DIGEST) != files.digest(facts):
    raise _damaged(directory, "its meta was changed after it was written")
  if _FINGERPRINT in facts and facts.pop(_FINGERPRINT) != _state_digest(state):
    raise _damaged(directory, "its arrays were changed after they were written")
  return facts


def named(state: Any) -> dict[str, Any]:
  """Arrays of a tree by dotted names, which are the same before saving and after."""
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
  return {name(path): x for path, x in jax.tree_util.tree_leaves_with_path(state)}


def _state_digest(state):
  digest = hashlib.sha256()
  for name, x in sorted(named(state).items()):
    digest.update(f"{name} {x.dtype} {x.shape} ".encode())
    digest.update(np.ascontiguousarray(x).tobytes())
  return digest.hexdigest()[:16]


def fitted(directory: str | os.PathLike, state: Any, target: Any) -> Any:
  """The arrays of `state` in the tree of `target`; names, shapes and types must agree.

  Raises:
    ValueError: they do not; the message says where first.
  """
  arrays, wanted = named(state), named(target)
  for key in sorted(arrays.keys() | wanted.keys()):
    shapes = [tree[key].shape if key in tree else None for tree in (arrays, wanted)]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"the checkpoint in {directory} is of another network: its {key} has "
        f"shape {shapes[0]}, not {shapes[1]}; pass another --model_dir"
      )
    if arrays[key].dtype != wanted[key].dtype:
      raise ValueError(
        f"the checkpoint in {directory} is of another network: its {key} is of type "
        f"{arrays[key].dtype}, not {wanted[key].dtype}; pass another --model_dir"
      )
  return jax.tree.unflatten(jax.tree.structure(target), [arrays[key] for key in wanted])


def check_meta(directory: str | os.PathLike, found: dict, wanted: dict) -> None:
  """Raises ValueError if a checkpoint's facts differ from the wanted ones."""
  for name, value in wanted.items():
    if found.get(name) != value:
      raise ValueError(
        f"the checkpoint in {directory} has {name}={found.get(name)!r}, not {value!r}: "
        f"pass another --model_dir or the flags it was trained with"
      )


def fingerprint(variables: Any) -> str:
  """A short digest of all parameters, PRNG keys among them: names a model in a manifest."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    digest.update(jax.tree_util.keystr(path).encode())
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]
