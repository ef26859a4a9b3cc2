"""Ledgers, manifests and what is computed from them. NumPy only, no JAX.

A folder of records holds `records.jsonl` (one finished trial a line; a process of a
multi-host run writes `records-<process>.jsonl`), `manifest.json` (what was asked for
and by what), `accuracy.json` and `pictures.npz` (a few images, for people).
"""

from collections.abc import Iterable
import json
import os
import pathlib
from typing import Any
import zipfile

import numpy as np

FIELDS = (
  "dataset",
  "model",
  "defense",
  "variance",
  "attack",
  "targeted",
  "num_samples",
  "seed",
  "run",
  "index",
  "label",
  "target",
  "claimed",
  "clean_success",
  "defended_success_rate",
  "noise_error_rate",
  "num_steps",
  "num_queries",
  "l2",
  "linf",
  "zero_gradients",
  "setting",
)
# What says which trial a record is of.
_IDENTITY = FIELDS[: FIELDS.index("claimed")] + ("setting",)


def identity(record: dict) -> tuple:
  """A hashable name of the trial that a record, or its first fields, is of."""
  return tuple(json.dumps(record[name], sort_keys=True) for name in _IDENTITY)


class Ledger:
  """Appends finished trials to a file; a torn last line is dropped when it is opened."""

  def __init__(self, directory: str, process: int = 0, num_processes: int = 1):
    self.directory = pathlib.Path(directory)
    name = "records.jsonl" if num_processes == 1 else f"records-{process}.jsonl"
    self._path = self.directory / name
    self._repair()
    self.records = read(directory)

  def _repair(self):
    if not self._path.exists():
      return
    content = self._path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
      with open(self._path, "r+b") as file:
        file.truncate(whole)

  def append(self, record: dict) -> None:
    """Writes one record and waits until it is on the disk."""
    if tuple(record) != FIELDS:
      raise ValueError(f"a record has the fields {FIELDS}, not {tuple(record)}")
    with open(self._path, "ab") as file:
      file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
      file.flush()
      os.fsync(file.fileno())
    self.records.append(record)


def read(directory: str) -> list[dict]:
  """All records of a folder, of all processes; a torn last line is passed over.

  Raises:
    ValueError: a line is not a record.
  """
  records = []
  for path in sorted(pathlib.Path(directory).glob("records*.jsonl")):
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
      try:
        record = json.loads(line)
        identity(record)
      except (ValueError, KeyError, TypeError) as e:
        raise ValueError(
          f"line {number} of {path} is not a record: remove the line, its trial will be run again"
        ) from e
      records.append(record)
  # A trial may stand in the ledgers of two processes if their number changed.
  return list({identity(record): record for record in records}.values())


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes JSON so that a crash leaves the old file or the new one."""
  temporary = path.with_suffix(f".{os.getpid()}.partial")
  temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
  temporary.replace(path)


def make_folder(directory: str) -> None:
  """Makes a folder for records.

  Raises:
    OSError: it cannot be written.
  """
  folder = pathlib.Path(directory)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()
  except OSError as e:
    raise OSError(f"cannot write to {directory} ({e.strerror}): pass another --out") from e


def check_manifest(directory: str, asked: dict, about: dict) -> None:
  """Writes the folder's manifest, or checks that it is of the same request.

  Args:
    directory: from `make_folder`.
    asked: everything that the records depend on.
    about: facts for the reader: versions, device, commit, speed settings.

  Raises:
    ValueError: it holds records of another request; the message says what differs.
  """
  path = pathlib.Path(directory) / "manifest.json"
  asked = json.loads(json.dumps(asked))
  if not path.exists():
    write_json(path, {"asked": asked, "about": about})
    return
  found = json.loads(path.read_text())["asked"]
  for name in sorted(found.keys() | asked.keys()):
    if found.get(name) != asked.get(name):
      raise ValueError(
        f"{directory} holds records for {name}={found.get(name)!r}, not "
        f"{asked.get(name)!r}: pass another --out or the flags in its manifest.json"
      )


def read_json(directory: str, name: str) -> dict:
  """Reads `manifest.json` or `accuracy.json` of a folder.

  Raises:
    FileNotFoundError: the folder has none.
  """
  path = pathlib.Path(directory) / name
  if not path.exists():
    raise FileNotFoundError(
      f"{directory} has no {name}: pass the --out of a main that wrote records"
    )
  return json.loads(path.read_text())


def read_pictures(directory: str) -> dict[str, np.ndarray]:
  """The named arrays of a folder's `pictures*.npz`; a damaged file is passed over."""
  found = {}
  for path in sorted(pathlib.Path(directory).glob("pictures*.npz")):
    try:
      with np.load(path) as arrays:
        found |= dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
      continue
  return found


def add_pictures(directory: str, process: int, pictures: dict[str, np.ndarray]) -> None:
  """Adds named arrays to the folder's pictures, in a file of this process."""
  path = pathlib.Path(directory) / (f"pictures-{process}.npz" if process else "pictures.npz")
  known = read_pictures(directory)
  temporary = path.with_name(f".pictures.{os.getpid()}.npz")
  np.savez_compressed(temporary, **{**known, **pictures})
  temporary.replace(path)


def wilson(num_successes: float, num_trials: int, z: float = 1.959964) -> tuple[float, float]:
  """Wilson's score interval of a rate, 95 % by default; (0, 1) of no trials."""
  if num_trials == 0:
    return 0.0, 1.0
  rate = num_successes / num_trials
  scale = 1 + z**2 / num_trials
  center = (rate + z**2 / (2 * num_trials)) / scale
  half = z / scale * np.sqrt(rate * (1 - rate) / num_trials + z**2 / (4 * num_trials**2))
  return max(0.0, float(center - half)), min(1.0, float(center + half))


def run_error(values: Iterable[float], runs: Iterable[int]) -> float | None:
  """Standard error over runs of the runs' means; None of a single run."""
  values, runs = np.asarray(list(values), float), np.asarray(list(runs))
  means = [values[runs == run].mean() for run in np.unique(runs)]
  if len(means) < 2:
    return None
  return float(np.std(means, ddof=1) / np.sqrt(len(means)))


def group(records: Iterable[dict], *names: str) -> dict[tuple, list[dict]]:
  """Records by their values of some fields, in the order of those values."""
  groups: dict[tuple, list[dict]] = {}
  for record in records:
    groups.setdefault(tuple(record[name] for name in names), []).append(record)
  return dict(sorted(groups.items()))


def summarise(records: list[dict]) -> dict:
  """Rates, intervals and costs of records of one setting.

  Returns:
    A dict with `num_trials`; for each of `claimed`, `clean_success`: the rate, its
    `_interval` (Wilson) and `_run_error`; the means `defended_success_rate` and
    `noise_error_rate` with `_interval` (Wilson over trials); `l2` and `max_l2`, over clean
    successes, and `zero_gradients`, `median_steps` and `median_queries`.
  """
  summary: dict[str, Any] = {"num_trials": len(records)}
  runs = [record["run"] for record in records]
  for name in ("claimed", "clean_success"):
    values = [record[name] for record in records]
    summary[name] = float(np.mean(values))
    summary[f"{name}_interval"] = wilson(sum(values), len(values))
    summary[f"{name}_run_error"] = run_error(values, runs)
  for name in ("defended_success_rate", "noise_error_rate"):
    total = float(np.sum([record[name] for record in records]))
    summary[name] = total / len(records)
    # Conservative: each trial's share counts as one yes-or-no answer, not as many.
    summary[f"{name}_interval"] = wilson(total, len(records))
  distances = [record["l2"] for record in records if record["clean_success"]]
  summary["l2"] = float(np.mean(distances)) if distances else None
  summary["max_l2"] = max(distances) if distances else None
  # Ledgers written before it was measured have none.
  shares = [record.get("zero_gradients", np.nan) for record in records]
  summary["zero_gradients"] = float(np.mean(shares))
  summary["median_steps"] = float(np.median([r["num_steps"] for r in records]))
  summary["median_queries"] = float(np.median([r["num_queries"] for r in records]))
  return summary
