"""How long a user waits for the first finished trial, each time in a new process."""

import pathlib
import subprocess
import sys
import tempfile
import time

from harness.request import DataRequest


def flags_of(images: DataRequest, model_dir: str) -> list[str]:
  """Flags of the main job on these images, with one short trial."""
  which = f"--data={images.path}" if images.path else f"--dataset={images.dataset}"
  return [
    which,
    f"--data_dir={images.data_dir}",
    f"--model_dir={model_dir}",
    "--variance=0",
    "--num_images=1",
    "--max_queries=600",
  ]


def seconds(flags: list[str], cache: str) -> float:
  """Seconds from process start to the first finished trial.

  Args:
    flags: of the black-box main.
    cache: folder of compiled programs.

  Raises:
    ValueError: the main failed.
  """
  main = pathlib.Path(__file__).parents[2] / "blackbox_attacks.py"
  with tempfile.TemporaryDirectory() as out:
    command = [sys.executable, str(main), *flags, f"--compilation_cache={cache}", f"--out={out}"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
      ledger = pathlib.Path(out, "records.jsonl")
      while not (ledger.exists() and ledger.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
      found = time.perf_counter() - start
    if process.returncode:
      raise ValueError("the main job failed: see its message above")
    return found
