"""Ledgers, manifests and what is computed from them. NumPy only, no JAX.

A folder of records holds `records.jsonl` (one finished trial a line; a process of a
multi-host run writes `records-<process>.jsonl`), `manifest.json` (what was asked for
and by what), `accuracy.json` (accuracy through the defense, by strength) and
`pictures.npz` (a few images, for people).
"""

from collections.abc import Iterable
import json
import os
import pathlib
from typing import Any
import zipfile

import numpy as np

from orjax import files

FIELDS = (
  "dataset",
  "model",
  "trained_with",
  "defense",
  "strength",
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
# What says which trial a record is of. How its model was trained, the model's name tells.
_IDENTITY = tuple(name for name in FIELDS[: FIELDS.index("claimed")] if name != "trained_with") + (
  "setting",
)

# The form of a manifest. The first, without a number, knew one defense, output noise.
SCHEMA = 2
# What the strength of a defense was, in ledgers of the first form.
_AXES = {
  "none": "strength",
  "output_noise": "noise variance",
  "inner_noise": "stddev inside the network",
}


def identity(record: dict) -> tuple:
  """A hashable name of the trial that a record, or its first fields, is of."""
  return tuple(json.dumps(record[name], sort_keys=True) for name in _IDENTITY)


class Ledger:
  """Appends finished trials to a file; a torn last line is dropped when it is opened."""

  def __init__(self, directory: str | os.PathLike, process: int = 0, num_processes: int = 1):
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


def read(directory: str | os.PathLike) -> list[dict]:
  """All records of a folder, of all processes; a torn last line is passed over.

  Records written before there was more than one defense are given in today's form.

  Raises:
    ValueError: a line is not a record, or the manifest is damaged or of a later orjax.
  """
  found, request = {}, _request(directory)
  for path in sorted(pathlib.Path(directory).glob("records*.jsonl")):
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
      try:
        record = modern(json.loads(line), request)
        # A trial may stand in the ledgers of two processes if their number changed.
        found[identity(record)] = record
      except (ValueError, KeyError, TypeError) as e:
        raise ValueError(
          f"line {number} of {path} is not a record: remove the line, its trial will be run again"
        ) from e
  return list(found.values())


def _request(directory):
  """What the records of a folder were asked for, as far as it says."""
  known = pathlib.Path(directory, "manifest.json").exists()
  return read_manifest(directory)["request"] if known else {}


def modern(record: dict, request: dict) -> dict:
  """A record, or a trace, in today's form.

  The first form had `variance` for `strength` and called every defense output noise.

  Args:
    record: in either form.
    request: of its folder, from `read_manifest`; {} where it is not known.
  """
  if "variance" not in record:
    return record
  new = {**record, "trained_with": request.get("trained_with")}
  variance = new.pop("variance")
  new["defense"] = request.get("defense") or _first_defense(record["attack"])
  new["strength"] = request["strength"][0] if new["defense"] == "inner_noise" else variance
  return {name: new[name] for name in (*FIELDS, *new) if name in new}


def _first_defense(attack):
  # White-box PGD was always without noise on the answers: it looked at logits.
  return "none" if attack == "pgd" else "output_noise"


def write_json(path: str | os.PathLike, content: Any) -> None:
  """Writes JSON so that a crash leaves the old file or the new one."""
  with files.replacing(path) as temporary:
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def make_folder(directory: str | os.PathLike) -> None:
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


def check_manifest(
  directory: str | os.PathLike, request: dict, about: dict, defaults: dict | None = None
) -> None:
  """Writes the folder's manifest, or checks that it is of the same request.

  A name that one of the two lacks has its default, so that a folder outlives new flags.

  Args:
    directory: from `make_folder`.
    request: everything that the records depend on, by name.
    about: facts for the reader: versions, device, commit, `axis` of the strength.
    defaults: values of names that a request need not have; None, and nothing (0, False,
      an empty list), of those that are not there.

  Raises:
    ValueError: it holds records of another request, and the message says what differs; or
      its manifest is of a later orjax.
  """
  if not pathlib.Path(directory, "manifest.json").exists():
    manifest = {"schema": SCHEMA, "request": request, "about": about}
    write_json(pathlib.Path(directory, "manifest.json"), manifest)
    return
  kept = read_manifest(directory)["request"]
  wanted, usual = (json.loads(json.dumps(values or {})) for values in (request, defaults))
  for name in sorted(kept.keys() | wanted.keys()):
    if _meaning(name, kept, usual) != _meaning(name, wanted, usual):
      had, now = (values.get(name, usual.get(name)) for values in (kept, wanted))
      raise ValueError(
        f"{directory} holds records for {name}={had!r}, not "
        f"{now!r}: pass another --out or the flags in its manifest.json"
      )


def _meaning(name, values, defaults):
  """What a request says about a name, so that two can be compared."""
  value = values.get(name)
  if value is None:
    value = defaults.get(name)
  if isinstance(value, list) and len(value) == 1:  # a sweep of one value is that value
    value = value[0]
  return value if name in defaults else value or None


def read_manifest(directory: str | os.PathLike) -> dict:
  """The manifest of a folder in today's form: `schema`, `request` and `about`.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is of a later orjax, or damaged.
  """
  manifest = read_json(directory, "manifest.json")
  schema = manifest.get("schema", 1)
  if schema > SCHEMA:
    raise ValueError(
      f"{directory} was written by a newer orjax (its manifest.json has schema {schema}, this "
      f"one knows {SCHEMA}): update orjax, or pass another --out"
    )
  if not manifest.keys() >= {"asked" if schema == 1 else "request", "about"}:
    raise ValueError(f"{directory}/manifest.json is about no records: pass another --out")
  return _modern_manifest(manifest) if schema == 1 else manifest


def _modern_manifest(manifest):
  """Of one of the first form, where `defense` was what a network was trained with."""
  request, about = dict(manifest["asked"]), dict(manifest["about"])
  trained_with, variances = request.pop("defense", None), request.pop("variance", [0.0])
  on_at_test_time = request.pop("test_noise", True)
  defense = _first_defense(request.get("attack"))
  inside = (
    "or" in (trained_with or "").split("+")
    and request.get("noise_location", "logits") != "logits"
    and on_at_test_time
  )
  if inside and defense == "none":
    defense, variances = "inner_noise", [request["stddev"]]
  request |= {"defense": defense, "strength": variances}
  # Of a user's own model nothing was known, and the flag had its default.
  if trained_with is not None and about.get("training") != {}:
    request["trained_with"] = trained_with
  if isinstance(request.get("num_samples"), int):
    request["num_samples"] = [request["num_samples"]]
  return {"schema": SCHEMA, "request": request, "about": {**about, "axis": _AXES[defense]}}


def read_json(directory: str | os.PathLike, name: str) -> dict:
  """Reads `manifest.json`, `accuracy.json` or `traces.json` of a folder.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is damaged.
  """
  path = pathlib.Path(directory) / name
  if not path.exists():
    raise FileNotFoundError(
      f"{directory} has no {name}: pass the --out of a main that wrote records"
    )
  try:
    return json.loads(path.read_text())
  except ValueError as e:
    raise ValueError(f"{path} is damaged ({e}): restore it, or pass another --out") from e


def read_accuracy(directory: str | os.PathLike) -> dict[str, dict]:
  """Accuracy through a folder's defense, by its strength as `f"{strength:g}"`.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is damaged.
  """
  found, request = read_json(directory, "accuracy.json"), _request(directory)
  if request.get("defense") == "inner_noise" and list(found) == ["0"]:
    # The first form did not know that noise inside a network has a strength.
    return {f"{request['strength'][0]:g}": found["0"]}
  return found


def read_pictures(directory: str | os.PathLike) -> dict[str, np.ndarray]:
  """The named arrays of a folder's `pictures*.npz`; a damaged file is passed over."""
  found = {}
  for path in sorted(pathlib.Path(directory).glob("pictures*.npz")):
    try:
      with np.load(path) as arrays:
        found |= dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
      continue
  return found


def add_pictures(
  directory: str | os.PathLike, process: int, pictures: dict[str, np.ndarray]
) -> None:
  """Adds named arrays to the folder's pictures, in a file of this process."""
  path = pathlib.Path(directory) / (f"pictures-{process}.npz" if process else "pictures.npz")
  arrays: dict[str, Any] = {**read_pictures(directory), **pictures}
  with files.replacing(path) as temporary:
    np.savez_compressed(temporary, **arrays)


def picture_name(record: dict) -> str:
  """The name under which a trial's images are kept in the folder's pictures."""
  names = ("attack", "targeted", "strength", "num_samples", "index", "target")
  # A folder is about one defense, so that its name need not stand here.
  return "-".join(str(x) for x in (*(record[name] for name in names), *record["setting"].values()))


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
