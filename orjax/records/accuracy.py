"""Accuracy through a folder's defense, by its strength."""

import os
import pathlib

from orjax import files
from orjax.records.folder import read_json
from orjax.records.manifest import known_request
from orjax.records.manifest import request_digest

_NAME = "accuracy.json"
_AGAIN = "remove it and run the command again, which measures it anew"


def strength_key(strength: float) -> str:
  """The name of a strength in `accuracy.json`: short where that is exact, else all its digits."""
  short = f"{strength:g}"
  return short if float(short) == strength else repr(float(strength))


def read_accuracy(directory: str | os.PathLike) -> dict[str, dict]:
  """Accuracy through a folder's defense, by `strength_key`.

  Returns:
    Dicts with `accuracy`, its `interval` (95 %) and, of new files, `num_images`.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is damaged, or of another request than the folder's manifest.
  """
  return _read(directory, known_request(directory))


def _read(directory, request):
  kept = read_json(directory, _NAME)
  if set(kept) == {"accuracy", "request"}:
    found = kept["accuracy"]
    if request and kept["request"] != files.digest(request):
      raise _damaged(directory, "it is of another request than manifest.json")
  else:
    found = kept
  _check(directory, found)
  return found if found is not kept else _of_first_form(directory, found, request)


def kept_accuracy(directory: str | os.PathLike) -> dict[str, dict]:
  """What a run that goes on need not measure: as `read_accuracy`, {} where there is none.

  A file that is damaged, or of another request, is set aside.

  Raises:
    ValueError: the manifest is damaged.
  """
  path, request = pathlib.Path(directory, _NAME), known_request(directory)
  return files.optional(path, lambda: _read(directory, request), {})


def write_accuracy(directory: str | os.PathLike, found: dict[str, dict]) -> None:
  """Writes the accuracies that are known so far, of the folder's request.

  Args:
    directory: with a manifest.
    found: as from `read_accuracy`.
  """
  content = {"accuracy": found, "request": request_digest(directory)}
  files.write_json(pathlib.Path(directory, _NAME), content)


def _damaged(directory, reason):
  return files.Damaged(pathlib.Path(directory, _NAME), reason, _AGAIN)


def _check(directory, found):
  is_rate = lambda x: isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= 1
  if not isinstance(found, dict):
    raise _damaged(directory, "it holds no strengths")
  for key, known in found.items():
    try:
      float(key)
    except ValueError as e:
      raise _damaged(directory, f"{key!r} is no strength") from e
    if not isinstance(known, dict) or not is_rate(known.get("accuracy")):
      raise _damaged(directory, f"strength {key} has no accuracy from 0 to 1")
    interval = known.get("interval")
    if interval is not None and not (
      isinstance(interval, list) and len(interval) == 2 and all(map(is_rate, interval))
    ):
      raise _damaged(directory, f"the interval of strength {key} is no pair from 0 to 1")


def _of_first_form(directory, found, request):
  """By `strength_key`: the first form had six digits of a strength, and none of a noise inside."""
  strengths = request.get("strength")
  if not isinstance(strengths, list):
    return found
  if request.get("defense") == "inner_noise" and list(found) == ["0"]:
    return {strength_key(strengths[0]): found["0"]}
  keys = {}
  for strength in strengths:
    keys.setdefault(f"{strength:g}", []).append(strength_key(strength))
  for short, names in keys.items():
    if short in found and len(set(names)) > 1:
      raise _damaged(directory, f"its {short} may be of strength {' or '.join(names)}")
  return {keys.get(short, [short])[0]: known for short, known in found.items()}
