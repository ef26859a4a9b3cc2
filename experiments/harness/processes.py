"""The processes of one job: joining them, waiting for them, and what is said when one is gone."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading

_GONE = (
  "another process of this job has ended or cannot be reached: see its message, then run all of "
  "them again, and they go on where they were"
)


# How XLA and Python begin what they say when they abort a process whose partner is gone.
_ABORT = re.compile(r"[EF]\d{4} |Fatal Python error|\*\*\* |terminate called")
_SUPERVISED = "ORJAX_SUPERVISED"


def supervise() -> None:
  """Runs this very command under a watch, and ends as it does; returns in the watched one.

  XLA aborts a process whose partner has died, with a page of its own words: only another
  process can say one sentence instead.
  """
  if os.environ.get(_SUPERVISED):
    return
  child = subprocess.Popen(
    [sys.executable, *sys.argv],
    env={**os.environ, _SUPERVISED: "1"},
    stderr=subprocess.PIPE,
    text=True,
    errors="backslashreplace",
    preexec_fn=_die_with_parent,
  )
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: child.send_signal(number))
  aborting = False
  assert child.stderr
  for line in child.stderr:
    aborting = aborting or bool(_ABORT.match(line))
    if not aborting:
      sys.stderr.write(line)
      sys.stderr.flush()
  code = child.wait()
  if code and (aborting or code < 0):
    print(f"error: {_GONE}", file=sys.stderr, flush=True)
    os._exit(1)
  os._exit(code)


def _die_with_parent():
  if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def join(coordinator: str | None, number: int | None, index: int | None, timeout: float) -> None:
  """Joins the other processes.

  Args:
    coordinator: host:port of process 0; None to ask the cluster.
    number: of processes.
    index: of this one.
    timeout: seconds to wait for the others.

  Raises:
    ValueError: they do not come, or cannot be found; one sentence.
  """
  import jax

  where = coordinator or "the cluster's coordinator"
  late = (
    f"the other processes did not come to {where} within {timeout:g} s: start all "
    f"{number or ''} of them, with one --coordinator and each its --process_id, or raise "
    f"--partner_timeout"
  )
  # The runtime aborts the process, with a page of its own, a little later.
  with _Watch(timeout, late):
    try:
      jax.distributed.initialize(
        coordinator,
        number,
        index,
        initialization_timeout=max(1, int(timeout) + 30),
        heartbeat_timeout_seconds=max(10, int(timeout)),
      )
    except Exception as e:  # whatever gRPC, a cluster's environment or JAX raises
      raise ValueError(
        f"cannot join the other processes at {where} ({' '.join(str(e).split())[:200]}): check "
        f"--coordinator, --num_processes and --process_id, or --distributed"
      ) from e


def wait_for_all(what: str) -> bool:
  """Waits until every process is here; returns whether this one speaks for them.

  Raises:
    ValueError: one of them is gone.
  """
  import jax
  from jax.experimental import multihost_utils

  if jax.process_count() > 1:
    try:
      multihost_utils.sync_global_devices(what)
    except Exception as e:  # Gloo's or XLA's words
      raise ValueError(_GONE) from e
  return jax.process_index() == 0


class _Watch:
  """Ends the process with a sentence if its block lasts too long."""

  def __init__(self, seconds, message):
    self._timer = threading.Timer(seconds, self._end)
    self._timer.daemon = True
    self._message = message

  def _end(self):
    print(f"error: {self._message}", file=sys.stderr, flush=True)
    os._exit(1)

  def __enter__(self):
    self._timer.start()

  def __exit__(self, *exception):
    self._timer.cancel()
