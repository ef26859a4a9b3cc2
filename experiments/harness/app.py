"""Starts a main: reads its flags, sets the process up, turns errors into sentences.

JAX is imported once the flags are read, and by mains that compute only.
"""

from collections.abc import Callable
from collections.abc import Iterable
import ctypes
import importlib.metadata
import os
import pathlib
import subprocess
import sys
from typing import Any

from absl import flags
from absl import logging

from harness import request
from harness.request import Option

PROCESS = (
  Option(
    "compilation_cache",
    "string",
    "~/.cache/orjax",
    "folder of compiled programs; empty to switch it off",
    request.SPEED,
    science=False,
    may_be_empty=True,
  ),
  Option(
    "distributed",
    "boolean",
    False,
    "join the processes of a SLURM, MPI or Kubernetes job; each does its share of the trials",
    request.SPEED,
    science=False,
  ),
  Option(
    "coordinator",
    "string",
    None,
    "join processes by hand: host:port of process 0",
    request.SPEED,
    science=False,
  ),
  Option(
    "num_processes",
    "integer",
    None,
    "with --coordinator: how many processes there are",
    request.SPEED,
    science=False,
    low=1,
  ),
  Option(
    "process_id",
    "integer",
    None,
    "with --coordinator: which of them this is, from 0",
    request.SPEED,
    science=False,
    low=0,
  ),
)
SEED = Option(
  "seed", "integer", 0, "seed of everything random", request.HOW_MUCH, low=0, high=2**32 - 1
)


def out(default: str) -> Option:
  """The option of the folder that a main writes to."""
  return Option("out", "string", default, "folder for the results", request.OUTPUT, science=False)


def run(
  options: Iterable[Option],
  read: Callable[[request.Values], Any],
  main: Callable[[Any], None],
  *,
  computes: bool = True,
) -> None:
  """Runs `main(read(values))`; an expected error is one sentence and exit code 1.

  Args:
    options: all flags that the main takes; any other is refused.
    read: makes the typed request, and refuses what does not go together, before JAX starts.
    main: does what is asked.
    computes: whether the main uses JAX, and so has the options of `PROCESS`, too.
  """
  about = sys.modules["__main__"].__doc__ or ""
  try:
    values = request.parse([*options, *(PROCESS if computes else ())], sys.argv, about)
    asked = read(values)
    if computes:
      check_processes(values)
    flags.FLAGS(sys.argv[:1])  # libraries look at flags of their own
    logging.set_verbosity(logging.ERROR)  # orbax tells its whole life at INFO
    if computes:
      _set_up(values)
    main(asked)
  except request.HelpWanted as wanted:
    print(wanted)
  except (ValueError, OSError, FloatingPointError) as e:
    if os.environ.get("ORJAX_TRACEBACK"):
      raise
    _stop(f"error: {e}")


def _stop(message):
  jax = sys.modules.get("jax")
  if jax and jax.distributed.is_initialized():
    # A normal exit would wait for the other processes.
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
  sys.exit(message)


def check_processes(values: request.Values) -> None:
  """Raises ValueError for processes that nobody coordinates."""
  if (values["num_processes"], values["process_id"]) != (None, None) and not values["coordinator"]:
    raise ValueError("--num_processes and --process_id need --coordinator=host:port")


def _set_up(values):
  if sys.platform == "linux":
    # Fresh mappings for every activation halve the speed on a CPU; glibc only.
    try:
      for option, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
        ctypes.CDLL(None).mallopt(option, value)
    except AttributeError:
      pass
  import jax

  if values["compilation_cache"]:
    jax.config.update(
      "jax_compilation_cache_dir", str(pathlib.Path(values["compilation_cache"]).expanduser())
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  if values["distributed"] or values["coordinator"]:
    jax.distributed.initialize(values["coordinator"], values["num_processes"], values["process_id"])


def wait_for_all(what: str) -> bool:
  """Waits until every process is here; returns whether this one speaks for them."""
  import jax
  from jax.experimental import multihost_utils

  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
  return jax.process_index() == 0


def about(**facts) -> dict:
  """Facts for the reader of a manifest: versions, device, commit, and those given."""
  import jax

  versions = {
    name: importlib.metadata.version(name) for name in ("orjax", "jax", "jaxlib", "flax", "numpy")
  }
  return {
    "versions": versions,
    "python": sys.version.split()[0],
    "git_commit": _commit(),
    "devices": [str(device.device_kind) for device in jax.devices()],
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "command": sys.argv,
    **facts,
  }


def _commit():
  """The commit of these files, or nothing where there is no git."""
  command = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]
  try:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
  except OSError:
    return ""
