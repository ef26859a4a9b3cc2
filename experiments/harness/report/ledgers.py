"""Folders of records, read once, and what reports ask of them."""

import os
import pathlib
from typing import Any
from typing import NamedTuple

from orjax import records

# What the setting of a white-box PGD says; see `harness.attacks.pgd`.
_WHITE_BOX = {"loss", "steps", "restarts", "float64", "substitute"}


class _Named(dict):
  """Values by name, of a manifest; one that it lacks is told as a fault of the folder."""

  def __init__(self, directory, values):
    super().__init__(values)
    self._directory = directory

  def __missing__(self, name):
    raise ValueError(
      f"{self._directory}/manifest.json does not say {name}: restore it, or leave the folder out"
    )


class Ledger(NamedTuple):
  """A folder of records.

  Attributes:
    directory: where it is.
    manifest: `schema`, `request` (what was asked for) and `about` (by what).
    accuracy: through the defense, by strength; see `accuracy`.
    records: finished trials, at least one.
  """

  directory: pathlib.Path
  manifest: dict
  accuracy: dict[str, dict]
  records: list[dict]

  @property
  def request(self) -> dict:
    """What was asked for, by name."""
    return self.manifest["request"]

  @property
  def axis(self) -> str:
    """What the strength of the defense is: "noise variance", "digits", ..."""
    return self.manifest["about"].get("axis", "strength")


def load(directory: str | os.PathLike) -> Ledger:
  """Reads a folder, in whatever form it was written.

  Raises:
    FileNotFoundError: it is no folder of records.
    ValueError: it has no records yet, or damaged ones.
  """
  manifest, trials = records.read_manifest(directory), records.read(directory)
  if not trials:
    raise ValueError(f"there are no records in {directory}: run its attack first")
  manifest = {
    name: _Named(directory, part) if isinstance(part, dict) else part
    for name, part in manifest.items()
  }
  return Ledger(pathlib.Path(directory), manifest, records.read_accuracy(directory), trials)


def accuracy(ledger: Ledger, strength: float) -> dict:
  """`accuracy`, its `interval` and `num_images`, through the defense of a strength.

  Raises:
    ValueError: it was not measured.
  """
  known = ledger.accuracy.get(records.strength_key(strength))
  if known is None:
    raise ValueError(
      f"{ledger.directory}/accuracy.json has no strength {strength:g}: remove the file and run "
      f"the command again"
    )
  return known


def traces(ledger: Ledger) -> list[dict]:
  """Losses of single trials, step by step; none where no --trace was asked for."""
  return records.read_traces(ledger.directory)[1]


def is_white_box(ledger: Ledger) -> bool:
  """Whether all its attacks are white-box PGD, told apart by losses, steps and starts."""
  return all(record["setting"].keys() >= _WHITE_BOX for record in ledger.records)


def in_a_ball(ledger: Ledger) -> bool:
  """Whether its attack stays in a ball, instead of looking for the smallest distance."""
  return ledger.request.get("radius") is not None


def sweeps_spacings(folders: list[Ledger]) -> bool:
  """Whether a folder has several spacings: what Figure 7 shows."""
  return any("spacing" in varied(ledger.records) for ledger in folders)


def averages_answers(folders: list[Ledger]) -> bool:
  """Whether an attack that only asks averages several numbers of answers: Figure 3."""
  counts = {record["num_samples"] for ledger in folders for record in ledger.records}
  return len(counts) > 1 and not any(map(is_white_box, folders))


def strengths(trials: list[dict]) -> list[float]:
  """All strengths of some records, ascending."""
  return sorted({record["strength"] for record in trials})


def value(record: dict, name: str):
  """A field of a record, or a number of its setting; None where it has none."""
  return record[name] if name in record else record["setting"].get(name)


def varied(trials: list[dict], *fields: str) -> list[str]:
  """Names of what differs between records: of some fields, and of all in the setting."""
  names = dict.fromkeys([*fields, *(name for record in trials for name in record["setting"])])
  return [name for name in names if len({str(value(record, name)) for record in trials}) > 1]


def grouped(trials: list[dict], *names: str) -> list[list[dict]]:
  """Records by their values of some names, `setting` as a whole too, as they first appear."""
  groups: dict[tuple, list[dict]] = {}
  for record in trials:
    groups.setdefault(tuple(str(value(record, name)) for name in names), []).append(record)
  return list(groups.values())


def show(value: Any) -> str:
  """A value of a setting, in words."""
  if value is None:
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  return f"{value:g}" if isinstance(value, (int, float)) else str(value)
