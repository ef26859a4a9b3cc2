"""Losses of a few trials, step by step, for people."""

import os
import pathlib
from typing import Any

from orjax import files
from orjax.records.fields import modern
from orjax.records.manifest import known_request

_NAME = "traces.json"
_NAMES = {"num_images", "traces"}
_SHOWN = ("index", "strength", "num_samples", "setting", "losses", "without_noise")


def read_traces(directory: str | os.PathLike) -> tuple[int, list[dict]]:
  """Of how many images a folder keeps traces, and the traces; a damaged file is set aside.

  Raises:
    ValueError: the manifest is damaged.
  """
  path, request = pathlib.Path(directory, _NAME), known_request(directory)
  return files.optional(path, lambda: _read(path, request), (0, []))


def _read(path, request):
  advice = "remove it"
  kept = files.read_json(path, advice=advice)
  num_images, found = kept.get("num_images", 0), kept.get("traces")
  if not isinstance(num_images, int) or not isinstance(found, list) or kept.keys() - _NAMES:
    raise files.Damaged(path, "it holds no traces", advice)
  traces = [modern(trace, request) for trace in found]
  for number, trace in enumerate(traces, 1):
    if not isinstance(trace, dict) or not trace.keys() >= set(_SHOWN):
      raise files.Damaged(path, f"trace {number} lacks one of {', '.join(_SHOWN)}", advice)
    losses, quiet = trace["losses"], trace["without_noise"]
    if not _are_numbers(losses) or not _are_numbers(quiet):
      raise files.Damaged(path, f"trace {number} has a loss that is no number", advice)
  return num_images, traces


def _are_numbers(found: Any) -> bool:
  # JSON has no infinity: a loss that is none is null.
  return isinstance(found, list) and all(x is None or isinstance(x, int | float) for x in found)


def write_traces(directory: str | os.PathLike, num_images: int, traces: list[dict]) -> None:
  """Writes the traces of so many images."""
  files.write_json(pathlib.Path(directory, _NAME), {"num_images": num_images, "traces": traces})
