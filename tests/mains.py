"""The mains for tests: in this process where that is enough, else as processes."""

import importlib
import os
import pathlib
import subprocess
import sys

import compiler

from harness import app
from harness import request
from harness import sweep

ROOT = pathlib.Path(__file__).parent.parent


# Flags of a small run of the black-box main.
SMALL = (
  "--num_images=5",
  "--variance=0",
  "--variance=1e-4",
  "--max_queries=3000",
  "--max_steps=60",
  "--slots_per_device=2",
  "--num_pictures=2",
)


def asked(main, *flags):
  """The request that a main makes of flags; nothing is started."""
  module = importlib.import_module(main)
  values = request.parse([*module.OPTIONS, *app.COMPUTING, *app.SHARING], [main, *map(str, flags)])
  if hasattr(module, "read"):
    return module.read(values)
  return sweep.reader(module.OPTIONS)(values)


def run(main, *flags):
  """Does what a main does, in this process."""
  module = importlib.import_module(main)
  return getattr(module, "main", sweep.run)(asked(main, *flags))


def command(main, *flags):
  """The command line of a main."""
  return [sys.executable, str(ROOT / "experiments" / f"{main}.py"), *map(str, flags)]


def environment(num_devices=1):
  """An environment with so many devices."""
  return {**os.environ, "XLA_FLAGS": compiler.flags(num_devices), "JAX_PLATFORMS": "cpu"}


def start(main, *flags, num_devices=1):
  """Starts a main as a process; its errors are in its output."""
  return subprocess.Popen(
    command(main, *flags),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=environment(num_devices),
  )


def finish(process):
  """Exit code and output of a process."""
  output, _ = process.communicate(timeout=600)
  return process.returncode, output


def ledger(out):
  """The sorted lines of a folder's ledgers."""
  lines = b"".join(path.read_bytes() for path in sorted(out.glob("records*.jsonl")))
  return sorted(lines.splitlines())
