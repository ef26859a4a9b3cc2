"""Starts a main: reads its flags, sets the process up, turns errors into sentences.

JAX starts once the flags are read and their request is made, and in mains that compute only.
"""

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
import ctypes
import importlib.metadata
import logging as std_logging
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

from absl import flags
from absl import logging

from harness import locks
from harness import processes
from harness import request
from harness import signals
from harness.request import Option

# Of every main that uses JAX.
COMPUTING = (
  Option(
    "compilation_cache",
    "string",
    "~/.cache/orjax",
    "folder of compiled programs; empty to switch it off",
    request.SPEED,
    science=False,
    may_be_empty=True,
  ),
)
# Of those that share their work among processes.
SHARING = (
  Option(
    "distributed",
    "boolean",
    False,
    "join the processes of a SLURM, MPI or Kubernetes job; each does its share",
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
  Option(
    "partner_timeout",
    "float",
    60.0,
    "seconds without a sign of the other processes after which this one ends",
    request.SPEED,
    science=False,
    low=1,
    high=86_400,
  ),
)
SEED = Option(
  "seed", "integer", 0, "seed of everything random", request.HOW_MUCH, low=0, high=2**32 - 1
)


def out(default: str) -> Option:
  """The option of the folder that a main writes to."""
  return Option("out", "string", default, "folder for the results", request.OUTPUT, science=False)


_EXPECTED = (ValueError, OSError, FloatingPointError, MemoryError, ImportError)


class _Forgiving:
  """A stream that goes on when nobody reads it any more, or its disk is full: records matter."""

  def __init__(self, stream):
    self._stream = stream

  def __getattr__(self, name):
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes, as far as anybody reads."""
    try:
      return self._stream.write(text)
    except OSError:
      self._give_up()
      return len(text)

  def flush(self) -> None:
    """Flushes, as far as anybody reads."""
    try:
      self._stream.flush()
    except OSError:
      self._give_up()

  def _give_up(self):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, self._stream.fileno())
    os.close(nowhere)


def run(
  options: Iterable[Option],
  read: Callable[[request.Values], Any],
  main: Callable[[Any], None],
  *,
  computes: bool = True,
  shares: bool = False,
) -> None:
  """Runs `main(read(values))`; an expected error is one sentence and exit code 1.

  SIGINT and SIGTERM end it with one line and the shell's exit codes, 130 and 143, once what
  was done is saved; a second one ends it at once.

  Args:
    options: all flags that the main takes; any other is refused.
    read: makes the typed request, and refuses what does not go together, before JAX starts.
    main: does what is asked.
    computes: whether the main uses JAX, and so has the options of `COMPUTING`, too.
    shares: whether processes share its work, by the options of `SHARING`.
  """
  about = sys.modules["__main__"].__doc__ or ""
  for stream in (sys.stdout, sys.stderr):  # a terminal may know ASCII only
    stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
  sys.stdout, sys.stderr = _Forgiving(sys.stdout), _Forgiving(sys.stderr)  # type: ignore[assignment]
  signals.listen()
  try:
    more = (*(COMPUTING if computes else ()), *(SHARING if shares else ()))
    values = request.parse([*options, *more], sys.argv, about)
    asked = read(values)
    if shares:
      check_processes(values)
    if _has_partners(values):
      processes.supervise()
    flags.FLAGS(sys.argv[:1])  # libraries look at flags of their own
    logging.set_verbosity(logging.ERROR)  # orbax tells its whole life at INFO
    _tell_warnings()
    with _lock(asked, values):
      if computes:
        _set_up(values)
      main(asked)
    sys.stdout.flush()
  except request.HelpWanted as wanted:
    print(wanted)
  except BaseException as e:
    if isinstance(e, SystemExit) or os.environ.get("ORJAX_TRACEBACK"):
      raise
    if number := signals.came():
      word = "interrupted" if number == signal.SIGINT else "terminated"
      _stop(f"{word}: run the command again, and it goes on where it was", 128 + number)
    if not isinstance(e, _EXPECTED):
      raise
    _stop(f"error: {_sentence(e)}", 1)


def _lock(asked, values):
  """Holds a folder of results that is there already, before JAX takes its seconds to start."""
  out = getattr(asked, "out", None)
  if out is None or not os.path.isdir(out) or values.by_name.get("distributed"):
    return contextlib.nullcontext()
  return locks.only_writer(out, "--out", values.by_name.get("process_id") or 0)


def _sentence(error):
  if isinstance(error, MemoryError):
    return f"the memory is full ({error}): lower --slots_per_device or --rows_per_call"
  if isinstance(error, ImportError) and "pip install" not in str(error):
    what = f"there is no package {error.name}" if error.name else "a package does not load"
    if not isinstance(error, ModuleNotFoundError):
      what = f"packages do not fit each other ({' '.join(str(error).split())})"
    return f"{what}: pip install -e . -c constraints.txt, in orjax's folder"
  if isinstance(error, OSError) and error.filename and error.strerror:
    return f"{error.filename}: {error.strerror}; free it or pass another folder"
  return " ".join(str(error).split())


def _tell_warnings():
  """Warnings of orjax's are lines on stderr: a retry, a damaged picture."""
  logger = std_logging.getLogger("orjax")
  handler = std_logging.StreamHandler(sys.stderr)
  handler.setFormatter(std_logging.Formatter("warning: %(message)s"))
  logger.addHandler(handler)
  logger.setLevel(std_logging.WARNING)
  logger.propagate = False


def _stop(message, code):
  print(message, file=sys.stderr, flush=True)
  jax = sys.modules.get("jax")
  if jax and jax.distributed.is_initialized():
    os._exit(code)  # a normal exit would wait for the other processes
  sys.exit(code)


def _has_partners(values):
  return bool(values.by_name.get("distributed") or values.by_name.get("coordinator"))


def check_processes(values: request.Values) -> None:
  """Raises ValueError for processes that nobody coordinates, or that cannot be."""
  number, size = values["process_id"], values["num_processes"]
  if (size, number) != (None, None) and not values["coordinator"]:
    raise ValueError("--num_processes and --process_id need --coordinator=host:port")
  if values["coordinator"]:
    host, _, port = values["coordinator"].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
      raise ValueError(f"--coordinator={values['coordinator']} is not host:port of process 0")
    if size is None or number is None:
      raise ValueError("--coordinator needs --num_processes and --process_id, too")
    if number >= size:
      raise ValueError(f"--process_id={number} must be below --num_processes={size}: from 0 on")
    if values["distributed"]:
      raise ValueError("--distributed finds the processes itself: leave it or --coordinator out")


def _set_up(values):
  if sys.platform == "linux":
    # Fresh mappings for every activation halve the speed on a CPU; glibc only.
    try:
      for option, value in ((-4, 0), (-1, 2**31 - 1), (-8, 1)):
        ctypes.CDLL(None).mallopt(option, value)
    except AttributeError:
      pass
  import jax

  # Records are a function of their keys, whatever the environment says of the generator.
  jax.config.update("jax_default_prng_impl", "threefry2x32")
  jax.config.update("jax_threefry_partitionable", True)
  if values["compilation_cache"]:
    _keep_programs(jax, pathlib.Path(values["compilation_cache"]).expanduser())
  if _has_partners(values):
    processes.join(
      values["coordinator"],
      values["num_processes"],
      values["process_id"],
      values["partner_timeout"],
    )
  try:
    jax.devices()
  except Exception as e:  # whatever a backend raises that does not start
    platforms = os.environ.get("JAX_PLATFORMS")
    asked = f" for JAX_PLATFORMS={platforms}" if platforms else ""
    raise ValueError(
      f"JAX finds no device{asked} ({type(e).__name__}: {' '.join(str(e).split())[:200]}): set "
      f"JAX_PLATFORMS to what is there, such as cpu, or install the right jax"
    ) from e


def _keep_programs(jax, folder):
  """Keeps compiled programs in a folder; one that cannot be written is told, and done without."""
  from orjax import files

  try:
    files.make_folder(folder, "pass another --compilation_cache, or leave it empty")
  except OSError as e:
    std_logging.getLogger("orjax").warning("compiled programs are not kept: %s", e)
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


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
    "prng": f"{jax.config.jax_default_prng_impl}, "
    f"{'' if jax.config.jax_threefry_partitionable else 'not '}partitionable",
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "command": sys.argv,
    **facts,
  }


def _commit():
  """The commit of these files, `-dirty` if they are others; nothing where there is no git.

  Committed results are not code: to make them again makes no other code.
  """
  git = ["git", "-C", str(pathlib.Path(__file__).parent)]
  altered = ["status", "--porcelain", "--untracked-files=no", "--", ":/"]
  altered.append(":(top,exclude)experiments/results")
  told = lambda *words: subprocess.run(
    [*git, *words], capture_output=True, text=True, check=False
  ).stdout.strip()
  try:
    commit = told("describe", "--always")
    return f"{commit}-dirty" if commit and told(*altered) else commit
  except OSError:
    return ""
